#include "model/module_patterns.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>

namespace phidias {
namespace {

constexpr std::string_view kRegexPrefix = "re:";
constexpr size_t kMaxRegexes = 128;
constexpr size_t kMaxRegexBytes = 4096;
// Names have some forty characters; patterns of real files take well below a hundred steps.
constexpr uint32_t kMaxMatchSteps = 10000;
constexpr uint32_t kMaxMatchHeapKib = 1024;

// The classes of a linear layer in PyTorch: its own and its base class.
constexpr std::string_view kLinearClasses[] = {"Linear", "Module"};

std::string PcreMessage(int error) {
  PCRE2_UCHAR text[128] = {};
  pcre2_get_error_message(error, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct ModulePatterns::Regex {
  explicit Regex(size_t pattern_index) : index(pattern_index) {}
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;
  ~Regex() {
    pcre2_match_context_free(limits);
    pcre2_code_free(code);
  }

  // A positive number for a match, PCRE2_ERROR_NOMATCH, or another error.
  int Match(const std::string& text) const {
    pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
    if (data == nullptr) {
      return PCRE2_ERROR_NOMEMORY;
    }
    const int result = pcre2_match(code, reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), 0, 0, data, limits);
    pcre2_match_data_free(data);
    return result == 0 ? 1 : result;  // 0: more groups than `data` holds
  }

  size_t index;  // in patterns_
  pcre2_code* code = nullptr;
  pcre2_match_context* limits = nullptr;
};

Result<ModulePatterns> ModulePatterns::Create(const std::vector<std::string>& patterns, const std::string& field) {
  ModulePatterns out;
  out.field_ = field;
  for (const std::string& pattern : patterns) {
    if (!out.plain_.emplace(pattern, out.patterns_.size()).second) {
      continue;
    }
    out.patterns_.push_back(pattern);
  }
  for (size_t i = 0; i < out.patterns_.size(); ++i) {
    if (out.patterns_[i].starts_with(kRegexPrefix)) {
      RETURN_IF_ERROR(out.AddRegex(i));
    }
  }
  return out;
}

Status ModulePatterns::AddRegex(size_t index) {
  const std::string& pattern = patterns_[index];
  plain_.erase(pattern);
  if (regexes_.size() == kMaxRegexes) {
    return Unsupported(field_, " has more than ", kMaxRegexes, " \"re:\" patterns; write names instead");
  }
  if (pattern.size() > kMaxRegexBytes) {
    return Unsupported(field_, ": ", Quoted(pattern, 40), " has ", pattern.size(),
                       " bytes; a \"re:\" pattern has at most ", kMaxRegexBytes);
  }
  const std::string_view expression = std::string_view(pattern).substr(kRegexPrefix.size());
  auto regex = std::make_shared<Regex>(index);
  int error = 0;
  PCRE2_SIZE where = 0;
  regex->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                              PCRE2_UTF | PCRE2_ANCHORED, &error, &where, nullptr);
  if (regex->code == nullptr) {
    return DataError(field_, ": ", Quoted(pattern), " is not a regular expression: ", PcreMessage(error),
                     " at character ", kRegexPrefix.size() + where);
  }
  regex->limits = pcre2_match_context_create(nullptr);
  if (regex->limits == nullptr) {
    return ResourceExhausted(field_, ": no memory for ", Quoted(pattern));
  }
  pcre2_set_match_limit(regex->limits, kMaxMatchSteps);
  pcre2_set_depth_limit(regex->limits, kMaxMatchSteps);
  pcre2_set_heap_limit(regex->limits, kMaxMatchHeapKib);
  regexes_.push_back(std::move(regex));
  return {};
}

bool ModulePatterns::MatchPlain(std::string_view text, std::vector<bool>* matched) const {
  const auto found = plain_.find(text);
  if (found == plain_.end()) {
    return false;
  }
  (*matched)[found->second] = true;
  return true;
}

Result<PatternMatch> ModulePatterns::Match(const std::string& module, std::vector<bool>* matched) const {
  PatternMatch best = PatternMatch::kNone;
  const auto take = [&best](bool hit, PatternMatch match) {
    if (hit) {
      best = std::max(best, match);
    }
  };
  const std::string_view name = module;
  take(MatchPlain(name, matched), PatternMatch::kName);
  for (size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.', dot + 1)) {
    take(MatchPlain(name.substr(dot + 1), matched), PatternMatch::kSuffix);
  }
  for (const std::string_view class_name : kLinearClasses) {
    take(MatchPlain(class_name, matched), PatternMatch::kClass);
  }
  for (const auto& regex : regexes_) {
    const int result = regex->Match(module);
    if (result < 0 && result != PCRE2_ERROR_NOMATCH) {
      return DataError(field_, ": ", Quoted(patterns_[regex->index]), " can't be matched with ", Quoted(module), " (",
                       PcreMessage(result), "); write it simpler, or write names");
    }
    if (result > 0) {
      (*matched)[regex->index] = true;
      take(true, PatternMatch::kRegex);
    }
  }
  return best;
}

}  // namespace phidias
