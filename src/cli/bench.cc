// phidias bench: how fast a model runs here, and how far that is from what the machine can do.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>

#include "cli/bench_report.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_option.h"
#include "cli/numbers.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "common/memory_info.h"
#include "perf/energy.h"
#include "perf/int8_peak.h"
#include "perf/memory_bandwidth.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias bench [OPTIONS] [MODEL]";
constexpr const char* kExamples =
    "Measures as llama-bench does: prompts (-p), generation (-n), both in one go (--pg), each with every combination "
    "of\n"
    "the other flags; lists are given with commas or by repeating a flag. The machine's read bandwidth and int8 peak\n"
    "are measured in the same process, before and after every repetition. docs/bench.md explains the columns. Results\n"
    "go to stdout as they are made.\n"
    "\n"
    "Examples:\n"
    "  phidias bench -m synth-phi-2 -p 512 -n 128 -r 5\n"
    "  phidias bench -m synth-phi-2 -p 0 -n 32 --parallel 1,8 -t 1,2 -o json\n"
    "  phidias bench -m synth-phi-2 -p 0 -n 0 --pg 64,64 -d 0,1024 --arith float,integer -o csv\n";

constexpr int64_t kMaxTokens = int64_t{1} << 20;
constexpr int64_t kMaxParallel = 1024;

struct BenchFlags {
  ModelOption model;
  std::vector<int64_t> prompt = {512};
  std::vector<int64_t> generate = {128};
  std::vector<std::pair<int64_t, int64_t>> both;
  std::vector<int64_t> depth = {0};
  std::vector<int64_t> parallel = {1};
  std::vector<int64_t> batch = {512};
  std::vector<int64_t> threads = {0};
  std::vector<std::string> isa = {""};
  std::vector<Arithmetic> arithmetic = {Arithmetic::kFloat};
  std::vector<WeightLoad> load = {WeightLoad::kAuto};
  int64_t repetitions = 5;
  int64_t peak_mib = 1024;
  BenchFormat format = BenchFormat::kMarkdown;
  bool no_warmup = false;
  bool quiet = false;
};

// "64,64".
Result<std::pair<int64_t, int64_t>> ParsePair(const std::string& text) {
  const size_t comma = text.find(',');
  if (comma == std::string::npos) {
    return InvalidArgument(Quoted(text), " is no pair: give prompt and generated tokens, as in 64,64");
  }
  ASSIGN_OR_RETURN(const int64_t prompt, ParseInteger(text.substr(0, comma), 1, kMaxTokens));
  ASSIGN_OR_RETURN(const int64_t generate, ParseInteger(text.substr(comma + 1), 1, kMaxTokens));
  return std::pair(prompt, generate);
}

void AddTestFlags(CLI::App& app, BenchFlags* flags) {
  AddIntegerList(app, "-p,--n-prompt", &flags->prompt, 0, kMaxTokens, "prompt tokens (512); 0: no such test");
  AddIntegerList(app, "-n,--n-gen", &flags->generate, 0, kMaxTokens, "tokens to generate (128); 0: no such test");
  AddRepeated(
      app, "--pg", "P,N", "a prompt and then generation, timed together (also -pg);\nmay be repeated",
      [flags] { flags->both.clear(); },
      [flags](const std::string& text) -> Status {
        ASSIGN_OR_RETURN(const auto pair, ParsePair(text));
        flags->both.push_back(pair);
        return {};
      });
  AddIntegerList(app, "-d,--n-depth", &flags->depth, 0, kMaxTokens, "tokens in the context before a test begins (0)");
  AddIntegerList(app, "--parallel", &flags->parallel, 1, kMaxParallel,
                 "sequences that are computed together in one step (1)");
  AddIntegerList(app, "-b,--batch-size", &flags->batch, 1, kMaxTokens, "rows in one step of a prompt (512)");
  AddInteger(app, "-r,--repetitions", &flags->repetitions, 1, 10000, nullptr, "measured repetitions (5)");
  AddParsedText(app, "-o,--output", "FORMAT", "md (default), csv, json or jsonl",
                [flags](const std::string& text) -> Status {
                  ASSIGN_OR_RETURN(flags->format, ParseBenchFormat(text));
                  return {};
                });
  app.add_flag("--no-warmup", flags->no_warmup, "no repetition before the measured ones");
  app.add_flag("-q,--quiet", flags->quiet, "nothing on stderr but errors");
}

