// phidias chat: a conversation on the terminal.

#include <algorithm>
#include <limits>
#include <sstream>
#include <utility>

#include "cli/chat_file.h"
#include "cli/chat_session.h"
#include "cli/chat_settings.h"
#include "cli/device_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/line_input.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/sampling_flags.h"
#include "cli/verbs.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias chat [OPTIONS] [MODEL]";
constexpr const char* kExamples =
    "Ctrl-C stops an answer, /bye or Ctrl-D ends the chat, /help lists the commands. A line that ends with \\ goes on "
    "in\n"
    "the next; \"\"\" begins and ends a text of several lines. Without a terminal each line of stdin is a message or "
    "a\n"
    "command, and the answers alone go to stdout.\n"
    "\n"
    "Examples:\n"
    "  phidias chat -m phi-2\n"
    "  phidias chat -m phi-2 --prompt-format chat --system \"Bob is a teacher.\" --temp 0\n"
    "  printf 'What is a lighthouse?\\nWho lives there?\\n' | phidias chat -m phi-2 -q\n";
constexpr const char* kHelp =
    "  /reset              forget the conversation\n"
    "  /save FILE          write it to FILE, as JSON\n"
    "  /load FILE          go on with one from FILE\n"
    "  /set                list the settings\n"
    "  /set NAME VALUE     change one (an empty system prompt: /set system)\n"
    "  /bye                end (also Ctrl-D)\n"
    "  \\ at a line's end   the text goes on in the next line\n"
    "  \"\"\"                 begins and ends a text of several lines\n"
    "  Ctrl-C              stop the answer\n";
constexpr std::string_view kFence = "\"\"\"";
constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();

struct ChatFlags {
  ModelOption model;
  CpuOptions cpu;
  Arithmetic arithmetic = Arithmetic::kFloat;
  WeightLoad load = WeightLoad::kAuto;
  DeviceFlags device;
  SamplingFlags sampling;
  std::string format = "qa";
  std::optional<std::string> system;
  std::optional<std::string> history;
  int64_t context = 0;
  ChatOptions options;
  bool quiet = false;
};

void AddFlags(CLI::App& app, ChatFlags* flags) {
  AddModelOption(app, &flags->model);
  app.add_option("--prompt-format", flags->format,
                 "qa (default): \"Instruct: TEXT\\nOutput:\"; chat: \"Alice: TEXT\\nBob:\";\n"
                 "raw: the texts one after the other")
      ->type_name("FORMAT")
      ->envname("PHIDIAS_PROMPT_FORMAT")
      ->check(CLI::IsMember({"raw", "qa", "chat"}));
  AddText(app, "--system", &flags->system, "text before the conversation")->type_name("TEXT");
  AddInteger(app, "-n,--predict,--n-predict", &flags->options.predict, -1, kMaxTokens, "PHIDIAS_PREDICT",
             "tokens of an answer; -1 (default): until it ends or the\ncontext is full");
  AddInteger(app, "-c,--ctx-size", &flags->context, 0, kMaxTokens, "PHIDIAS_CTX_SIZE",
             "positions of the context; 0 (default): the model's own limit");
  AddInteger(app, "-b,--batch-size", &flags->options.batch, 1, 1 << 20, "PHIDIAS_BATCH_SIZE",
             "tokens in one step (512)");
  AddInteger(app, "--lookup", &flags->options.lookup, 0, kMaxLookup, "PHIDIAS_LOOKUP",
             "tokens to guess ahead from the text (run --help); 0: off");
  app.add_option("--stop", flags->options.stop, "end an answer before this text appears; may be repeated")
      ->type_name("TEXT")
      ->allow_extra_args(false)
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  AddText(app, "--history", &flags->history,
          "file for the lines that were typed; \"\": none\n(~/.local/state/phidias/chat_history)")
      ->type_name("FILE")
      ->envname("PHIDIAS_HISTORY");
  AddSamplingFlags(app, &flags->sampling);
  flags->sampling.temperature->description("temperature (0.8); 0 takes the most probable token");
  AddCpuFlags(app, &flags->cpu);
  AddArithmeticFlag(app, &flags->arithmetic);
  AddLoadFlag(app, &flags->load);
  AddDeviceFlags(app, &flags->device);
  app.add_flag("-q,--quiet", flags->quiet, "only what has to be said on stderr");
}

std::string Plural(int64_t count, const char* word) {
  return StrCat(count, " ", word, count == 1 ? "" : "s");
}

