// phidias serve: an OpenAI-compatible HTTP server.

#include <sys/resource.h>

#include <chrono>
#include <mutex>
#include <sstream>
#include <thread>

#include "cli/device_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/sampling_flags.h"
#include "cli/verbs.h"
#include "common/file.h"
#include "serve/server.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias serve [OPTIONS] [MODEL]";
constexpr const char* kExamples =
    "Clients of OpenAI's API take http://HOST:PORT/v1 as their base URL; a chat page is at http://HOST:PORT/.\n"
    "The first SIGINT or SIGTERM lets requests under way finish (--drain-seconds), a second one ends at once.\n"
    "\n"
    "Examples:\n"
    "  phidias serve -m phi-2\n"
    "  phidias serve -m phi-2 --host 0.0.0.0 --port 8000 --api-key-file keys.txt --parallel 16\n"
    "  curl http://127.0.0.1:8080/v1/chat/completions -d '{\"messages\": [{\"role\": \"user\", \"content\": "
    "\"Hi\"}]}'\n";

constexpr size_t kMaxKeyFileBytes = size_t{1} << 20;
constexpr int64_t kMaxSeconds = 24 * 3600;

struct ServeFlags {
  ModelOption model;
  CpuOptions cpu;
  Arithmetic arithmetic = Arithmetic::kFloat;
  WeightLoad load = WeightLoad::kAuto;
  DeviceFlags device;
  SamplingFlags sampling;
  std::string host = "127.0.0.1";
  int64_t port = 8080;
  int64_t http_threads = 2;
  std::string alias;
  std::string format = "qa";
  int64_t parallel = 0;
  int64_t context = 0;
  int64_t batch = 512;
  int64_t queue = 256;
  int64_t lookup = 0;
  std::string api_key;
  std::string api_key_file;
  std::string cors_origins;
  int64_t max_connections = 4096;
  int64_t max_body = 4 << 20;
  int64_t header_seconds = 10;
  int64_t body_seconds = 60;
  int64_t idle_seconds = 60;
  int64_t write_seconds = 30;
  int64_t drain_seconds = 30;
  std::string log_format = "text";
  bool log_prompts = false;
  bool quiet = false;
};