// A list of which each item goes through `parse`; what is given replaces what `out` holds.
template <class T>
void AddParsedList(CLI::App& app, const std::string& names, const std::string& type, const std::string& description,
                   std::vector<T>* out, Result<T> (*parse)(const std::string&)) {
  AddList(
      app, names, type, description, [out] { out->clear(); },
      [out, parse](const std::string& text) -> Status {
        ASSIGN_OR_RETURN(T value, parse(text));
        out->push_back(std::move(value));
        return {};
      })
      ->group("Machine");
}

void AddMachineFlags(CLI::App& app, BenchFlags* flags) {
  AddIntegerList(app, "-t,--threads", &flags->threads, 0, 1024, "threads; 0 (default): one per processor")
      ->group("Machine");
  AddParsedList<std::string>(app, "--isa", "NAME,...",
                             "instruction sets (default: the fastest);\nall give the same bits", &flags->isa,
                             [](const std::string& text) -> Result<std::string> { return text; });
  AddParsedList<Arithmetic>(app, "--arith", "KIND,...", "float (default), integer", &flags->arithmetic,
                            ParseArithmetic);
  AddParsedList<WeightLoad>(app, "--load", "HOW,...", "where weights lie: auto (default), mmap, copy", &flags->load,
                            ParseWeightLoad);
  AddInteger(app, "--peak-mib", &flags->peak_mib, 0, int64_t{1} << 20, nullptr,
             "MiB that are read to find the machine's read\nbandwidth (1024); 0: measure no peaks")
      ->group("Machine");
}

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

std::string TimeNow() {
  const std::time_t now = std::time(nullptr);
  std::tm parts = {};
  char text[32];
  return std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &parts)) > 0 ? text : "";
}

// "phi 2.78 B I8".
std::string ModelType(const Checkpoint& checkpoint, int64_t parameters) {
  char count[32];
  const auto value = static_cast<double>(parameters);
  if (parameters >= 1'000'000'000) {
    std::snprintf(count, sizeof count, "%.2f B", value * 1e-9);
  } else {
    std::snprintf(count, sizeof count, "%.1f M", value * 1e-6);
  }
  return StrCat("phi ", count, " ", DTypeName(checkpoint.weights.layers.front().fc1.weight.dtype));
}

// What the machine can do, measured around every repetition.
class Peaks {
 public:
  // `mib` 0: nothing is measured.
  static Result<Peaks> Create(int64_t mib, int threads) {
    Peaks peaks;
    if (mib > 0) {
      const std::optional<uint64_t> available = AvailableMemory();
      if (available && static_cast<uint64_t>(mib << 20) > *available / 2) {
        return ResourceExhausted("--peak-mib ", mib, ": more than half of the ", HumanBytes(*available),
                                 " of memory that are available; give less, or 0 to measure no peaks");
      }
      ASSIGN_OR_RETURN(MemoryBandwidth bandwidth, MemoryBandwidth::Create(threads, mib << 20));
      peaks.bandwidth_.emplace(std::move(bandwidth));
      peaks.threads_ = threads;
    }
    return peaks;
  }
  void UseInt8Peak(const Int8Peak& peak) {
    if (bandwidth_) {
      meter_.emplace(peak, threads_);
    }
  }
  // Adds half of the peaks as they are now: a repetition has one half before it and one after.
  void AddHalf(BenchSample* sample) {
    if (bandwidth_) {
      sample->read_peak += 0.5 * bandwidth_->Measure();
      sample->gops_peak += 0.5 * meter_->Measure();
    }
  }
  int64_t bytes() const { return bandwidth_ ? bandwidth_->bytes() : 0; }
  std::string Describe() const {
    if (!bandwidth_) {
      return "";
    }
    return StrCat("peaks: ", threads_, threads_ == 1 ? " thread, " : " threads, ", bandwidth_->streams(),
                  " streams each over ", HumanBytes(static_cast<uint64_t>(bandwidth_->bytes())),
                  bandwidth_->huge_pages() ? " in huge pages\n" : " in small pages (the system gave no huge ones)\n");
  }

