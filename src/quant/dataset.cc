#include "quant/dataset.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "common/utf8.h"
#include "model/files/file_kind.h"
#include "numerics/random.h"
#include "quant/data_row.h"
#include "quant/fingerprint.h"
#include "quant/line_reader.h"

namespace phidias {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::string_view kBlank = " \t\r\n";

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(kBlank) == std::string_view::npos;
}

// Files that aren't text, by their first bytes.
Status RefuseForeign(const std::string& path, std::string_view head) {
  const FileKind kind = DetectFileKind(std::as_bytes(std::span(head.data(), head.size())));
  switch (kind) {
    case FileKind::kUnknown: return {};
    case FileKind::kParquet:
      return Unsupported(path,
                         ": is a Parquet file; convert it to JSON lines first: python3 -c \"import pandas; "
                         "pandas.read_parquet('in.parquet').to_json('out.jsonl', orient='records', lines=True, "
                         "force_ascii=False)\"");
    case FileKind::kGzip: return Unsupported(path, ": is gzip-compressed; unpack it with gunzip first");
    case FileKind::kZip: return Unsupported(path, ": is a zip archive; unpack it first");
    case FileKind::kGguf:
    case FileKind::kLegacyTorch: return DataError(path, ": is a model, not text");
    case FileKind::kLfsPointer:
      return DataError(path, ": is a Git LFS pointer, not the file itself; run `git lfs pull`");
    case FileKind::kHtml: return DataError(path, ": ", ForeignFileAdvice(kind));
  }
  return {};
}

// A list of rows is JSON, but not JSON lines.
bool IsJsonList(std::string_view head) {
  const size_t first = head.find_first_not_of(kBlank);
  const size_t second = head.find_first_not_of(kBlank, first == std::string_view::npos ? first : first + 1);
  return second != std::string_view::npos && head[first] == '[' && head[second] == '{';
}

struct OpenData {
  LineReader reader;
  DataFormat format;
};

Result<OpenData> Open(const std::string& path, DataFormat format) {
  ASSIGN_OR_RETURN(LineReader reader, LineReader::Open(path));
  ASSIGN_OR_RETURN(std::string_view head, reader.Peek(4096));
  RETURN_IF_ERROR(RefuseForeign(path, head));
  if (head.starts_with("\xff\xfe") || head.starts_with("\xfe\xff")) {
    return DataError(path, ": is UTF-16; convert it first: iconv -f UTF-16 -t UTF-8");
  }
  if (head.starts_with(kByteOrderMark)) {
    head.remove_prefix(kByteOrderMark.size());
  }
  if (format == DataFormat::kAuto) {
    if (IsJsonList(head)) {
      return DataError(path,
                       ": is one JSON list; expected JSON lines, one object a line: jq -c '.[]' in.json > out.jsonl");
    }
    const size_t first = head.find_first_not_of(kBlank);
    format = first != std::string_view::npos && head[first] == '{' ? DataFormat::kJsonLines : DataFormat::kText;
  }
  return OpenData{std::move(reader), format};
}

Result<std::string> ReadText(LineReader& reader, const std::string& path) {
  ASSIGN_OR_RETURN(std::string text, reader.Rest(kMaxTextBytes));
  if (text.starts_with(kByteOrderMark)) {
    text.erase(0, kByteOrderMark.size());
  }
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string::npos) {
    const auto line = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bad), '\n') + 1;
    return DataError(path, ": line ", line, ": is not UTF-8 (byte ", bad + 1, " of the file)");
  }
  return text;
}

// The next line that isn't blank, or false. Its text is checked to be UTF-8.
Result<bool> NextRow(LineReader& reader, const std::string& path, std::string* line) {
  while (true) {
    ASSIGN_OR_RETURN(const bool any, reader.Next(kMaxRowBytes, line));
    if (!any) {
      return false;
    }
    if (reader.line_number() == 1 && line->starts_with(kByteOrderMark)) {
      line->erase(0, kByteOrderMark.size());
    }
    if (IsBlank(*line)) {
      continue;
    }
    if (const size_t bad = FindInvalidUtf8(*line); bad != std::string::npos) {
      return DataError(path, ": line ", reader.line_number(), ": is not UTF-8 (byte ", bad + 1, " of the line)");
    }
    return true;
  }
}