void AddString(CLI::App& app, const char* name, std::string* out, const char* type, const char* env,
               const std::string& description) {
  app.add_option(name, *out, description)
      ->type_name(type)
      ->envname(env)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

void AddServingFlags(CLI::App& app, ServeFlags* f) {
  AddString(app, "--host", &f->host, "HOST", "PHIDIAS_HOST", "address to listen on (127.0.0.1); 0.0.0.0: all");
  AddInteger(app, "--port", &f->port, 0, 65535, "PHIDIAS_PORT", "port to listen on (8080); 0: any free one");
  AddString(app, "--alias", &f->alias, "NAMES", "PHIDIAS_ALIAS",
            "names of the model for clients, comma separated\n(the name of its file or directory)");
  app.add_option(
         "--prompt-format", f->format,
         "form of chats that say none: qa (default, \"Instruct: ...\n\\nOutput:\"), chat (\"Alice: ...\\nBob:\") "
         "or raw")
      ->type_name("FORMAT")
      ->envname("PHIDIAS_PROMPT_FORMAT")
      ->check(CLI::IsMember({"raw", "qa", "chat"}));
  AddInteger(
      app, "--parallel", &f->parallel, 0, 4096, "PHIDIAS_PARALLEL",
      "texts in the works at a time, each with a KV cache; 0\n(default): 8, or what half of the free memory holds");
  AddInteger(app, "-c,--ctx-size", &f->context, 0, 1 << 30, "PHIDIAS_CTX_SIZE",
             "positions of each; 0 (default): the model's own limit");
  AddInteger(app, "-b,--batch-size", &f->batch, 1, 1 << 20, "PHIDIAS_BATCH_SIZE", "tokens in one step (512)");
  AddInteger(app, "--queue", &f->queue, 0, 1 << 20, "PHIDIAS_QUEUE",
             "requests that may wait (256); more get 429 and retry-after");
  AddInteger(app, "--lookup", &f->lookup, 0, kMaxLookup, "PHIDIAS_LOOKUP",
             "tokens to guess ahead from the text (run --help); 0: off");
}

void AddAccessFlags(CLI::App& app, ServeFlags* f) {
  AddString(app, "--api-key", &f->api_key, "KEYS", "PHIDIAS_API_KEY",
            "keys that clients must send, comma separated (other\nusers see them in the list of processes: better the\n"
            "variable or the file)");
  AddString(app, "--api-key-file", &f->api_key_file, "FILE", "PHIDIAS_API_KEY_FILE", "the same, one key a line");
  AddString(
      app, "--cors-origins", &f->cors_origins, "LIST", "PHIDIAS_CORS_ORIGINS",
      "web pages that may use the server, comma separated:\n\"https://chat.example\"; *: all; default: its own page "
      "alone");
  AddInteger(app, "--max-connections", &f->max_connections, 1, 1 << 20, "PHIDIAS_MAX_CONNECTIONS",
             "open connections (4096)");
  AddInteger(app, "--max-body", &f->max_body, 1, 1 << 30, "PHIDIAS_MAX_BODY", "bytes of a request's body (4194304)");
  AddInteger(app, "--header-seconds", &f->header_seconds, 1, kMaxSeconds, "PHIDIAS_HEADER_SECONDS",
             "for a request's headers to come (10)");
  AddInteger(app, "--body-seconds", &f->body_seconds, 1, kMaxSeconds, "PHIDIAS_BODY_SECONDS", "and its body (60)");
  AddInteger(app, "--idle-seconds", &f->idle_seconds, 1, kMaxSeconds, "PHIDIAS_IDLE_SECONDS",
             "that a connection may wait for its next request (60)");
  AddInteger(app, "--write-seconds", &f->write_seconds, 1, kMaxSeconds, "PHIDIAS_WRITE_SECONDS",
             "that a client may take nothing of its answer (30)");
  AddInteger(app, "--drain-seconds", &f->drain_seconds, 0, kMaxSeconds, "PHIDIAS_DRAIN_SECONDS",
             "for requests under way to finish after SIGTERM (30)");
  AddInteger(app, "--http-threads", &f->http_threads, 1, 64, "PHIDIAS_HTTP_THREADS",
             "threads that talk to clients (2)");
}

void AddFlags(CLI::App& app, ServeFlags* f) {
  AddModelOption(app, &f->model);
  AddServingFlags(app, f);
  AddAccessFlags(app, f);
  app.add_option("--log-format", f->log_format, "text (default) or json: one line for each request, on stderr")
      ->type_name("KIND")
      ->envname("PHIDIAS_LOG_FORMAT")
      ->check(CLI::IsMember({"text", "json"}));
  app.add_flag("--log-prompts", f->log_prompts, "with the text of its prompt");
  app.add_flag("-q,--quiet", f->quiet, "no log and no notes on stderr");
  AddSamplingFlags(app, &f->sampling);
  AddCpuFlags(app, &f->cpu);
  AddArithmeticFlag(app, &f->arithmetic);
  AddLoadFlag(app, &f->load);
  AddDeviceFlags(app, &f->device);
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) {
    while (!part.empty() && (part.back() == ' ' || part.back() == '\r')) {
      part.pop_back();
    }
    part.erase(0, part.find_first_not_of(' '));
    if (!part.empty()) {
      parts.push_back(part);
    }
  }
  return parts;
}

Result<std::vector<std::string>> ApiKeys(const ServeFlags& flags) {
  std::vector<std::string> keys = Split(flags.api_key, ',');
  if (!flags.api_key_file.empty()) {
    ASSIGN_OR_RETURN(const std::string text, ReadFile(flags.api_key_file, kMaxKeyFileBytes));
    const std::vector<std::string> more = Split(text, '\n');
    if (more.empty()) {
      return InvalidArgument("--api-key-file ", Quoted(flags.api_key_file), ": holds no key");
    }
    keys.insert(keys.end(), more.begin(), more.end());
  }
  if (keys.empty() && !flags.api_key.empty()) {
    return InvalidArgument("--api-key: holds no key");
  }
  return keys;
}

Result<std::vector<std::string>> Origins(const ServeFlags& flags) {
  std::vector<std::string> origins = Split(flags.cors_origins, ',');
  for (const std::string& origin : origins) {
    const size_t scheme = origin.find("://");
    const bool plain = scheme != std::string::npos && origin.find('/', scheme + 3) == std::string::npos;
    if (origin != "*" && !plain) {
      return InvalidArgument(
          "--cors-origins: ", Quoted(origin),
          " is no origin: scheme, host and perhaps port, without a path (https://chat.example:8443)");
    }
  }
  return origins;
}