 private:
  std::optional<MemoryBandwidth> bandwidth_;
  std::optional<Int8PeakMeter> meter_;
  int threads_ = 1;
};

class Bench {
 public:
  Bench(const BenchFlags& flags, std::string path, Peaks peaks)
      : flags_(flags), path_(std::move(path)), peaks_(std::move(peaks)), writer_(flags.format) {}

  Status Run();

 private:
  std::vector<RunShape> Shapes() const;
  Status RunAll();
  Status RunModel(const CpuOptions& cpu, Arithmetic arithmetic, WeightLoad load);
  Result<BenchModel> Load(const CpuOptions& cpu, Arithmetic arithmetic, WeightLoad load, LoadedModel* model);
  Result<BenchResult> Measure(Phi& phi, const BenchModel& about, const RunShape& shape);

  const BenchFlags& flags_;
  std::string path_;
  Peaks peaks_;
  BenchWriter writer_;
  EnergyMeter energy_;
  const std::atomic<bool>* cancel_ = CatchInterrupts();
};

std::vector<RunShape> Bench::Shapes() const {
  std::vector<RunShape> kinds;
  for (const int64_t prompt : flags_.prompt) {
    kinds.push_back({.prompt = prompt});
  }
  for (const int64_t generate : flags_.generate) {
    kinds.push_back({.generate = generate});
  }
  for (const auto& [prompt, generate] : flags_.both) {
    kinds.push_back({.prompt = prompt, .generate = generate});
  }
  std::erase_if(kinds, [](const RunShape& shape) { return shape.tokens() == 0; });
  std::vector<RunShape> shapes;
  for (RunShape shape : kinds) {
    for (const int64_t depth : flags_.depth) {
      for (const int64_t parallel : flags_.parallel) {
        for (const int64_t batch : flags_.batch) {
          shape.depth = depth;
          shape.parallel = parallel;
          shape.batch = batch;
          shapes.push_back(shape);
        }
      }
    }
  }
  return shapes;
}

Result<BenchModel> Bench::Load(const CpuOptions& cpu, Arithmetic arithmetic, WeightLoad load, LoadedModel* model) {
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions(cpu));
  const Int8Peak& peak = Int8PeakFor(setup.gemm_s8->isa);
  BenchModel about;
  about.path = path_;
  about.arithmetic = arithmetic;
  about.load = load;
  about.isa = setup.isa;
  about.int8_peak = peak.name;
  about.threads = setup.threads;
  about.peak_threads = AvailableProcessors();
  ResetMemoryPeak();
  const Clock::time_point start = Clock::now();
  ASSIGN_OR_RETURN(
      *model,
      LoadWithNotes({.path = path_, .cpu = cpu, .need_tokenizer = false, .arithmetic = arithmetic, .load = load},
                    !flags_.quiet));
  about.load_seconds = SecondsSince(start);
  ASSIGN_OR_RETURN(StepRun first, StepRun::Create(*model->phi, {.prompt = 1}, cancel_));
  RETURN_IF_ERROR(first.Run(cancel_));
  about.first_token_seconds = SecondsSince(start);
  const ModelCost cost(*model->checkpoint, arithmetic, 0);
  about.parameters = cost.parameters();
  about.bytes = cost.weight_bytes();
  about.type = ModelType(*model->checkpoint, about.parameters);
  peaks_.UseInt8Peak(peak);
  return about;
}

