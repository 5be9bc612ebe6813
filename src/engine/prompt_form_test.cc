// The forms of prompts, against the spelling that Phi-2's model card gives.
#include "engine/prompt_form.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace phidias {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::string Conversation(PromptFormat format, const std::vector<ChatMessage>& messages) {
  return FormatConversation(format, messages).text;
}

TEST(PromptForm, OnePromptInEveryFormat) {
  EXPECT_EQ(FormatPrompt(PromptFormat::kRaw, "def f():").text, "def f():");
  EXPECT_TRUE(FormatPrompt(PromptFormat::kRaw, "x").parse_special);
  EXPECT_THAT(FormatPrompt(PromptFormat::kRaw, "x").stop, IsEmpty());
  const PromptForm qa = FormatPrompt(PromptFormat::kQa, "Why?");
  EXPECT_EQ(qa.text, "Instruct: Why?\nOutput:");
  EXPECT_FALSE(qa.parse_special);
  EXPECT_THAT(qa.stop, ElementsAre("\nInstruct:"));
  const PromptForm chat = FormatPrompt(PromptFormat::kChat, "Why?");
  EXPECT_EQ(chat.text, "Alice: Why?\nBob:");
  EXPECT_THAT(chat.stop, ElementsAre("\nAlice:", "\nBob:"));
}

TEST(PromptForm, AConversationKeepsEveryTurn) {
  const std::vector<ChatMessage> messages = {{ChatRole::kSystem, "Be brief."},
                                             {ChatRole::kUser, "Hi"},
                                             {ChatRole::kAssistant, "Hello."},
                                             {ChatRole::kUser, "Why?"}};
  EXPECT_EQ(Conversation(PromptFormat::kQa, messages),
            "Be brief.\nInstruct: Hi\nOutput: Hello.\nInstruct: Why?\nOutput:");
  EXPECT_EQ(Conversation(PromptFormat::kChat, messages), "Be brief.\nAlice: Hi\nBob: Hello.\nAlice: Why?\nBob:");
  EXPECT_EQ(Conversation(PromptFormat::kRaw, messages), "Be brief.HiHello.Why?");
  EXPECT_FALSE(FormatConversation(PromptFormat::kRaw, messages).parse_special) << "users' text stays text";
}

TEST(PromptForm, AnAssistantsLastMessageIsContinued) {
  EXPECT_EQ(Conversation(PromptFormat::kQa, {{ChatRole::kUser, "Hi"}, {ChatRole::kAssistant, "Hel"}}),
            "Instruct: Hi\nOutput: Hel");
}

TEST(PromptForm, TheSpaceAfterTheMarkIsNoPartOfAnAnswer) {
  EXPECT_EQ(StripAnswer(PromptFormat::kQa, "  two"), " two");
  EXPECT_EQ(StripAnswer(PromptFormat::kChat, "none"), "none");
  EXPECT_EQ(StripAnswer(PromptFormat::kRaw, " kept"), " kept");
}

TEST(PromptForm, NamesOfFormats) {
  EXPECT_EQ(PromptFormatOf("raw"), PromptFormat::kRaw);
  EXPECT_EQ(PromptFormatOf("qa"), PromptFormat::kQa);
  EXPECT_EQ(PromptFormatOf("chat"), PromptFormat::kChat);
  EXPECT_EQ(PromptFormatOf("QA"), std::nullopt);
}

}  // namespace
}  // namespace phidias
