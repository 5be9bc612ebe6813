#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "perf/memory_use.h"
#include "perf/step_run.h"

namespace phidias::cli {

// How a model was made ready, for all of its measurements.
struct BenchModel {
  std::string path;
  std::string type;   // "phi 2.78 B I8"
  int64_t bytes = 0;  // of its matrices in the file
  int64_t parameters = 0;
  Arithmetic arithmetic = Arithmetic::kFloat;
  WeightLoad load = WeightLoad::kAuto;
  std::string isa;        // of the kernels: "avx512"
  std::string int8_peak;  // of the loop that gives gops_peak: "avx512vnni"
  int threads = 1;
  int peak_threads = 1;  // that measure the machine's peaks
  double load_seconds = 0;
  double first_token_seconds = 0;  // from opening the model to the logits of a prompt of one token
};

// One repetition, and the machine's peaks just before and after it.
struct BenchSample {
  double seconds = 0;
  double read_peak = 0;  // GB/s
  double gops_peak = 0;
  std::optional<double> joules;
};

struct BenchResult {
  BenchModel model;
  RunShape shape;
  std::string time;    // "2026-01-31T12:00:00Z"
  StepCost cost = {};  // of one repetition
  std::vector<BenchSample> samples = {};
  MemoryUse memory = {};  // without what measuring the peaks takes
  int64_t kv_bytes = 0;   // of all sequences
};

// "pp512", "tg128", "pp512+tg128 @ d1024 x8": llama-bench's names, and the number of sequences.
std::string TestName(const RunShape& shape);

enum class BenchFormat : uint8_t { kMarkdown, kCsv, kJson, kJsonLines };
Result<BenchFormat> ParseBenchFormat(const std::string& text);

// The results as text, each as soon as it is known.
class BenchWriter {
 public:
  explicit BenchWriter(BenchFormat format) : format_(format) {}
  std::string Text(const BenchResult& result);
  // After the last; "" where there was none.
  std::string End() const;

 private:
  BenchFormat format_;
  bool first_ = true;
};

}  // namespace phidias::cli
