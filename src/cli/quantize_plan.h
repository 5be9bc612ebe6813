#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>

#include "backend/cpu/cpu_options.h"
#include "cli/calibration_flags.h"
#include "common/status.h"
#include "common/thread_pool.h"
#include "engine/loaded_model.h"
#include "quant/checkpoint_writer.h"
#include "quant/plan.h"
#include "quant/ranks.h"
#include "quant/scheme.h"

namespace phidias::cli {

// What `phidias quantize` plans with, beside the scheme.
struct PlanningFlags {
  CalibrationFlags calibration;
  std::optional<std::string> bits_auto;  // --bits-auto, per cent
  int64_t bits_rows = 32;
  CpuOptions cpu;
  std::string state_path;
  bool notes = false;  // on stderr
};

struct Planned {
  QuantPlan plan;
  CalibrationNote note;
};

// Calibration, scales, GPTQ, layers left at 8 bits: whatever the scheme asks for. GPTQ and what follows run on the
// first rank alone, which is the one that writes; the others' plans lack them.
Result<Planned> MakePlan(const PlanningFlags& flags, const QuantScheme& scheme, const LoadedModel& model,
                         ThreadPool* pool, const std::atomic<bool>* cancel, Ranks& ranks);

}  // namespace phidias::cli
