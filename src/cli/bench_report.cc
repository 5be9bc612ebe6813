#include "cli/bench_report.h"

#include <algorithm>
#include <cstdio>
#include <functional>

#include "cli/json.h"
#include "perf/statistics.h"

namespace phidias::cli {
namespace {

constexpr double kGiga = 1e-9;

template <class... Values>
std::string Format(const char* format, Values... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  return text;
}

const char* ArithmeticName(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kFloat ? "float" : "integer";
}

const char* LoadName(WeightLoad load) {
  switch (load) {
    case WeightLoad::kAuto: return "auto";
    case WeightLoad::kMmap: return "mmap";
    case WeightLoad::kCopy: return "copy";
  }
  return "?";
}

// What the samples come to.
struct Figures {
  std::vector<double> rate;        // tokens/s
  std::vector<double> read, gops;  // achieved
  std::vector<double> read_peak, gops_peak;
  std::vector<double> read_ratio, gops_ratio;  // achieved over the peak of the same repetition
  std::vector<double> nanoseconds;
  std::vector<double> joules;  // per token; empty where not readable
};

Figures FiguresOf(const BenchResult& result) {
  Figures out;
  const auto tokens = static_cast<double>(result.shape.tokens());
  for (const BenchSample& sample : result.samples) {
    const double seconds = std::max(sample.seconds, 1e-9);
    out.nanoseconds.push_back(seconds * 1e9);
    out.rate.push_back(tokens / seconds);
    out.read.push_back(static_cast<double>(result.cost.bytes) / seconds * kGiga);
    out.gops.push_back(2.0 * static_cast<double>(result.cost.products) / seconds * kGiga);
    out.read_peak.push_back(sample.read_peak);
    out.gops_peak.push_back(sample.gops_peak);
    out.read_ratio.push_back(sample.read_peak > 0 ? out.read.back() / sample.read_peak : 0.0);
    out.gops_ratio.push_back(sample.gops_peak > 0 ? out.gops.back() / sample.gops_peak : 0.0);
    if (sample.joules) {
      out.joules.push_back(*sample.joules / tokens);
    }
  }
  return out;
}

Json Rounded(const std::vector<double>& values) {
  Json out = Json::array();
  for (const double value : values) {
    out.push_back(static_cast<int64_t>(value + 0.5));
  }
  return out;
}

Json ResultJson(const BenchResult& result) {
  const BenchModel& model = result.model;
  const RunShape& shape = result.shape;
  const Figures f = FiguresOf(result);
  Json json = {{"version", PHIDIAS_VERSION},
               {"model_filename", model.path},
               {"model_type", model.type},
               {"model_size", model.bytes},
               {"model_n_params", model.parameters},
               {"arithmetic", ArithmeticName(model.arithmetic)},
               {"load", LoadName(model.load)},
               {"isa", model.isa},
               {"n_threads", model.threads},
               {"n_batch", shape.batch},
               {"n_parallel", shape.parallel},
               {"n_prompt", shape.prompt},
               {"n_gen", shape.generate},
               {"n_depth", shape.depth},
               {"test", TestName(shape)},
               {"test_time", result.time},
               {"avg_ns", static_cast<int64_t>(Mean(f.nanoseconds) + 0.5)},
               {"stddev_ns", static_cast<int64_t>(Deviation(f.nanoseconds) + 0.5)},
               {"avg_ts", Mean(f.rate)},
               {"stddev_ts", Deviation(f.rate)},
               {"median_ts", Median(f.rate)},
               {"samples_ns", Rounded(f.nanoseconds)},
               {"samples_ts", f.rate},
               {"bytes_per_token", result.cost.bytes / shape.tokens()},
               {"read_gb_per_second", Median(f.read)},
               {"read_gb_per_second_peak", Median(f.read_peak)},
               {"read_ratio", Median(f.read_ratio)},
               {"gops", Median(f.gops)},
               {"gops_peak", Median(f.gops_peak)},
               {"gops_ratio", Median(f.gops_ratio)},
               {"int8_peak", model.int8_peak},
               {"peak_threads", model.peak_threads},
               {"load_seconds", model.load_seconds},
               {"first_token_seconds", model.first_token_seconds},
               {"kv_bytes", result.kv_bytes},
               {"rss_bytes", result.memory.resident},
               {"rss_peak_bytes", result.memory.resident_peak},
               {"rss_file_bytes", result.memory.resident_file}};
  json["joules_per_token"] = f.joules.empty() ? Json() : Json(Median(f.joules));
  return json;
}

// "61.2 (84 %)", or the figure alone where the peak wasn't measured.
std::string OfPeak(const std::vector<double>& achieved, const std::vector<double>& ratio) {
  const double part = Median(ratio);
  return part > 0 ? Format("%.1f (%.0f %%)", Median(achieved), 100.0 * part) : Format("%.1f", Median(achieved));
}

std::string MarkdownRow(const BenchResult& result) {
  const BenchModel& model = result.model;
  const Figures f = FiguresOf(result);
  const std::string energy = f.joules.empty() ? "not readable here" : Format("%.3f", Median(f.joules));
  return StrCat("| ", model.type, " | ", HumanBytes(static_cast<uint64_t>(model.bytes)), " | ",
                ArithmeticName(model.arithmetic), " | ", model.isa, " | ", LoadName(model.load), " | ", model.threads,
                " | ", TestName(result.shape), " | ", Format("%.2f ± %.2f", Mean(f.rate), Deviation(f.rate)), " | ",
                Format("%.2f", Median(f.rate)), " | ", OfPeak(f.read, f.read_ratio), " | ",
                OfPeak(f.gops, f.gops_ratio), " | ", Format("%.2f", model.load_seconds), " | ",
                Format("%.2f", model.first_token_seconds), " | ",
                HumanBytes(static_cast<uint64_t>(result.memory.resident_peak)), " | ", energy, " |\n");
}

constexpr const char* kMarkdownHead =
    "| model | size | arith | isa | load | threads | test | t/s | median | GB/s (of peak) | GOP/s (of peak) | load s | "
    "first "
    "token s | peak RSS | J/token |\n"
    "| --- | ---: | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";

std::string CsvCell(const Json& value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.is_null() ? "" : value.dump();
  for (size_t at = text.find('"'); at != std::string::npos; at = text.find('"', at + 2)) {
    text.insert(at, 1, '"');
  }
  return StrCat("\"", text, "\"");
}

// One line of `cell(key, value)`. The samples are for JSON alone, as in llama-bench.
std::string CsvLine(const Json& json, const std::function<std::string(const std::string&, const Json&)>& cell) {
  std::string line;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_array()) {
      line += line.empty() ? "" : ",";
      line += cell(key, value);
    }
  }
  return line + "\n";
}

}  // namespace

