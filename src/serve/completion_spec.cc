#include "serve/completion_spec.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <random>

#include "serve/chat_messages.h"
#include "serve/fields.h"

namespace phidias::serve {
namespace {

constexpr int64_t kMaxChoices = 256;  // prompts times n
constexpr int64_t kMaxLogprobs = 20;
constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr size_t kMaxBiases = 1024;
constexpr int64_t kDefaultMaxTokens = 16;  // of a completion; a chat has the rest of the context
constexpr int64_t kMaxInt = std::numeric_limits<int32_t>::max();

// Fields that would change the answer and that nobody here reads: an answer that ignores them would be wrong.
constexpr const char* kUnsupported[] = {
    "tools",
    "functions",
    "function_call",
    "audio",
    "prediction",
    "suffix",
    "web_search_options",
    "grammar",
    "json_schema",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "best_of",
    "use_beam_search",
    "min_tokens",
    "bad_words",
    "stop_token_ids",
    "prompt_logprobs",
};

bool IsEmptyOrOff(const RequestJson& value) {
  return value.is_null() || value == false || value == 0 ||
         (value.is_string() && value.get_ref<const std::string&>().empty()) || (value.is_structured() && value.empty());
}

void RefuseUnsupported(Fields* fields) {
  for (const char* name : kUnsupported) {
    const RequestJson* const value = fields->Find(name);
    if (value != nullptr && !IsEmptyOrOff(*value) && !(std::string_view(name) == "best_of" && *value == 1)) {
      fields->Wrong(name, "is not supported here");
    }
  }
  if (const RequestJson* const choice = fields->Find("tool_choice");
      choice != nullptr && *choice != "none" && *choice != "auto") {
    fields->Wrong("tool_choice", "is not supported here: there are no tools");
  }
  if (const RequestJson* const format = fields->Find("response_format")) {
    if (!format->is_object() || format->value("type", RequestJson()) != "text") {
      fields->Wrong("response_format", "is not supported here, except {\"type\": \"text\"}");
    }
  }
  if (const RequestJson* const modalities = fields->Find("modalities");
      modalities != nullptr && *modalities != RequestJson::array({"text"})) {
    fields->Wrong("modalities", "may only be [\"text\"]");
  }
}

void ReadSampling(const ModelInfo& model, Fields* fields, SequenceOptions* options) {
  SamplingParams& p = options->sampling;
  p = model.sampling;
  fields->Real("temperature", 0, 100, &p.temperature);
  fields->Real("top_p", 0, 1, &p.top_p);
  p.top_p = std::max(p.top_p, std::numeric_limits<float>::min());  // OpenAI's 0: the most probable token alone
  fields->Real("min_p", 0, 1, &p.min_p);
  fields->Real("presence_penalty", -100, 100, &p.presence_penalty);
  fields->Real("frequency_penalty", -100, 100, &p.frequency_penalty);
  for (const char* name : {"repeat_penalty", "repetition_penalty"}) {
    fields->Real(name, 0, 100, &p.repeat_penalty);
    if (p.repeat_penalty == 0) {
      fields->Wrong(name, "is 0: must be above it (1 is off)");
    }
  }
  int64_t top_k = p.top_k;
  int64_t last_n = p.repeat_last_n;
  fields->Integer("top_k", -1, 1 << 30, &top_k);
  fields->Integer("repeat_last_n", -1, 1 << 30, &last_n);
  p.top_k = static_cast<int32_t>(std::max<int64_t>(top_k, 0));  // vLLM's -1: all
  p.repeat_last_n = static_cast<int32_t>(last_n);
  const bool given = fields->Find("seed") != nullptr;
  int64_t seed = 0;
  fields->Integer("seed", std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max(), &seed);
  if (given) {
    p.seed = static_cast<uint64_t>(seed);
  } else if (model.random_seed) {
    thread_local std::random_device device;
    p.seed = (static_cast<uint64_t>(device()) << 32) | device();
  }
}

void ReadLogitBias(const ModelInfo& model, Fields* fields, LogitBias* out) {
  const RequestJson* const map = fields->Find("logit_bias");
  if (map == nullptr) {
    return;
  }
  if (!map->is_object()) {
    return fields->Wrong("logit_bias",
                         std::string("must be an object from token ids to numbers, it is ") + KindOf(*map));
  }
  if (map->size() > kMaxBiases) {
    return fields->Wrong("logit_bias", "has more than " + std::to_string(kMaxBiases) + " entries");
  }
  for (const auto& [key, value] : map->items()) {
    int64_t id = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), id);
    if (error != std::errc() || end != key.data() + key.size() || id < 0 || id >= model.vocab_size) {
      return fields->Wrong("logit_bias", "has the key " + Quoted(key) + ": keys are token ids, 0 to " +
                                             std::to_string(model.vocab_size - 1));
    }
    const double bias = value.is_number() ? value.get<double>() : 1000;
    if (!(bias >= -100 && bias <= 100)) {
      return fields->Wrong("logit_bias", "of token " + key + " must be a number from -100 to 100");
    }
    out->emplace_back(static_cast<int32_t>(id), static_cast<float>(bias));
  }
}

