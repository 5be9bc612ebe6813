#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/status.h"
#include "model/quantization_config.h"

namespace phidias {

// Which tensor names the checkpoint uses (docs/formats.md).
enum class TensorNaming { kPhi, kPhiMsft, kMixformerSequential, kGguf };

// The architecture's numbers, whatever names the file gives them. Everything is checked on reading: the fields below
// satisfy the invariants stated beside them.
struct PhiConfig {
  TensorNaming naming = TensorNaming::kPhi;
  int64_t vocab_size = 0;  // rows of the embedding and of lm_head
  // The older kinds' code rounds vocab_size up to a multiple (pad_vocab_size_multiple) and their config.json holds
  // either number. OpenCheckpoint settles vocab_size by the embedding's rows; elsewhere this is 1.
  int64_t vocab_multiple = 1;
  int64_t hidden_size = 0;  // == n_heads * head_dim
  int64_t intermediate_size = 0;
  int64_t n_layers = 0;
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;  // divides n_heads
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;  // even, 2..head_dim: the first rotary_dim dimensions of a head are rotated
  int64_t max_position_embeddings = 0;
  float layer_norm_eps = 1e-5F;
  double rope_theta = 10000.0;
  bool tie_word_embeddings = false;  // lm_head.weight may then be absent: the embedding serves
  std::optional<int32_t> bos_token_id;
  std::vector<int32_t> eos_token_ids;              // generation_config.json wins over config.json
  std::string torch_dtype;                         // as the file says, for `inspect`; may be empty
  std::optional<QuantizationConfig> quantization;  // none: all weights are float

  int64_t kv_size() const { return n_kv_heads * head_dim; }
};

inline constexpr int64_t kMaxVocabSize = int64_t{1} << 24;
inline constexpr int64_t kMaxHiddenSize = int64_t{1} << 17;
inline constexpr int64_t kMaxIntermediateSize = int64_t{1} << 20;
inline constexpr int64_t kMaxLayers = 1024;
inline constexpr int64_t kMaxHeads = 4096;
inline constexpr int64_t kMaxPositions = int64_t{1} << 20;

// What the file itself calls the fields ("n_embd" for hidden_size), for messages.
struct PhiFieldNames {
  const char* vocab_size;
  const char* hidden_size;
  const char* intermediate_size;
  const char* n_layers;
  const char* n_heads;
  const char* n_kv_heads;
  const char* max_position_embeddings;
  const char* rotary;  // the field that rotary_dim comes from
  const char* layer_norm_eps;
  const char* rope_theta;
};
const PhiFieldNames& FieldNames(TensorNaming naming);

// `json_text` is a config.json; `path` names it in messages. `generation_json` may be empty.
// Errors name the field, its value and what is supported.
Result<PhiConfig> ParsePhiConfig(const std::string& json_text, const std::string& path,
                                 const std::string& generation_json, const std::string& generation_path);

// Checks the invariants above and the upper limits that keep later arithmetic from overflowing.
Status ValidatePhiConfig(const PhiConfig& config, const std::string& path);

}  // namespace phidias
