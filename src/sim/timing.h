#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace phidias::sim {

struct KernelTiming {
  std::string kernel;  // "fc1"
  int64_t runs = 0;
  double seconds = 0;  // of all runs
};

// Where a stage of a kernel spent its time, over all runs.
struct StageTiming {
  std::string kernel;
  std::string stage;
  double busy = 0;  // seconds, as are those that follow
  double waits_for_input = 0;
  double waits_for_output = 0;
  double waits_for_memory = 0;
  std::string worst_stream;  // the one that it waited for longest
};

// A run of a kernel: seconds from the token's start.
struct RunTiming {
  std::string unit;
  std::string what;  // "fc1, layer 0"
  double begin = 0;
  double end = 0;
};

struct BankTiming {
  std::string bank;  // "HBM[3]"
  int64_t bytes = 0;
  double utilisation = 0;  // of the bus, over the whole token
  double refreshing = 0;   // seconds that requests waited for
  double activating = 0;
  double turning = 0;
};

// One token on a card. All times in seconds.
struct TokenTiming {
  double seconds = 0;
  // These sum up to `seconds`.
  double kernels = 0;  // at least one kernel runs
  double starts = 0;   // no kernel runs, and one is being started
  double host = 0;     // the host's own work, and transfers
  double layer = 0;    // mean time of a layer, from its layernorm's start to its residual's end
  int64_t hbm_bytes = 0;
  int64_t products = 0;  // int8 (or 16-bit float) products
  int64_t events = 0;
  std::vector<KernelTiming> by_kernel;
  std::vector<RunTiming> runs;      // of a design that starts kernels for each operator: one middle layer's
  std::vector<StageTiming> stages;  // with events only
  std::vector<BankTiming> banks;    //
};

}  // namespace phidias::sim
