#include "cli/chat_settings.h"

#include <limits>

#include "cli/numbers.h"

namespace phidias::cli {
namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();

struct RealSetting {
  const char* name;
  float SamplingParams::*field;
};
constexpr RealSetting kReals[] = {
    {"temp", &SamplingParams::temperature},
    {"top-p", &SamplingParams::top_p},
    {"min-p", &SamplingParams::min_p},
    {"repeat-penalty", &SamplingParams::repeat_penalty},
    {"presence-penalty", &SamplingParams::presence_penalty},
    {"frequency-penalty", &SamplingParams::frequency_penalty},
};

struct IntegerSetting {
  const char* name;
  int32_t SamplingParams::*field;
};
constexpr IntegerSetting kIntegers[] = {
    {"top-k", &SamplingParams::top_k},
    {"repeat-last-n", &SamplingParams::repeat_last_n},
};

const char* FormatName(PromptFormat format) {
  switch (format) {
    case PromptFormat::kRaw: return "raw";
    case PromptFormat::kQa: return "qa";
    case PromptFormat::kChat: break;
  }
  return "chat";
}

std::string Line(const char* name, const std::string& value) {
  std::string label = name;
  label.resize(18, ' ');
  return "  " + label + value + "\n";
}

// Whether `name` is one of the sampling parameters, which then has the new value.
Result<bool> ChangeSampling(std::string_view name, std::string_view value, SamplingParams* params) {
  for (const RealSetting& setting : kReals) {
    if (name == setting.name) {
      constexpr double kMax = std::numeric_limits<float>::max();
      ASSIGN_OR_RETURN(const double number, ParseReal(value, -kMax, kMax));
      params->*setting.field = static_cast<float>(number);
      return true;
    }
  }
  for (const IntegerSetting& setting : kIntegers) {
    if (name == setting.name) {
      ASSIGN_OR_RETURN(const int64_t number, ParseInteger(value, -1, kMaxTokens));
      params->*setting.field = static_cast<int32_t>(number);
      return true;
    }
  }
  if (name == "seed") {
    ASSIGN_OR_RETURN(const int64_t number, ParseInteger(value, 0, std::numeric_limits<int64_t>::max()));
    params->seed = static_cast<uint64_t>(number);
    return true;
  }
  return false;
}

}  // namespace

Status ChangeSetting(std::string_view name, std::string_view value, ChatOptions* options, std::string* system) {
  SamplingParams params = options->sampling;
  ASSIGN_OR_RETURN(const bool sampling, ChangeSampling(name, value, &params));
  if (sampling) {
    RETURN_IF_ERROR(ValidateSampling(params));
    options->sampling = params;
  } else if (name == "predict") {
    ASSIGN_OR_RETURN(options->predict, ParseInteger(value, -1, kMaxTokens));
  } else if (name == "format") {
    const std::optional<PromptFormat> format = PromptFormatOf(value);
    if (!format.has_value()) {
      return InvalidArgument(Quoted(value), " is no format: qa, chat or raw");
    }
    options->format = *format;
  } else if (name == "system") {
    *system = value;
  } else {
    return InvalidArgument("no setting ", Quoted(name), ": /set alone lists them");
  }
  return {};
}

std::string DescribeSettings(const ChatOptions& options, const std::string& system) {
  const SamplingParams& params = options.sampling;
  std::string text = Line("format", FormatName(options.format)) +
                     Line("system", system.empty() ? "(none)" : Quoted(system)) +
                     Line("predict", std::to_string(options.predict));
  for (const RealSetting& setting : kReals) {
    text += Line(setting.name, StrCat(params.*setting.field));
  }
  for (const IntegerSetting& setting : kIntegers) {
    text += Line(setting.name, std::to_string(params.*setting.field));
  }
  return text + Line("seed", std::to_string(params.seed));
}

}  // namespace phidias::cli