Result<BenchResult> Bench::Measure(Phi& phi, const BenchModel& about, const RunShape& shape) {
  BenchResult result = {.model = about, .shape = shape, .time = TimeNow()};
  ASSIGN_OR_RETURN(StepRun run, StepRun::Create(phi, shape, cancel_));
  result.cost = run.Cost(ModelCost(phi.checkpoint(), about.arithmetic, run.kv_bytes_per_position()));
  result.kv_bytes = run.kv_bytes_per_position() * shape.parallel * shape.positions();
  ProgressBar bar(TestName(shape), "repetitions", !flags_.quiet);
  if (!flags_.no_warmup) {
    RETURN_IF_ERROR(run.Run(cancel_));
  }
  for (int64_t i = 0; i < flags_.repetitions; ++i) {
    bar.Update(i, flags_.repetitions);
    BenchSample sample;
    peaks_.AddHalf(&sample);
    energy_.JoulesSinceLast();
    const Clock::time_point start = Clock::now();
    RETURN_IF_ERROR(run.Run(cancel_));
    sample.seconds = SecondsSince(start);
    sample.joules = energy_.JoulesSinceLast();
    peaks_.AddHalf(&sample);
    result.samples.push_back(sample);
  }
  result.memory = ReadMemoryUse();
  result.memory.resident -= peaks_.bytes();
  result.memory.resident_peak -= peaks_.bytes();
  return result;
}

Status Bench::RunModel(const CpuOptions& cpu, Arithmetic arithmetic, WeightLoad load) {
  LoadedModel model;
  ASSIGN_OR_RETURN(const BenchModel about, Load(cpu, arithmetic, load, &model));
  const std::vector<RunShape> shapes = Shapes();
  for (const RunShape& shape : shapes) {
    RETURN_IF_ERROR(CheckRunShape(shape, model.phi->config()));
  }
  for (const RunShape& shape : shapes) {
    ASSIGN_OR_RETURN(const BenchResult result, Measure(*model.phi, about, shape));
    RETURN_IF_ERROR(WriteStdout(writer_.Text(result)));
  }
  return {};
}

Status Bench::RunAll() {
  // A name that isn't known is refused before the work for those that are.
  for (const std::string& isa : flags_.isa) {
    RETURN_IF_ERROR(ResolveCpuOptions({.threads = 0, .isa = isa}).status());
  }
  for (const Arithmetic arithmetic : flags_.arithmetic) {
    for (const std::string& isa : flags_.isa) {
      for (const int64_t threads : flags_.threads) {
        for (const WeightLoad load : flags_.load) {
          RETURN_IF_ERROR(RunModel({.threads = static_cast<int>(threads), .isa = isa}, arithmetic, load));
        }
      }
    }
  }
  return {};
}

Status Bench::Run() {
  if (Shapes().empty()) {
    return InvalidArgument("nothing to measure: -p and -n are 0 and there is no --pg");
  }
  const Status status = RunAll();
  RETURN_IF_ERROR(WriteStdout(writer_.End()));  // also after a failure: what was measured until then is complete
  if (status.ok() && !flags_.quiet) {
    WriteStderr(StrCat(peaks_.Describe(), energy_.readable() ? "" : "energy: not readable here\n"));
  }
  return status;
}

Status RunBench(const BenchFlags& flags) {
  ASSIGN_OR_RETURN(std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(Peaks peaks, Peaks::Create(flags.peak_mib, AvailableProcessors()));
  return Bench(flags, std::move(path), std::move(peaks)).Run();
}

}  // namespace

int BenchVerb(std::span<const std::string> arguments) {
  CLI::App app("Measures a model's speed and the machine's.", "phidias bench");
  BenchFlags flags;
  AddModelOption(app, &flags.model);
  AddTestFlags(app, &flags);
  AddMachineFlags(app, &flags);
  SetHelp(app, kUsage, kExamples);
  // llama-bench's -pg: a word after one dash, which is no flag to the parser.
  std::vector<std::string> spelled(arguments.begin(), arguments.end());
  std::replace(spelled.begin(), spelled.end(), std::string("-pg"), std::string("--pg"));
  if (const auto code = ParseArguments(app, "bench", spelled)) {
    return *code;
  }
  const Status status = RunBench(flags);
  return status.ok() ? kExitOk : Fail("bench", status);
}

}  // namespace phidias::cli