void ReadStop(Fields* fields, std::vector<std::string>* out) {
  const RequestJson* const stop = fields->Find("stop");
  if (stop == nullptr) {
    return;
  }
  const RequestJson list = stop->is_array() ? *stop : RequestJson::array({*stop});
  if (list.size() > kMaxStops) {
    return fields->Wrong("stop", "has more than " + std::to_string(kMaxStops) + " strings");
  }
  for (const RequestJson& item : list) {
    if (!item.is_string()) {
      return fields->Wrong("stop", std::string("must be a string or a list of strings, it holds ") + KindOf(item));
    }
    const auto& text = item.get_ref<const std::string&>();
    if (text.empty() || text.size() > kMaxStopBytes) {
      return fields->Wrong("stop", "holds a string of " + std::to_string(text.size()) + " bytes: 1 to " +
                                       std::to_string(kMaxStopBytes) + " are allowed");
    }
    out->push_back(text);
  }
}

void ReadStream(Fields* fields, CompletionSpec* spec) {
  fields->Bool("stream", &spec->stream);
  const RequestJson* const options = fields->Find("stream_options");
  if (options == nullptr) {
    return;
  }
  if (!options->is_object()) {
    return fields->Wrong("stream_options", std::string("must be an object, it is ") + KindOf(*options));
  }
  if (!spec->stream) {
    return fields->Wrong("stream_options", "is only allowed where 'stream' is true");
  }
  Fields inner(*options, "stream_options.");
  inner.Bool("include_usage", &spec->include_usage);
  if (!inner.ok()) {
    fields->Wrong(*inner.error());
  }
}

// Both shapes: a number of alternatives for completions, a switch and a number for chats.
void ReadLogprobs(Fields* fields, CompletionSpec* spec) {
  int64_t& logprobs = spec->options.logprobs;
  if (!spec->chat) {
    fields->Integer("logprobs", 0, kMaxLogprobs, &logprobs);
    spec->options.prompt_logprobs = spec->echo && logprobs >= 0;
    return;
  }
  bool wanted = false;
  int64_t top = 0;
  fields->Bool("logprobs", &wanted);
  fields->Integer("top_logprobs", 0, kMaxLogprobs, &top);
  if (!wanted && top > 0) {
    fields->Wrong("top_logprobs", "is only allowed where 'logprobs' is true");
  }
  logprobs = wanted ? top : -1;
}

void ReadCommon(const ModelInfo& model, Fields* fields, CompletionSpec* spec) {
  RefuseUnsupported(fields);
  SequenceOptions& options = spec->options;
  fields->Integer("n", 1, 128, &spec->n);
  if (spec->chat) {
    fields->Integer("max_tokens", 1, kMaxInt, &options.max_new_tokens);
    fields->Integer("max_completion_tokens", 1, kMaxInt, &options.max_new_tokens);
  } else {
    options.max_new_tokens = kDefaultMaxTokens;
    fields->Integer("max_tokens", 0, kMaxInt, &options.max_new_tokens);
    fields->Bool("echo", &spec->echo);
  }
  fields->Bool("ignore_eos", &options.ignore_eos);
  options.eos_token_ids = model.eos_token_ids;
  options.lookup = model.lookup;
  ReadSampling(model, fields, &options);
  ReadLogitBias(model, fields, &options.logit_bias);
  ReadStop(fields, &options.stop);
  ReadStream(fields, spec);
  ReadLogprobs(fields, spec);
}

// Text to ids; the empty text begins a document, which is what <|endoftext|> stands for.
void AddText(const ModelInfo& model, const std::string& name, std::string text, bool parse_special, Fields* fields,
             std::vector<Prompt>* prompts) {
  Result<std::vector<int32_t>> ids = model.tokenizer->Encode(text, parse_special);
  if (!ids.ok()) {
    return fields->Wrong(name, ids.status().message());
  }
  if (ids->empty() && !model.eos_token_ids.empty()) {
    ids->push_back(model.eos_token_ids.front());
  }
  prompts->push_back({*std::move(ids), std::move(text)});
}

void AddIds(const ModelInfo& model, const std::string& name, const RequestJson& list, Fields* fields,
            std::vector<Prompt>* prompts) {
  std::string why;
  std::optional<std::vector<int32_t>> ids = IdList(list, model.vocab_size, &why);
  if (!ids.has_value() || ids->empty()) {
    return fields->Wrong(name, ids.has_value() ? "is an empty list" : why);
  }
  std::string text = model.tokenizer->Decode(*ids, false);
  prompts->push_back({*std::move(ids), std::move(text)});
}