std::string TestName(const RunShape& shape) {
  std::string name;
  if (shape.prompt > 0) {
    name = StrCat("pp", shape.prompt);
  }
  if (shape.generate > 0) {
    name += StrCat(name.empty() ? "" : "+", "tg", shape.generate);
  }
  if (shape.depth > 0) {
    name += StrCat(" @ d", shape.depth);
  }
  if (shape.parallel > 1) {
    name += StrCat(" x", shape.parallel);
  }
  return name;
}

Result<BenchFormat> ParseBenchFormat(const std::string& text) {
  if (text == "md") {
    return BenchFormat::kMarkdown;
  }
  if (text == "csv") {
    return BenchFormat::kCsv;
  }
  if (text == "json") {
    return BenchFormat::kJson;
  }
  if (text == "jsonl") {
    return BenchFormat::kJsonLines;
  }
  return InvalidArgument(Quoted(text), " is none of md, csv, json and jsonl");
}

std::string BenchWriter::Text(const BenchResult& result) {
  const bool first = std::exchange(first_, false);
  if (format_ == BenchFormat::kMarkdown) {
    return (first ? kMarkdownHead : "") + MarkdownRow(result);
  }
  const Json json = ResultJson(result);
  if (format_ == BenchFormat::kJsonLines) {
    return JsonLine(json);
  }
  if (format_ == BenchFormat::kJson) {
    std::string text = JsonLine(json, 2);
    text.pop_back();
    return (first ? "[\n" : ",\n") + text;
  }
  const std::string head = CsvLine(json, [](const std::string& key, const Json&) { return key; });
  return (first ? head : "") + CsvLine(json, [](const std::string&, const Json& value) { return CsvCell(value); });
}

std::string BenchWriter::End() const {
  return format_ == BenchFormat::kJson && !first_ ? "\n]\n" : "";
}

}  // namespace phidias::cli
