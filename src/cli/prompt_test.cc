// Which argument is the model and which the text, and escapes.

#include "cli/prompt.h"

#include <gtest/gtest.h>

namespace phidias::cli {
namespace {

// A path that is there, and not by its form a text.
const std::string kThere = PHIDIAS_SOURCE_DIR "/models/demo";

PromptSource Split(const PromptOption& option) {
  const auto source = SplitArguments(option);
  EXPECT_TRUE(source.ok()) << source.status().message();
  return source.ok() ? *source : PromptSource();
}

PromptOption Arguments(std::optional<std::string> first, std::optional<std::string> second = std::nullopt) {
  PromptOption option;
  option.first = std::move(first);
  option.second = std::move(second);
  return option;
}

TEST(SplitArguments, OneArgumentIsTheModelIfItIsThere) {
  EXPECT_EQ(Split(Arguments(kThere)).model, kThere);
  EXPECT_EQ(Split(Arguments(kThere)).text, std::nullopt);
  EXPECT_EQ(Split(Arguments(kThere + "/config.json")).model, kThere + "/config.json");
}

TEST(SplitArguments, OneArgumentIsTheTextOtherwise) {
  EXPECT_EQ(Split(Arguments("Once upon a time")).text, "Once upon a time");
  EXPECT_EQ(Split(Arguments("either/or is the question")).text, "either/or is the question");
  EXPECT_EQ(Split(Arguments("")).text, "");
  EXPECT_EQ(Split(Arguments("Hello")).model, std::nullopt);
}

TEST(SplitArguments, TwoArgumentsAreModelAndText) {
  const PromptSource source = Split(Arguments("a", "b"));
  EXPECT_EQ(source.model, "a");
  EXPECT_EQ(source.text, "b");
}

TEST(SplitArguments, WithAModelFlagTheArgumentIsTheText) {
  PromptOption option = Arguments(kThere);
  option.model = "m";
  EXPECT_EQ(Split(option).model, "m");
  EXPECT_EQ(Split(option).text, kThere);
}

TEST(SplitArguments, WithATextFlagTheArgumentIsTheModel) {
  PromptOption option = Arguments("not-there");
  option.text = "t";
  EXPECT_EQ(Split(option).model, "not-there");
  EXPECT_EQ(Split(option).text, "t");
  option.text.reset();
  option.file = "f";
  EXPECT_EQ(Split(option).model, "not-there");
  EXPECT_EQ(Split(option).file, "f");
}

TEST(SplitArguments, RefusesConflicts) {
  PromptOption option = Arguments("a", "b");
  option.model = "m";
  EXPECT_EQ(SplitArguments(option).status().message(), "the model is given twice: -m \"m\" and \"a\"");
  option = Arguments("a", "b");
  option.text = "t";
  EXPECT_EQ(SplitArguments(option).status().message(), "the text is given twice: \"b\" and with -p");
  option = Arguments("a");
  option.model = "m";
  option.file = "f";
  EXPECT_EQ(SplitArguments(option).status().message(), "the text is given twice: \"a\" and with -f");
  option = Arguments(std::nullopt);
  option.text = "t";
  option.file = "f";
  EXPECT_EQ(SplitArguments(option).status().code(), StatusCode::kInvalidArgument);
}

TEST(SplitArguments, APathThatIsNotThereIsNoText) {
  for (const char* path : {"models/phi-3", "./phi", "phi-2.gguf", "weights.safetensors"}) {
    EXPECT_EQ(SplitArguments(Arguments(path)).status().code(), StatusCode::kNotFound) << path;
  }
}

TEST(ProcessEscapes, Known) {
  EXPECT_EQ(*ProcessEscapes("plain"), "plain");
  EXPECT_EQ(*ProcessEscapes(R"(\n\r\t\\\'\"\x41\xfF\x00z)"), std::string("\n\r\t\\'\"A\xff\0z", 10));
  EXPECT_EQ(*ProcessEscapes(R"(\\n)"), "\\n");
}

TEST(ProcessEscapes, Unknown) {
  for (const char* text : {"\\", "\\q", "a\\x4", "\\xg0", "\\X41", "\\0"}) {
    EXPECT_EQ(ProcessEscapes(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace phidias::cli
