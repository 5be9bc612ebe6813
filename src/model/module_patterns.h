#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/status.h"

namespace phidias {

// How strongly a pattern names a module, weakest first.
enum class PatternMatch : uint8_t {
  kNone,
  kClass,   // "Linear"
  kSuffix,  // "q_proj" for "model.layers.0.self_attn.q_proj": whole parts of the name only
  kRegex,   // "re:.*self_attn.*"
  kName,    // "lm_head"
};

// A list of module patterns from a quantization_config (`targets`, `ignore`), as compressed-tensors reads them, and
// suffixes besides. A `re:` pattern matches from the start of the name, not necessarily to its end (Python's re.match).
// Patterns come from anybody: their number, length and matching effort are bounded. Copies share what is compiled.
class ModulePatterns {
 public:
  ModulePatterns() = default;

  // `field` names the list in messages: "dir/config.json: quantization_config.ignore". Repetitions are dropped.
  static Result<ModulePatterns> Create(const std::vector<std::string>& patterns, const std::string& field);

  const std::vector<std::string>& patterns() const { return patterns_; }
  const std::string& field() const { return field_; }

  // The strongest match for a linear layer of this name. Sets (*matched)[i] for every patterns()[i] that matches; its
  // size is that of patterns(). Data error for a pattern whose matching takes too many steps.
  Result<PatternMatch> Match(const std::string& module, std::vector<bool>* matched) const;

 private:
  struct Regex;

  Status AddRegex(size_t index);
  bool MatchPlain(std::string_view text, std::vector<bool>* matched) const;

  std::string field_;
  std::vector<std::string> patterns_;
  std::map<std::string, size_t, std::less<>> plain_;  // all but `re:` patterns -> index in patterns_
  std::vector<std::shared_ptr<const Regex>> regexes_;
};

}  // namespace phidias
