// phidias tokenize: text to ids and back.

#include <fstream>
#include <iostream>
#include <limits>

#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/json.h"
#include "cli/model_option.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/prompt.h"
#include "cli/verbs.h"
#include "common/file.h"
#include "engine/loaded_model.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias tokenize [OPTIONS] [MODEL] [TEXT]";
constexpr const char* kExamples =
    "Needs the tokenizer's files only. Ids are printed as a JSON array. The text is taken to its last byte: echo adds "
    "a\n"
    "newline, printf doesn't.\n"
    "\n"
    "Examples:\n"
    "  phidias tokenize \"Hello, world!\"\n"
    "  phidias tokenize -m phi-2 --pieces -f text.txt\n"
    "  phidias tokenize -m phi-2 --ids \"[15496, 11, 995, 0]\"\n"
    "  phidias tokenize -m phi-2 --jsonl rows.jsonl            {\"text\": ...} to {\"ids\": [...]}\n"
    "  phidias tokenize -m phi-2 --jsonl ids.jsonl --decode    and back\n";

constexpr size_t kMaxTextBytes = size_t{256} << 20;

struct TokenizeFlags {
  PromptOption prompt;
  std::optional<std::string> ids;
  std::optional<std::string> jsonl;
  bool decode = false;
  bool no_special = false;
  bool pieces = false;
};

void AddFlags(CLI::App& app, TokenizeFlags* flags) {
  AddPromptOption(app, &flags->prompt);
  CLI::Option* const ids =
      AddText(app, "--ids", &flags->ids, "decode these ids (1,2,3 or [1, 2, 3])")->type_name("IDS");
  CLI::Option* const jsonl =
      AddText(app, "--jsonl", &flags->jsonl, "rows {\"text\"} from FILE (- is stdin) to rows {\"ids\"}")
          ->type_name("FILE");
  app.add_flag("--decode", flags->decode, "with --jsonl: rows {\"ids\"} to rows {\"text\"}")->needs(jsonl);
  app.add_flag("--no-special", flags->no_special,
               "the letters of a special token are plain text;\nwhen decoding, special tokens are left out");
  app.add_flag("--pieces", flags->pieces, "one token per line: id, tab, its quoted bytes")->excludes(jsonl);
  jsonl->excludes(ids);
}

Status CheckIds(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= tokenizer.size()) {
      return InvalidArgument("item ", i + 1, " of the ids: ", ids[i], " is outside this tokenizer's 0 to ",
                             tokenizer.size() - 1);
    }
  }
  return {};
}

std::string IdsText(const std::vector<int32_t>& ids) {
  std::string out = "[";
  for (const int32_t id : ids) {
    out += (out.size() > 1 ? ", " : "") + std::to_string(id);
  }
  return out + "]\n";
}

Status PrintPieces(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StdoutBuffer out;
  for (const int32_t id : ids) {
    RETURN_IF_ERROR(out.Write(StrCat(id, "\t", Quoted(tokenizer.TokenBytes(id), std::string::npos), "\n")));
  }
  return out.Flush();
}

// The very bytes of the tokens, also where they don't form UTF-8.
Status PrintText(const Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool skip_special) {
  StdoutBuffer out;
  for (const int32_t id : ids) {
    if (!skip_special || !tokenizer.IsSpecial(id)) {
      RETURN_IF_ERROR(out.Write(tokenizer.TokenBytes(id)));
    }
  }
  return out.Flush();
}

Result<Json> EncodeRow(const Tokenizer& tokenizer, const Json& row, const TokenizeFlags& flags) {
  if (!row.contains("text") || !row["text"].is_string()) {
    return DataError("expected an object with a string \"text\"");
  }
  ASSIGN_OR_RETURN(const auto ids, tokenizer.Encode(row["text"].get_ref<const std::string&>(), !flags.no_special));
  return Json{{"ids", ids}};
}

