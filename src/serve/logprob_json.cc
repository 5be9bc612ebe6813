#include "serve/logprob_json.h"

#include <algorithm>
#include <utility>

#include "common/utf8.h"

namespace phidias::serve {
namespace {

constexpr float kLeast = -9999.0F;  // JSON has no infinity; OpenAI writes this

int64_t Characters(std::string_view bytes) {
  return std::count_if(bytes.begin(), bytes.end(), [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
}

}  // namespace

void LogprobJson::Clear() {
  out_ = Json::object();
  if (chat_) {
    out_["content"] = Json::array();
    out_["refusal"] = nullptr;
    return;
  }
  for (const char* name : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) {
    out_[name] = Json::array();
  }
}

// As OpenAI writes a token whose bytes are only part of a character: "bytes:\xe2\x80".
std::string LogprobJson::TokenText(int32_t id) const {
  const std::string_view bytes = tokenizer_->TokenBytes(id);
  if (FindInvalidUtf8(bytes) == std::string_view::npos) {
    return std::string(bytes);
  }
  std::string text = "bytes:";
  for (const char c : bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    const auto byte = static_cast<uint8_t>(c);
    text.append("\\x").append(1, kDigits[byte >> 4]).append(1, kDigits[byte & 15]);
  }
  return text;
}

Json LogprobJson::ChatToken(int32_t id, float logprob) const {
  const std::string_view text = tokenizer_->TokenBytes(id);
  Json bytes = Json::array();
  for (const char c : text) {
    bytes.push_back(static_cast<uint8_t>(c));
  }
  return {{"token", ReplaceInvalidUtf8(text)}, {"logprob", std::max(logprob, kLeast)}, {"bytes", std::move(bytes)}};
}

void LogprobJson::AddFirst(int32_t id) {
  out_["tokens"].push_back(TokenText(id));
  out_["token_logprobs"].push_back(nullptr);
  out_["top_logprobs"].push_back(nullptr);
  out_["text_offset"].push_back(offset_);
  offset_ += Characters(tokenizer_->TokenBytes(id));
}

void LogprobJson::Add(const TokenLogprob& score, bool named) {
  if (chat_) {
    Json token = ChatToken(score.id, score.logprob);
    Json top = Json::array();
    for (const auto& [id, logprob] : score.top) {
      top.push_back(ChatToken(id, logprob));
    }
    token["top_logprobs"] = std::move(top);
    out_["content"].push_back(std::move(token));
    return;
  }
  Json top = Json::object();
  for (const auto& [id, logprob] : score.top) {
    top.emplace(TokenText(id), std::max(logprob, kLeast));  // of two tokens with one text the more probable stays
  }
  top.emplace(TokenText(score.id), std::max(score.logprob, kLeast));
  out_["tokens"].push_back(TokenText(score.id));
  out_["token_logprobs"].push_back(std::max(score.logprob, kLeast));
  out_["top_logprobs"].push_back(named ? std::move(top) : Json());
  out_["text_offset"].push_back(offset_);
  offset_ += Characters(tokenizer_->TokenBytes(score.id));
}

Json LogprobJson::Take() {
  Json out = std::move(out_);
  Clear();
  return out;
}

}  // namespace phidias::serve
