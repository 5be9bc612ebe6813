#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/weights.h"
#include "common/status.h"
#include "common/thread_pool.h"
#include "quant/scheme.h"

namespace phidias {

// A weight as the quantiser sees it: the stored rows as float32, times the factors that smoothing asks for. Nothing is
// held: rows are decoded as they are read.
struct WeightSource {
  std::string name;  // "model.layers.0.mlp.fc1.weight", for messages
  WeightMatrix matrix;
  std::vector<float> column_factor;  // [K], or none
  std::vector<float> row_factor;     // [N], or none

  void Row(int64_t n, float* out) const;  // [K]
};

// The scales (and zero points) of a weight under `kind` and `granularity`: N values of each, equal for kTensor.
//   symmetric    s = absmax / 127.5, q in -128..127
//   percentile   s = (p-th percentile of |w|) / 127.5
//   mse          s = c * absmax / 127.5 with the c of 0.5..1 that has the least squared error
//   asymmetric   s = (max - min) / 255 with 0 in the range, zero point round(-128 - min / s)
// A row of zeros has the least possible scale. Data error that names the tensor and the place for NaN and infinity.
Result<WeightQuant> FindWeightQuant(const WeightSource& source, RangeKind kind, Granularity granularity,
                                    double percentile, ThreadPool* pool);

// q = clamp(round(w / s + z)), half to even: rows [begin, end) into out[(end - begin) * K].
void QuantizeWeightRows(const WeightSource& source, const WeightQuant& quant, int64_t begin, int64_t end, int8_t* out,
                        ThreadPool* pool);

// The largest |w| of each column: [K]. Of finite weights (FindWeightQuant tells of others).
std::vector<float> ColumnAbsMax(const WeightSource& source);

}  // namespace phidias
