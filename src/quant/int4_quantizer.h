#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "backend/weights.h"
#include "common/status.h"
#include "common/thread_pool.h"
#include "quant/scheme.h"
#include "quant/weight_quantizer.h"

namespace phidias {

// Row scales and group multipliers of a weight in 4 bits (docs/quantisation.md, "4-bit weights"), from the step that
// each group wants:
//   symmetric  absmax / 7.5, the row scale so that the largest step is 63
//   mse        the multiplier with the least squared error of the group; the row scale as above, then once more from
//   the
//              multipliers found, so that they use all of 1..63
// A row of zeros has the least possible scale. Data error that names the tensor and the place for NaN and infinity.
Result<WeightQuant> FindInt4Quant(const WeightSource& source, RangeKind kind, int64_t group, ThreadPool* pool);

// q = clamp(round(w / step)), half to even: rows [begin, end) as kI4 stores them into `out`.
void QuantizeInt4Rows(const WeightSource& source, const WeightQuant& quant, int64_t begin, int64_t end, std::byte* out,
                      ThreadPool* pool);

// The multiplier 1..63 of `scale` with the least squared error of the group's values. `importance`, unless empty, has a
// factor for each value's.
uint8_t BestInt4Multiplier(std::span<const float> values, float scale, std::span<const float> importance = {});

// One value in steps of `step`.
int8_t RoundInt4(float value, float step);

}  // namespace phidias