Result<std::string> RowText(const LineReader& reader, const std::string& path, const std::string& line) {
  Result<std::string> text = ParseDataRow(line);
  if (!text.ok()) {
    return text.status().WithContext(StrCat(path, ": line ", reader.line_number()));
  }
  return text;
}

// Collects rows in one pass. With a seed, each row of the file draws a number from its position, and the rows with the
// smallest numbers are kept: a random sample whose size and memory are bounded, without knowing how many are to come.
class RowCollector {
 public:
  RowCollector(const Tokenizer& tokenizer, const DatasetOptions& options) : tokenizer_(tokenizer), options_(options) {}

  // Whether no later row can matter.
  bool Full() const { return !options_.seed.has_value() && HasAll(); }

  // Whether the next row has a chance, before its text is looked at.
  bool Wants() {
    ++rows_read_;
    draw_ = options_.seed.has_value() ? numerics::RandomBits(*options_.seed, 0, static_cast<uint64_t>(rows_read_)) : 0;
    return !HasAll() || draw_ < chosen_.top().draw;
  }

  Status Add(const std::string& text, const std::string& context) {
    Result<std::vector<int32_t>> ids = tokenizer_.Encode(text);
    if (!ids.ok()) {
      return ids.status().WithContext(context);
    }
    if (static_cast<int64_t>(ids->size()) < options_.min_tokens) {
      ++rows_short_;
      return {};
    }
    const bool cut = static_cast<int64_t>(ids->size()) > options_.max_tokens;
    if (cut) {
      ids->resize(static_cast<size_t>(options_.max_tokens));
      ids->shrink_to_fit();
    }
    if (options_.seed.has_value() && HasAll()) {
      tokens_ -= static_cast<int64_t>(chosen_.top().ids.size());
      chosen_.pop();
    }
    tokens_ += static_cast<int64_t>(ids->size());
    if (tokens_ > kMaxDatasetTokens) {
      return ResourceExhausted(context, ": the rows have more than ", kMaxDatasetTokens,
                               " tokens together; ask for fewer samples");
    }
    // Without a seed, rows come in order and none is taken back.
    chosen_.push(
        {options_.seed.has_value() ? draw_ : static_cast<uint64_t>(rows_read_), rows_read_, cut, *std::move(ids)});
    return {};
  }

  void Finish(Dataset* dataset) {
    std::vector<Row> rows;
    while (!chosen_.empty()) {
      // The queue is emptied; moving out of its top is safe because pop only moves elements around.
      rows.push_back(std::move(const_cast<Row&>(chosen_.top())));
      chosen_.pop();
    }
    std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.position < b.position; });
    for (Row& row : rows) {
      dataset->rows_cut += row.cut ? 1 : 0;
      dataset->rows.push_back(std::move(row.ids));
    }
    dataset->tokens = tokens_;
    dataset->rows_read = rows_read_;
    dataset->rows_short = rows_short_;
  }

 private:
  struct Row {
    uint64_t draw;
    int64_t position;  // in the file
    bool cut;
    std::vector<int32_t> ids;

    bool operator<(const Row& other) const { return std::pair(draw, position) < std::pair(other.draw, other.position); }
  };

  bool HasAll() const { return options_.samples > 0 && static_cast<int64_t>(chosen_.size()) >= options_.samples; }

  const Tokenizer& tokenizer_;
  const DatasetOptions& options_;
  std::priority_queue<Row> chosen_;  // the largest draw on top
  uint64_t draw_ = 0;                // of the row at hand
  int64_t tokens_ = 0;
  int64_t rows_read_ = 0;
  int64_t rows_short_ = 0;
};

Status LoadJsonLines(LineReader& reader, const Tokenizer& tokenizer, const DatasetOptions& options, Dataset* dataset) {
  RowCollector collector(tokenizer, options);
  std::string line;
  while (!collector.Full()) {
    ASSIGN_OR_RETURN(const bool any, NextRow(reader, dataset->path, &line));
    if (!any) {
      break;
    }
    if (!collector.Wants()) {
      continue;
    }
    ASSIGN_OR_RETURN(const std::string text, RowText(reader, dataset->path, line));
    RETURN_IF_ERROR(collector.Add(text, StrCat(dataset->path, ": line ", reader.line_number())));
  }
  collector.Finish(dataset);
  return {};
}

