#pragma once

// A model of random weights with a tokenizer of single bytes, ready to generate: small enough for thousands of tokens.

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <utility>

#include "engine/loaded_model.h"
#include "model/tokenizer/tokenizer_test_util.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/recording_backend.h"

namespace phidias::testing_support {

inline constexpr int32_t kRandomModelEos = 256;
inline constexpr int32_t kRandomModelVocab = 272;  // bytes, the end of text, ids without text

// Ids 0..255 are the bytes.
inline Tokenizer ByteTokenizer() {
  TokenizerParts parts = SmallParts();
  parts.added.push_back(MakeAdded(kRandomModelEos, "<|endoftext|>", true));
  Result<Tokenizer> tokenizer = Tokenizer::FromParts(std::move(parts));
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return *std::move(tokenizer);
}

struct RandomModelOptions {
  uint64_t seed = 1;
  CpuOptions cpu = {.threads = 2, .isa = {}};
  Recording* recording = nullptr;             // if given, the back end writes down what it computes
  std::function<void(BuiltTensors*)> edit{};  // changes weights before they are written
};

// The configuration's vocabulary and eos are replaced by the tokenizer's.
inline LoadedModel RandomModel(PhiConfig config, const RandomModelOptions& options = {}) {
  config.vocab_size = kRandomModelVocab;
  config.eos_token_ids = {kRandomModelEos};
  const TempDir dir;
  BuiltTensors tensors = BuildTensors(config, {.seed = options.seed});
  if (options.edit) {
    options.edit(&tensors);
  }
  WriteText(dir / "config.json", ConfigJson(config, TensorNaming::kPhi).dump());
  WriteSafetensorsFile(dir / "model.safetensors", tensors);
  Result<Checkpoint> checkpoint = OpenCheckpoint(dir.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  LoadedModel model;
  model.checkpoint = std::make_shared<const Checkpoint>(*std::move(checkpoint));
  model.tokenizer = std::make_unique<Tokenizer>(ByteTokenizer());
  auto backend = CreateBackend(*model.checkpoint, options.cpu, Arithmetic::kFloat);
  EXPECT_TRUE(backend.ok()) << backend.status().message();
  std::unique_ptr<Backend> used = *std::move(backend);
  if (options.recording != nullptr) {
    used = std::make_unique<RecordingBackend>(std::move(used), options.recording);
  }
  auto phi = Phi::Create(model.checkpoint, std::move(used));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  model.phi = *std::move(phi);
  return model;
}

}  // namespace phidias::testing_support
