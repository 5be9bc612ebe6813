#pragma once

#include <memory>

#include "backend/backend.h"
#include "backend/cpu/cpu_options.h"
#include "backend/integer_constants.h"

namespace phidias {

// The `float` arithmetic on the host: float weights, and int8 linear layers with everything else in float32.
Result<std::unique_ptr<Backend>> CreateCpuBackend(const ModelShape& shape, const CpuOptions& options);

// The `integer` arithmetic on the host: int8 weights and integers from the embedding to the logits (docs/numerics.md).
// Weights that it can't run are an error of Backend::FinishLoading.
Result<std::unique_ptr<Backend>> CreateIntegerCpuBackend(const ModelShape& shape, const CpuOptions& options,
                                                         const IntegerConstants& constants);

}  // namespace phidias
