#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "backend/fpga/fpga_backend.h"
#include "common/status.h"
#include "engine/weight_load.h"
#include "model/phi.h"
#include "model/tokenizer/tokenizer.h"

namespace phidias {

// docs/numerics.md: float, or integers from the embedding to the logits (needs a checkpoint with phidias_integer.json).
enum class Arithmetic : uint8_t { kFloat, kInteger };

// A card to run on instead of the CPU (docs/fpga.md).
struct CardRequest {
  fpga::CardOptions options = {};
  fpga::OpenCard open = {};
  bool fallback = false;  // to the CPU, when the card fails; options.notice is told
};

struct LoadOptions {
  std::string path = {};
  CpuOptions cpu = {};
  bool need_tokenizer = true;
  Arithmetic arithmetic = Arithmetic::kFloat;
  WeightLoad load = WeightLoad::kMmap;  // decides cpu.weights
  std::optional<CardRequest> card = {};
};

// A model ready to run: weights on a back end, and its tokenizer.
struct LoadedModel {
  std::shared_ptr<const Checkpoint> checkpoint;
  std::unique_ptr<Phi> phi;
  const fpga::CardBackend* card = nullptr;  // phi's, where it runs on a card
  std::unique_ptr<Tokenizer> tokenizer;     // null unless needed
  std::string load_note;                    // WeightLoadChoice::note
};

// Opens checkpoint and tokenizer and hands the weights to the back end. Errors of all of them; also a tokenizer with
// more ids than the model has rows.
Result<LoadedModel> LoadModel(const LoadOptions& options);

// The ids that end a text: the configuration's, or the tokenizer's where an older config.json names none.
std::vector<int32_t> EosTokenIds(const LoadedModel& model);

// Error: the checkpoint lacks the constants of the integer arithmetic (the message says how to make them).
Status CheckIntegerConstants(const Checkpoint& checkpoint);

// The CPU back end for a checkpoint. Errors: `integer` without its constants (the message says how to make them).
Result<std::unique_ptr<Backend>> CreateBackend(const Checkpoint& checkpoint, const CpuOptions& cpu,
                                               Arithmetic arithmetic);

// The tokenizer that belongs to an open checkpoint: a GGUF file's own, else the one beside the weights.
Result<Tokenizer> LoadTokenizer(const Checkpoint& checkpoint);

// The tokenizer of the model at `path` (whatever OpenCheckpoint takes, or a tokenizer's own file or directory), without
// asking more of the model than it must.
Result<Tokenizer> LoadTokenizer(const std::string& path);

}  // namespace phidias