serve::LogSink MakeLog(const ServeFlags& flags) {
  if (flags.quiet) {
    return nullptr;
  }
  const auto format = flags.log_format == "json" ? serve::LogJson : serve::LogText;
  auto mutex = std::make_shared<std::mutex>();
  return [format, mutex](const serve::RequestRecord& record) {
    const std::string line = format(record);
    const std::lock_guard lock(*mutex);
    WriteStderr(line);
  };
}

Result<serve::ServerOptions> ServerOptionsOf(const ServeFlags& flags) {
  serve::ServerOptions options;
  options.http.host = flags.host;
  options.http.port = static_cast<int>(flags.port);
  options.http.threads = static_cast<int>(flags.http_threads);
  options.http.limits.connections = flags.max_connections;
  options.http.limits.body_bytes = flags.max_body;
  options.http.limits.header_seconds = static_cast<double>(flags.header_seconds);
  options.http.limits.body_seconds = static_cast<double>(flags.body_seconds);
  options.http.limits.idle_seconds = static_cast<double>(flags.idle_seconds);
  options.http.limits.write_seconds = static_cast<double>(flags.write_seconds);
  ASSIGN_OR_RETURN(options.access.api_keys, ApiKeys(flags));
  ASSIGN_OR_RETURN(options.access.cors_origins, Origins(flags));
  options.log = MakeLog(flags);
  options.log_prompts = flags.log_prompts;
  return options;
}

Result<serve::ModelOptions> ModelOptionsOf(const ServeFlags& flags, const std::string& path) {
  serve::ModelOptions options;
  options.names = Split(flags.alias, ',');
  if (options.names.empty()) {
    const size_t end = path.find_last_not_of('/');
    const std::string trimmed = path.substr(0, end == std::string::npos ? path.size() : end + 1);
    options.names.push_back(trimmed.substr(trimmed.rfind('/') + 1));
  }
  options.scheduler = {
      .parallel = flags.parallel, .context = flags.context, .batch = flags.batch, .queue = flags.queue};
  ASSIGN_OR_RETURN(options.sampling, ResolveSampling(flags.sampling));
  if (flags.sampling.temperature->count() == 0) {
    options.sampling.temperature = kDefaultTemperature;
  }
  options.random_seed = flags.sampling.seed < 0;
  options.format = PromptFormatOf(flags.format).value_or(PromptFormat::kQa);
  options.lookup = flags.lookup;
  return options;
}

// As many connections as are allowed need as many file descriptors.
void RaiseFileLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

void Note(const ServeFlags& flags, const std::string& line) {
  if (!flags.quiet) {
    WriteStderr(line + "\n");
  }
}

Status Serve(const ServeFlags& flags) {
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(const serve::ModelOptions model_options, ModelOptionsOf(flags, path));
  ASSIGN_OR_RETURN(serve::ServerOptions server_options, ServerOptionsOf(flags));
  RaiseFileLimit();
  std::atomic<bool>* const stop = CatchInterrupts();
  LoadedModel model;  // outlives the server
  ASSIGN_OR_RETURN(const std::unique_ptr<serve::Server> server, serve::Server::Start(std::move(server_options)));
  const std::string host = flags.host.find(':') == std::string::npos ? flags.host : "[" + flags.host + "]";
  Note(flags, StrCat("listening on http://", host, ":", server->port(), ", loading ", path));
  LoadOptions load = {
      .path = path, .cpu = flags.cpu, .need_tokenizer = true, .arithmetic = flags.arithmetic, .load = flags.load};
  // A step on a card is one token long, so nothing is cancelled within it: the same signal lets requests finish.
  RETURN_IF_ERROR(ChooseDevice(flags.device, nullptr, &load));
  ASSIGN_OR_RETURN(model, LoadWithNotes(load, !flags.quiet));
  RETURN_IF_ERROR(server->SetModel(&model, model_options));
  Note(flags, StrCat("ready: ", model_options.names.front(), " on ", model.phi->backend().Describe(), ", ",
                     server->scheduler_options().parallel, " at a time, context ", server->model().context));
  while (!stop->load()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  Note(flags, "shutting down");
  server->Shutdown(static_cast<double>(flags.drain_seconds));
  return {};
}

}  // namespace

int ServeVerb(std::span<const std::string> arguments) {
  CLI::App app("Serve a model over HTTP, with OpenAI's API.", "phidias serve");
  ServeFlags flags;
  AddFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "serve", arguments)) {
    return *code;
  }
  const Status status = Serve(flags);
  return status.ok() ? kExitOk : Fail("serve", status);
}

}  // namespace phidias::cli
