#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "quant/output_tensors.h"
#include "quant/plan.h"
#include "quant/shard_writer.h"

namespace phidias {

// Where the calibration's rows came from, for the report beside the model.
struct CalibrationNote {
  std::string data;         // path of the file
  std::string fingerprint;  // of the rows
  int64_t rows = 0;
  int64_t tokens = 0;
};

struct WriteOptions {
  bool force = false;                // replace an existing checkpoint
  CalibrationNote calibration = {};  // rows 0: there was none
  ShardOptions shards = {};
};

// What was written, for people: bytes of each part before and after.
struct WrittenCheckpoint {
  std::array<int64_t, kOutputParts> source_bytes{};
  std::array<int64_t, kOutputParts> bytes{};
  int64_t files = 0;  // of weights
};

// "embedding", "attention", "mlp", "norms", "lm_head".
const char* OutputPartName(OutputPart part);

// Writes the quantised model as a directory in compressed-tensors' `int-quantized` or `pack-quantized` form
// (docs/formats.md): weights, config.json, the tokenizer's files, quantization_report.json, phidias_integer.json where
// the plan has integer constants, phidias_int4.safetensors where it has 4-bit layers. Weights are quantised as they are
// written, a few megabytes at a time. The directory appears whole or not at all. Errors: it exists (see OutputDir), no
// space, a source file that shrank, cancellation, a scheme that the format can't hold (float weights).
Result<WrittenCheckpoint> WriteQuantizedCheckpoint(const Checkpoint& source, const QuantPlan& plan,
                                                   const std::string& path, const WriteOptions& options,
                                                   ThreadPool* pool);

}  // namespace phidias