Result<Json> DecodeRow(const Tokenizer& tokenizer, const Json& row, const TokenizeFlags& flags) {
  if (!row.contains("ids") || !row["ids"].is_array()) {
    return DataError("expected an object with an array \"ids\"");
  }
  std::vector<int32_t> ids;
  for (const Json& id : row["ids"]) {
    // Out-of-range numbers, fractions and strings all end up as -1, which CheckIds refuses by position.
    const bool fits = id.is_number_integer() && id >= 0 && id <= std::numeric_limits<int32_t>::max();
    ids.push_back(fits ? id.get<int32_t>() : -1);
    if (!fits) {
      return DataError("item ", ids.size(), " of \"ids\" is no token id: ",
                       Quoted(id.dump(-1, ' ', true, Json::error_handler_t::replace), 40));
    }
  }
  RETURN_IF_ERROR(CheckIds(tokenizer, ids));
  return Json{{"text", tokenizer.Decode(ids, flags.no_special)}};
}

Status ConvertLines(const Tokenizer& tokenizer, std::istream& in, const std::string& name, const TokenizeFlags& flags) {
  StdoutBuffer out;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) {
      continue;
    }
    const Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    Result<Json> converted = DataError("not a JSON object");
    if (row.is_object()) {
      converted = flags.decode ? DecodeRow(tokenizer, row, flags) : EncodeRow(tokenizer, row, flags);
    }
    if (!converted.ok()) {
      RETURN_IF_ERROR(out.Flush());
      return DataError(name, ":", number, ": ", converted.status().message());
    }
    RETURN_IF_ERROR(out.Write(JsonLine(*converted)));
  }
  RETURN_IF_ERROR(out.Flush());
  return in.bad() ? IoError(name, ": cannot read") : Status();
}

Status ConvertFile(const Tokenizer& tokenizer, const TokenizeFlags& flags) {
  if (*flags.jsonl == "-") {
    return ConvertLines(tokenizer, std::cin, "stdin", flags);
  }
  std::ifstream in(*flags.jsonl, std::ios::binary);
  if (!in || !FileExists(*flags.jsonl)) {
    return NotFound(*flags.jsonl, ": cannot open: not there, not a file, or not readable");
  }
  return ConvertLines(tokenizer, in, *flags.jsonl, flags);
}

// With --ids or --jsonl a positional argument can only be the model.
Result<PromptSource> Arguments(const TokenizeFlags& flags) {
  if (!flags.ids.has_value() && !flags.jsonl.has_value()) {
    return SplitArguments(flags.prompt);
  }
  const PromptOption& prompt = flags.prompt;
  if (prompt.text.has_value() || prompt.file.has_value() || prompt.second.has_value()) {
    return InvalidArgument("a text makes no sense together with ", flags.ids.has_value() ? "--ids" : "--jsonl");
  }
  ModelOption model{.flag = prompt.model, .positional = prompt.first};
  ASSIGN_OR_RETURN(std::string path, ChooseModel(model));
  return PromptSource{.model = std::move(path), .text = {}, .file = {}};
}

Status Tokenize(const TokenizeFlags& flags) {
  std::vector<int32_t> ids;
  if (flags.ids.has_value()) {
    ASSIGN_OR_RETURN(ids, ParseIds(*flags.ids));
  }
  ASSIGN_OR_RETURN(const PromptSource source, Arguments(flags));
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(source.model));
  ASSIGN_OR_RETURN(const Tokenizer tokenizer, LoadTokenizer(path));
  if (flags.jsonl.has_value()) {
    return ConvertFile(tokenizer, flags);
  }
  if (flags.ids.has_value()) {
    RETURN_IF_ERROR(CheckIds(tokenizer, ids));
    return flags.pieces ? PrintPieces(tokenizer, ids) : PrintText(tokenizer, ids, flags.no_special);
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> text, ReadPrompt(source, flags.prompt.escapes, kMaxTextBytes));
  if (!text.has_value()) {
    return InvalidArgument("no text: give it as an argument, with -p, -f, on stdin, or --ids or --jsonl");
  }
  ASSIGN_OR_RETURN(ids, tokenizer.Encode(*text, !flags.no_special));
  return flags.pieces ? PrintPieces(tokenizer, ids) : WriteStdout(IdsText(ids));
}

}  // namespace

int TokenizeVerb(std::span<const std::string> arguments) {
  CLI::App app("Text to token ids and back.", "phidias tokenize");
  TokenizeFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "tokenize", arguments)) {
    return *code;
  }
  const Status status = Tokenize(flags);
  return status.ok() ? kExitOk : Fail("tokenize", status);
}

}  // namespace phidias::cli
