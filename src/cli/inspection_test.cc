// Tensor names of every naming fall into the right part.

#include "cli/inspection.h"

#include <gtest/gtest.h>

namespace phidias::cli {
namespace {

TEST(PartOf, EveryNaming) {
  PhiConfig config;
  config.n_layers = 32;
  const std::pair<const char*, ModelPart> cases[] = {
      {"model.embed_tokens.weight", ModelPart::kEmbedding},
      {"model.layers.31.input_layernorm.bias", ModelPart::kNorms},
      {"model.layers.0.self_attn.dense.weight", ModelPart::kAttention},
      {"model.layers.0.self_attn.rotary_emb.inv_freq", ModelPart::kOther},
      {"model.layers.0.mlp.fc1.weight", ModelPart::kMlp},
      {"model.final_layernorm.weight", ModelPart::kNorms},
      {"lm_head.weight", ModelPart::kLmHead},
      {"transformer.embd.wte.weight", ModelPart::kEmbedding},
      {"transformer.h.3.ln.weight", ModelPart::kNorms},
      {"transformer.h.3.mixer.Wqkv.weight", ModelPart::kAttention},
      {"transformer.h.3.mlp.fc2.bias", ModelPart::kMlp},
      {"lm_head.ln.weight", ModelPart::kNorms},
      {"lm_head.linear.weight", ModelPart::kLmHead},
      {"layers.0.wte.weight", ModelPart::kEmbedding},
      {"layers.5.mixer.out_proj.bias", ModelPart::kAttention},
      {"layers.33.ln.bias", ModelPart::kNorms},
      {"layers.33.linear.weight", ModelPart::kLmHead},
      {"token_embd.weight", ModelPart::kEmbedding},
      {"blk.0.attn_norm.weight", ModelPart::kNorms},
      {"blk.0.attn_qkv.weight", ModelPart::kAttention},
      {"blk.0.attn_output.bias", ModelPart::kAttention},
      {"blk.0.ffn_up.weight", ModelPart::kMlp},
      {"output_norm.bias", ModelPart::kNorms},
      {"output.weight", ModelPart::kLmHead},
      {"something.else", ModelPart::kOther},
  };
  for (const auto& [name, part] : cases) {
    EXPECT_EQ(PartOf(name, config), part) << name;
  }
}

}  // namespace
}  // namespace phidias::cli