// Pieces of max_tokens; a last one that is shorter is a row too.
Status LoadText(LineReader& reader, const Tokenizer& tokenizer, const DatasetOptions& options, Dataset* dataset) {
  ASSIGN_OR_RETURN(const std::string text, ReadText(reader, dataset->path));
  const Result<std::vector<int32_t>> ids = tokenizer.Encode(text);
  if (!ids.ok()) {
    return ids.status().WithContext(dataset->path);
  }
  const auto total = static_cast<int64_t>(ids->size());
  const int64_t pieces = (total + options.max_tokens - 1) / options.max_tokens;
  std::vector<std::pair<uint64_t, int64_t>> order;  // draw, piece
  for (int64_t piece = 0; piece < pieces; ++piece) {
    if (std::min(options.max_tokens, total - piece * options.max_tokens) < options.min_tokens) {
      ++dataset->rows_short;
      continue;
    }
    order.emplace_back(
        options.seed.has_value() ? numerics::RandomBits(*options.seed, 0, static_cast<uint64_t>(piece + 1)) : 0, piece);
  }
  std::sort(order.begin(), order.end());
  if (options.samples > 0 && static_cast<int64_t>(order.size()) > options.samples) {
    order.resize(static_cast<size_t>(options.samples));
  }
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  for (const auto& [draw, piece] : order) {
    const auto begin = ids->begin() + piece * options.max_tokens;
    const int64_t count = std::min(options.max_tokens, total - piece * options.max_tokens);
    dataset->rows.emplace_back(begin, begin + count);
    dataset->tokens += count;
  }
  dataset->rows_read = pieces;
  return {};
}

Status CheckOptions(const DatasetOptions& options) {
  if (options.max_tokens < 1 || options.samples < 0 || options.min_tokens < 0) {
    return InvalidArgument("a row has at least one token, and no fewer than 0 rows can be asked for");
  }
  if (options.max_tokens < options.min_tokens) {
    return InvalidArgument("rows cut to ", options.max_tokens, " token: at least ", options.min_tokens,
                           " are needed to predict anything");
  }
  return {};
}

}  // namespace

Result<Dataset> LoadDataset(const Tokenizer& tokenizer, const std::string& path, const DatasetOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(OpenData data, Open(path, options.format));
  Dataset dataset;
  dataset.path = path;
  dataset.format = data.format;
  if (data.format == DataFormat::kText) {
    RETURN_IF_ERROR(LoadText(data.reader, tokenizer, options, &dataset));
  } else {
    RETURN_IF_ERROR(LoadJsonLines(data.reader, tokenizer, options, &dataset));
  }
  if (dataset.rows.empty()) {
    if (dataset.rows_read == 0) {
      return DataError(path, ": is empty");
    }
    return DataError(path, ": no row can be used: ", dataset.rows_read, " read, all shorter than ", options.min_tokens,
                     " tokens");
  }
  return dataset;
}

Result<std::vector<int32_t>> LoadStream(const Tokenizer& tokenizer, const std::string& path, int64_t samples,
                                        DataFormat format) {
  ASSIGN_OR_RETURN(OpenData data, Open(path, format));
  std::string text;
  if (data.format == DataFormat::kText) {
    ASSIGN_OR_RETURN(text, ReadText(data.reader, path));
  } else {
    std::string line;
    for (int64_t row = 0; samples == 0 || row < samples; ++row) {
      ASSIGN_OR_RETURN(const bool any, NextRow(data.reader, path, &line));
      if (!any) {
        break;
      }
      ASSIGN_OR_RETURN(const std::string row_text, RowText(data.reader, path, line));
      text += (row > 0 ? "\n\n" : "") + row_text;
      if (text.size() > kMaxTextBytes) {
        return ResourceExhausted(path, ": more than ", HumanBytes(kMaxTextBytes),
                                 " of text for one stream; ask for fewer samples");
      }
    }
  }
  Result<std::vector<int32_t>> ids = tokenizer.Encode(text);
  if (!ids.ok()) {
    return ids.status().WithContext(path);
  }
  if (ids->size() < 2) {
    return DataError(path, ": ",
                     ids->empty() ? "is empty" : "has one token; at least 2 are needed to predict anything");
  }
  return ids;
}

std::string DatasetFingerprint(const Dataset& dataset) {
  Fingerprint fingerprint;
  for (const std::vector<int32_t>& row : dataset.rows) {
    fingerprint.Add(static_cast<int64_t>(row.size()));
    fingerprint.Add(std::as_bytes(std::span(row)));
  }
  return fingerprint.Hex();
}

}  // namespace phidias