// A string, a list of strings, a list of ids, or a list of lists of ids.
void ReadPrompts(const ModelInfo& model, Fields* fields, std::vector<Prompt>* prompts) {
  const RequestJson* const prompt = fields->Find("prompt");
  bool parse_special = false;
  fields->Bool("parse_special", &parse_special);
  if (prompt == nullptr) {
    return fields->Wrong("prompt", "is missing");
  }
  if (prompt->is_string()) {
    return AddText(model, "prompt", prompt->get<std::string>(), parse_special, fields, prompts);
  }
  if (!prompt->is_array() || prompt->empty()) {
    return fields->Wrong("prompt",
                         std::string("must be a string, a list of strings, of token ids or of lists of ids; it is ") +
                             (prompt->is_array() ? "an empty list" : KindOf(*prompt)));
  }
  if (prompt->front().is_number()) {
    return AddIds(model, "prompt", *prompt, fields, prompts);
  }
  if (prompt->size() > static_cast<size_t>(kMaxChoices)) {
    return fields->Wrong("prompt", "is a list of more than " + std::to_string(kMaxChoices) + " prompts");
  }
  for (size_t i = 0; i < prompt->size() && fields->ok(); ++i) {
    const RequestJson& item = (*prompt)[i];
    const std::string name = "prompt[" + std::to_string(i) + "]";
    if (item.is_string()) {
      AddText(model, name, item.get<std::string>(), parse_special, fields, prompts);
    } else if (item.is_array()) {
      AddIds(model, name, item, fields, prompts);
    } else {
      fields->Wrong(name, std::string("must be a string or a list of token ids, it is ") + KindOf(item));
    }
  }
}

void ReadChat(const ModelInfo& model, Fields* fields, CompletionSpec* spec) {
  std::string format;
  fields->Text("prompt_format", &format);
  const std::optional<PromptFormat> known = format.empty() ? model.format : PromptFormatOf(format);
  if (!known.has_value()) {
    return fields->Wrong("prompt_format", "is " + Quoted(format) + ": must be raw, qa or chat");
  }
  spec->format = *known;
  bool parse_special = false;
  fields->Bool("parse_special", &parse_special);
  const std::vector<ChatMessage> messages = ReadMessages(fields);
  if (!fields->ok()) {
    return;
  }
  spec->begins_answer = messages.back().role != ChatRole::kAssistant;
  PromptForm form = FormatConversation(spec->format, messages);
  std::vector<std::string>& stop = spec->options.stop;
  stop.insert(stop.end(), form.stop.begin(), form.stop.end());
  AddText(model, "messages", std::move(form.text), parse_special, fields, &spec->prompts);
}

void CheckSizes(const ModelInfo& model, const CompletionSpec& spec, Fields* fields) {
  if (static_cast<int64_t>(spec.prompts.size()) * spec.n > kMaxChoices) {
    return fields->Wrong("n", "times the number of prompts is more than " + std::to_string(kMaxChoices));
  }
  for (const Prompt& prompt : spec.prompts) {
    if (static_cast<int64_t>(prompt.ids.size()) > model.context) {
      const char* const name = spec.chat ? "messages" : "prompt";
      return fields->Wrong({.message = StrCat("This model's maximum context length is ", model.context,
                                              " tokens; the prompt has ", prompt.ids.size(), ". Shorten '", name, "'."),
                            .param = name,
                            .code = "context_length_exceeded"});
    }
  }
}

}  // namespace

std::optional<ApiError> CheckModel(const RequestJson& body, const ModelInfo& model) {
  std::string name;
  Fields fields(body);
  fields.Text("model", &name);
  if (fields.ok() && !name.empty() && std::find(model.names.begin(), model.names.end(), name) == model.names.end()) {
    fields.Wrong(
        {.status = 404,
         .message = "The model " + Quoted(name) + " is not served here; " + Quoted(model.names.front()) + " is.",
         .param = "model",
         .code = "model_not_found"});
  }
  return fields.error();
}

Parsed<CompletionSpec> ParseCompletion(const RequestJson& body, bool chat, const ModelInfo& model) {
  CompletionSpec spec;
  spec.chat = chat;
  if (std::optional<ApiError> error = CheckModel(body, model)) {
    return *std::move(error);
  }
  Fields fields(body);
  ReadCommon(model, &fields, &spec);
  if (fields.ok() && chat) {
    ReadChat(model, &fields, &spec);
  } else if (fields.ok()) {
    ReadPrompts(model, &fields, &spec.prompts);
  }
  if (fields.ok()) {
    CheckSizes(model, spec, &fields);
  }
  if (!fields.ok()) {
    return *fields.error();
  }
  return spec;
}

}  // namespace phidias::serve