// The text without blanks around it.
std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t begin = text.find_first_not_of(kBlanks);
  return begin == std::string_view::npos ? "" : text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

class Chat {
 public:
  Chat(ChatSession session, ChatOptions options, std::unique_ptr<LineInput> input, std::atomic<bool>* stop, bool quiet)
      : session_(std::move(session)),
        options_(std::move(options)),
        input_(std::move(input)),
        quiet_(quiet),
        stop_(stop) {}

  // Until the end of the input, /bye or a signal. At a terminal what goes wrong is told and the talk goes on; a script
  // ends with it.
  Status Run() {
    while (true) {
      stop_->store(WasInterrupted());
      ASSIGN_OR_RETURN(const InputLine message, ReadMessage());
      if (WasInterrupted() || (message.kind == InputLine::Kind::kInterrupted && !input_->interactive())) {
        return {StatusCode::kCancelled, ""};
      }
      if (message.kind == InputLine::Kind::kEnd) {
        return {};
      }
      const std::string_view text = Trim(message.text);
      if (message.kind == InputLine::Kind::kInterrupted || text.empty()) {
        continue;
      }
      if (text == "/bye" || text == "/exit" || text == "/quit") {
        return {};
      }
      const Status status = text.starts_with('/') ? Command(text) : Say(message.text);
      if (status.ok()) {
        continue;
      }
      if (!input_->interactive() || status.message().empty()) {
        return status;
      }
      Fail("chat", status);
    }
  }

 private:
  // Lines that belong together as one.
  Result<InputLine> ReadMessage() {
    ASSIGN_OR_RETURN(InputLine message, input_->Read("> "));
    std::string& text = message.text;
    bool more = message.kind == InputLine::Kind::kText;
    if (Trim(text).starts_with(kFence)) {
      text.erase(0, text.find(kFence) + kFence.size());
      size_t searched = 0;
      while (more && text.find(kFence, searched) == std::string::npos) {
        searched = text.size();
        ASSIGN_OR_RETURN(more, Append(&message));
      }
      text.erase(std::min(text.find(kFence, searched), text.size()));
      return message;
    }
    while (more && text.ends_with('\\')) {
      text.pop_back();
      ASSIGN_OR_RETURN(more, Append(&message));
    }
    return message;
  }

  // One more line of a message; false where none came, which is its end too.
  Result<bool> Append(InputLine* message) {
    ASSIGN_OR_RETURN(const InputLine line, input_->Read(". "));
    if (line.kind == InputLine::Kind::kText) {
      message->text += "\n" + line.text;
    } else if (line.kind == InputLine::Kind::kInterrupted) {
      message->kind = line.kind;
    }
    return line.kind == InputLine::Kind::kText;
  }

  Status Say(const std::string& text) {
    Status written;
    bool newline = true;
    ChatSink sink;
    sink.on_dropped = [](int64_t messages) {
      WriteStderr("(the context is full: the oldest " + Plural(messages, "message") +
                  " no longer told to the model)\n");
    };
    sink.on_text = [&](std::string_view piece) {
      if (written.ok()) {
        written = WriteStdout(piece);
        newline = piece.ends_with('\n');
      }
      if (!written.ok()) {
        stop_->store(true);
      }
    };
    Result<ChatAnswer> answer = session_.Answer(text, options_, stop_, sink);
    RETURN_IF_ERROR(written);
    if (!newline) {
      RETURN_IF_ERROR(WriteStdout("\n"));
    }
    RETURN_IF_ERROR(answer.status());
    Report(*answer);
    const bool stopped = answer->finish_reason == FinishReason::kCancelled;
    return stopped && !input_->interactive() ? Status(StatusCode::kCancelled, "") : Status();
  }

  void Report(const ChatAnswer& answer) const {
    std::string note;
    if (answer.finish_reason == FinishReason::kCancelled) {
      note = answer.text.empty() ? "stopped before the answer; the message is forgotten" : "stopped";
    } else if (answer.text.empty()) {
      note = "no answer; the message is forgotten";
    } else if (answer.finish_reason == FinishReason::kContextFull) {
      note = "the context is full";
    } else if (answer.finish_reason == FinishReason::kMaxTokens) {
      note = "ended after " + Plural(answer.generated, "token") + ", as set";
    }
    if (!note.empty()) {
      WriteStderr("(" + note + ")\n");
    }
    if (!quiet_) {
      std::ostringstream line;
      line.precision(3);
      line << "[" << Plural(answer.generated, "token");
      if (answer.generated > 1 && answer.generate_seconds > 0) {
        line << ", " << PerSecond(answer.generated - 1, answer.generate_seconds) << " tokens/s";
      }
      line << "; first after " << answer.prompt_seconds << " s; " << answer.reused << " of " << answer.prompt_tokens
           << " prompt tokens kept from before]\n";
      WriteStderr(line.str());
    }
  }

