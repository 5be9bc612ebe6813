// Matching of module patterns. Oracle: compressed-tensors' own rules (a name is equal, a `re:` pattern is Python's
// re.match, a class is one that a torch Linear has), restated here as a table; hostile patterns end in a message.

#include "model/module_patterns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace phidias {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kModule = "model.layers.1.self_attn.q_proj";

PatternMatch MatchOf(const std::string& pattern, const std::string& module = kModule) {
  const Result<ModulePatterns> patterns = ModulePatterns::Create({pattern}, "f");
  EXPECT_TRUE(patterns.ok()) << patterns.status().message();
  std::vector<bool> matched(1);
  const Result<PatternMatch> match = patterns.value().Match(module, &matched);
  EXPECT_TRUE(match.ok()) << match.status().message();
  EXPECT_EQ(matched[0], match.value() != PatternMatch::kNone) << pattern;
  return match.value();
}

TEST(ModulePatterns, Names) {
  EXPECT_EQ(MatchOf(kModule), PatternMatch::kName);
  EXPECT_EQ(MatchOf("lm_head", "lm_head"), PatternMatch::kName);
  EXPECT_EQ(MatchOf("model.layers.1.self_attn"), PatternMatch::kNone);
  EXPECT_EQ(MatchOf("model.layers.1.self_attn.k_proj"), PatternMatch::kNone);
  EXPECT_EQ(MatchOf(""), PatternMatch::kNone);
  EXPECT_EQ(MatchOf(std::string(kModule) + std::string(1, '\0')), PatternMatch::kNone);
}

TEST(ModulePatterns, SuffixesOfWholeParts) {
  EXPECT_EQ(MatchOf("q_proj"), PatternMatch::kSuffix);
  EXPECT_EQ(MatchOf("self_attn.q_proj"), PatternMatch::kSuffix);
  EXPECT_EQ(MatchOf("proj"), PatternMatch::kNone);
  EXPECT_EQ(MatchOf(".q_proj"), PatternMatch::kNone);
}

TEST(ModulePatterns, ClassesOfALinearLayer) {
  EXPECT_EQ(MatchOf("Linear"), PatternMatch::kClass);
  EXPECT_EQ(MatchOf("Module"), PatternMatch::kClass);
  EXPECT_EQ(MatchOf("linear"), PatternMatch::kNone);
  EXPECT_EQ(MatchOf("Embedding"), PatternMatch::kNone);
}

TEST(ModulePatterns, RegexesMatchFromTheStart) {
  EXPECT_EQ(MatchOf("re:model"), PatternMatch::kRegex);
  EXPECT_EQ(MatchOf("re:.*q_proj"), PatternMatch::kRegex);
  EXPECT_EQ(MatchOf("re:.*self_attn\\.(q|k|v)_proj$"), PatternMatch::kRegex);
  EXPECT_EQ(MatchOf("re:(?P<a>.*)_proj"), PatternMatch::kRegex);
  EXPECT_EQ(MatchOf("re:"), PatternMatch::kRegex);
  EXPECT_EQ(MatchOf("re:q_proj"), PatternMatch::kNone);
  EXPECT_EQ(MatchOf("re:x|.*q_proj"), PatternMatch::kRegex);
  EXPECT_EQ(MatchOf("re:x|q_proj"), PatternMatch::kNone);  // every alternative is anchored
  EXPECT_EQ(MatchOf("re:.*self_attn$"), PatternMatch::kNone);
  EXPECT_EQ(MatchOf("re:MODEL"), PatternMatch::kNone);
}

TEST(ModulePatterns, TheStrongestMatchCountsAndAllAreMarked) {
  const Result<ModulePatterns> patterns =
      ModulePatterns::Create({"Linear", "re:.*attn.*", "q_proj", "lm_head", "q_proj"}, "f");
  EXPECT_THAT(patterns.value().patterns(), ElementsAre("Linear", "re:.*attn.*", "q_proj", "lm_head"));
  std::vector<bool> matched(4);
  EXPECT_EQ(patterns.value().Match(kModule, &matched).value(), PatternMatch::kRegex);
  EXPECT_THAT(matched, ElementsAre(true, true, true, false));
  EXPECT_EQ(patterns.value().Match("lm_head", &matched).value(), PatternMatch::kName);
  EXPECT_THAT(matched, ElementsAre(true, true, true, true));
  EXPECT_EQ(ModulePatterns().Match(kModule, &matched).value(), PatternMatch::kNone);
}

std::string CreateMessage(const std::vector<std::string>& patterns) {
  return ModulePatterns::Create(patterns, "c.json: ignore").status().message();
}

TEST(ModulePatterns, BadRegexes) {
  EXPECT_EQ(CreateMessage({"re:a(b"}),
            "c.json: ignore: \"re:a(b\" is not a regular expression: missing closing parenthesis at character 6");
  EXPECT_THAT(CreateMessage({"lm_head", "re:*"}), HasSubstr("\"re:*\" is not a regular expression: quantifier"));
  EXPECT_THAT(CreateMessage({"re:" + std::string(5000, 'a')}),
              HasSubstr("has 5003 bytes; a \"re:\" pattern has at most 4096"));
  EXPECT_THAT(CreateMessage({"re:" + std::string(1000, '(') + std::string(1000, ')')}), HasSubstr("nested"));
  std::vector<std::string> many;
  for (int i = 0; i < 200; ++i) {
    many.push_back("re:" + std::to_string(i));
  }
  EXPECT_EQ(CreateMessage(many), "c.json: ignore has more than 128 \"re:\" patterns; write names instead");
}

TEST(ModulePatterns, RegexesThatWouldTakeForever) {
  for (const char* pattern : {"re:(.*)*(.*)*(.*)*[!?]", "re:(.+)+(.+)+\\d[!?]", "re:(?R)*"}) {
    const Result<ModulePatterns> patterns = ModulePatterns::Create({pattern}, "c.json: ignore");
    if (!patterns.ok()) {
      continue;  // refused outright is as good
    }
    std::vector<bool> matched(1);
    const std::string message = patterns.value().Match(kModule, &matched).status().message();
    EXPECT_THAT(message, HasSubstr("can't be matched with \"model.layers.1.self_attn.q_proj\" (")) << pattern;
    EXPECT_THAT(message, HasSubstr("write it simpler, or write names"));
  }
}

}  // namespace
}  // namespace phidias
