#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "backend/cpu/cpu_options.h"
#include "common/status.h"
#include "common/thread_pool.h"
#include "model/checkpoint.h"
#include "quant/damage.h"
#include "quant/perplexity.h"
#include "quant/plan.h"

namespace phidias {

struct AutoBitsOptions {
  double budget = 0;  // by which the perplexity may rise: 0.01 is one per cent
  int64_t batch = 1024;
  CpuOptions cpu = {};
  const std::atomic<bool>* cancel = nullptr;
  // What is being measured; `count` is 0 where it isn't known yet how many there will be.
  std::function<void(const std::string& what, size_t index, size_t count)> starts = {};
  std::function<void(int64_t done, int64_t total)> progress = {};
};

struct AutoBits {
  std::vector<AloneDamage> eight;  // layers that are left at 8 bits, the worst first
  PerplexityChange all_four;       // with every layer in 4 bits
  PerplexityChange chosen;         // with those at 8
};

// Leaves as many of the plan's layers at 8 bits as the budget asks for, the worst first: those whose 4 bits alone raise
// the perplexity over `rows` most (MeasureDamage). How many is found by halving, measured. `eight` is the plan of the
// same source at 8 bits. Error: the budget isn't met with every layer at 8 bits.
Result<AutoBits> ChooseBits(const Checkpoint& source, const QuantPlan& eight, std::span<const ScoredRow> rows,
                            const AutoBitsOptions& options, ThreadPool* pool, QuantPlan* plan);

}  // namespace phidias