  Status Command(std::string_view line) {
    const size_t blank = std::min(line.find_first_of(" \t"), line.size());
    const std::string_view name = line.substr(0, blank);
    const std::string_view rest = Trim(line.substr(blank));
    if (name == "/help") {
      WriteStderr(kHelp);
      return {};
    }
    if (name == "/reset") {
      session_.SetConversation({.system = session_.conversation().system, .messages = {}});
      return {};
    }
    if (name == "/set") {
      return Set(rest);
    }
    if (name == "/save" || name == "/load") {
      if (rest.empty()) {
        return InvalidArgument(name, ": of which file? ", name, " FILE");
      }
      return name == "/save" ? Save(std::string(rest)) : Load(std::string(rest));
    }
    return InvalidArgument("no command ", Quoted(name), ": /help lists them (a text that begins with / needs ", kFence,
                           " before it)");
  }

  Status Save(const std::string& path) {
    RETURN_IF_ERROR(WriteConversation(path, session_.conversation()));
    Note(Plural(static_cast<int64_t>(session_.conversation().messages.size()), "message") + " in " + path);
    return {};
  }

  Status Load(const std::string& path) {
    ASSIGN_OR_RETURN(Conversation conversation, ReadConversation(path));
    Note(Plural(static_cast<int64_t>(conversation.messages.size()), "message") + " from " + path);
    session_.SetConversation(std::move(conversation));
    return {};
  }

  Status Set(std::string_view what) {
    if (what.empty()) {
      WriteStderr(DescribeSettings(options_, session_.conversation().system));
      return {};
    }
    const size_t blank = std::min(what.find_first_of(" \t"), what.size());
    std::string system = session_.conversation().system;
    RETURN_IF_ERROR(ChangeSetting(what.substr(0, blank), Trim(what.substr(blank)), &options_, &system));
    session_.SetSystem(std::move(system));
    return {};
  }

  void Note(const std::string& text) const {
    if (!quiet_) {
      WriteStderr("(" + text + ")\n");
    }
  }

  ChatSession session_;
  ChatOptions options_;
  std::unique_ptr<LineInput> input_;
  bool quiet_;
  std::atomic<bool>* stop_;
};

Status Talk(ChatFlags& flags) {
  ASSIGN_OR_RETURN(flags.options.sampling, ResolveSampling(flags.sampling));
  if (flags.sampling.temperature->count() == 0) {
    flags.options.sampling.temperature = kDefaultTemperature;
  }
  flags.options.format = PromptFormatOf(flags.format).value_or(PromptFormat::kQa);
  if (std::any_of(flags.options.stop.begin(), flags.options.stop.end(),
                  [](const std::string& text) { return text.empty(); })) {
    return InvalidArgument("--stop: the text is empty");
  }
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  std::atomic<bool>* const stop = CatchInterruptsOfTalk();
  LoadOptions load = {
      .path = path, .cpu = flags.cpu, .need_tokenizer = true, .arithmetic = flags.arithmetic, .load = flags.load};
  RETURN_IF_ERROR(ChooseDevice(flags.device, stop, &load));
  ASSIGN_OR_RETURN(const LoadedModel model, LoadWithNotes(load, !flags.quiet));
  ASSIGN_OR_RETURN(ChatSession session, ChatSession::Create(&model, flags.context));
  session.SetSystem(flags.system.value_or(""));
  std::unique_ptr<LineInput> input = NewLineInput(flags.history.has_value() ? *flags.history : DefaultHistoryFile());
  if (!flags.quiet && input->interactive()) {
    WriteStderr(StrCat(path, " on ", model.phi->backend().Describe(), ", context ", session.context(), ", seed ",
                       flags.options.sampling.seed, "; /help, /bye\n"));
  }
  return Chat(std::move(session), flags.options, std::move(input), stop, flags.quiet).Run();
}

}  // namespace

int ChatVerb(std::span<const std::string> arguments) {
  CLI::App app("Talk with a model.", "phidias chat");
  ChatFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "chat", arguments)) {
    return *code;
  }
  const Status status = Talk(flags);
  return status.ok() ? kExitOk : Fail("chat", status);
}

}  // namespace phidias::cli
