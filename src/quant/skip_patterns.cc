#include "quant/skip_patterns.h"

#include <fnmatch.h>

#include "model/module_patterns.h"

namespace phidias {
namespace {

bool IsGlob(const std::string& pattern) {
  return !pattern.starts_with("re:") && pattern.find_first_of("*?[") != std::string::npos;
}

}  // namespace

Result<std::vector<std::string>> MatchSkipPatterns(const std::vector<std::string>& patterns,
                                                   const std::vector<std::string>& linears, const char* flag) {
  std::vector<bool> skipped(linears.size(), false);
  for (const std::string& pattern : patterns) {
    bool matched = false;
    ASSIGN_OR_RETURN(const ModulePatterns one, ModulePatterns::Create({pattern}, flag));
    for (size_t i = 0; i < linears.size(); ++i) {
      bool match = IsGlob(pattern) && fnmatch(pattern.c_str(), linears[i].c_str(), 0) == 0;
      if (!IsGlob(pattern)) {
        std::vector<bool> which(one.patterns().size());
        ASSIGN_OR_RETURN(const PatternMatch how, one.Match(linears[i], &which));
        match = how != PatternMatch::kNone;
      }
      skipped[i] = skipped[i] || match;
      matched = matched || match;
    }
    if (!matched) {
      return InvalidArgument(flag, " ", Quoted(pattern), ": matches no linear layer; they are called ",
                             Quoted(linears.front()), " to ", Quoted(linears.back()),
                             ", and a pattern is a name, its end, a glob, or re: and a regex");
    }
  }
  std::vector<std::string> out;
  for (size_t i = 0; i < linears.size(); ++i) {
    if (skipped[i]) {
      out.push_back(linears[i]);
    }
  }
  return out;
}

}  // namespace phidias
