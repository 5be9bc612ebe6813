// OpenCheckpoint end to end: the goldens of every container and naming hold the same weights, value by value; files are
// told by their content; whatever a directory lacks is said, with what it holds. Oracle: the golden checkpoints were
// written by Hugging Face's, PyTorch's and llama.cpp's own writers from one model.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "common/file.h"
#include "model/checkpoint.h"
#include "tests/support/checkpoint_builder.h"

namespace phidias {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;
using testing_support::BuildTensors;
using testing_support::BuiltTensors;
using testing_support::CheckpointOptions;
using testing_support::ConfigJson;
using testing_support::DecodeValue;
using testing_support::SmallConfig;
using testing_support::TempDir;
using testing_support::WriteCheckpoint;
using testing_support::WriteSafetensorsFile;
using testing_support::WriteText;

const std::string kGolden = std::string(PHIDIAS_SOURCE_DIR) + "/tests/golden/";

std::string Message(const std::string& path) {
  return OpenCheckpoint(path).status().message();
}

void ExpectSameMatrix(const WeightMatrix& a, const WeightMatrix& b, const std::string& name) {
  ASSERT_EQ(a.rows, b.rows) << name;
  ASSERT_EQ(a.cols, b.cols) << name;
  for (int64_t row = 0; row < a.rows; ++row) {
    for (int64_t col = 0; col < a.cols; ++col) {
      ASSERT_EQ(DecodeValue(a.dtype, a.Row(row), col), DecodeValue(b.dtype, b.Row(row), col)) << name;
    }
  }
}

void ExpectSameLinear(const LinearWeights& a, const LinearWeights& b) {
  EXPECT_EQ(a.name, b.name);
  ExpectSameMatrix(a.weight, b.weight, a.name);
  EXPECT_EQ(a.bias, b.bias) << a.name;
}

void ExpectSameLayerNorm(const LayerNormWeights& a, const LayerNormWeights& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.weight, b.weight) << a.name;
  EXPECT_EQ(a.bias, b.bias) << a.name;
}

void ExpectSameWeights(const PhiWeights& a, const PhiWeights& b) {
  ExpectSameMatrix(a.embed_tokens, b.embed_tokens, "embed_tokens");
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) {
    ExpectSameLayerNorm(a.layers[i].input_layernorm, b.layers[i].input_layernorm);
    ExpectSameLinear(a.layers[i].q_proj, b.layers[i].q_proj);
    ExpectSameLinear(a.layers[i].k_proj, b.layers[i].k_proj);
    ExpectSameLinear(a.layers[i].v_proj, b.layers[i].v_proj);
    ExpectSameLinear(a.layers[i].dense, b.layers[i].dense);
    ExpectSameLinear(a.layers[i].fc1, b.layers[i].fc1);
    ExpectSameLinear(a.layers[i].fc2, b.layers[i].fc2);
  }
  ExpectSameLayerNorm(a.final_layernorm, b.final_layernorm);
  ExpectSameLinear(a.lm_head, b.lm_head);
}

void ExpectSameNumbers(const PhiConfig& a, const PhiConfig& b) {
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(a.n_layers, b.n_layers);
  EXPECT_EQ(a.n_heads, b.n_heads);
  EXPECT_EQ(a.n_kv_heads, b.n_kv_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.rotary_dim, b.rotary_dim);
  EXPECT_EQ(a.max_position_embeddings, b.max_position_embeddings);
  EXPECT_EQ(a.layer_norm_eps, b.layer_norm_eps);
  EXPECT_EQ(a.rope_theta, b.rope_theta);
}

TEST(OpenCheckpoint, GoldensOfEveryContainerHoldTheSameModel) {
  const Result<Checkpoint> golden = OpenCheckpoint(kGolden + "tiny-phi2");
  ASSERT_TRUE(golden.ok()) << golden.status().message();
  EXPECT_EQ(golden.value().config.naming, TensorNaming::kPhi);
  EXPECT_THAT(golden.value().config.eos_token_ids, ElementsAre(0));
  EXPECT_EQ(golden.value().store.files.size(), 6U);
  const std::pair<const char*, TensorNaming> others[] = {{"tiny-phi2-bin", TensorNaming::kPhi},
                                                         {"tiny-phi2-msft", TensorNaming::kPhiMsft},
                                                         {"tiny-phi2-fused.gguf", TensorNaming::kGguf}};
  for (const auto& [name, naming] : others) {
    SCOPED_TRACE(name);
    const Result<Checkpoint> other = OpenCheckpoint(kGolden + name);
    ASSERT_TRUE(other.ok()) << other.status().message();
    EXPECT_EQ(other.value().path, kGolden + name);
    EXPECT_EQ(other.value().config.naming, naming);
    ExpectSameNumbers(golden.value().config, other.value().config);
    ExpectSameWeights(golden.value().weights, other.value().weights);
  }
}

TEST(OpenCheckpoint, DemoModel) {
  const Result<Checkpoint> demo = OpenCheckpoint(std::string(PHIDIAS_SOURCE_DIR) + "/models/demo/");
  ASSERT_TRUE(demo.ok()) << demo.status().message();
  EXPECT_EQ(demo.value().weights.layers.size(), 8U);
  EXPECT_EQ(demo.value().weights.embed_tokens.dtype, DType::kF16);
  EXPECT_EQ(demo.value().config.torch_dtype, "float16");
}

TEST(OpenCheckpoint, ViewsSurviveMoves) {
  Checkpoint moved = *OpenCheckpoint(kGolden + "tiny-phi2-msft");
  const Result<Checkpoint> again = OpenCheckpoint(kGolden + "tiny-phi2");
  const Checkpoint second = std::move(moved);
  ExpectSameWeights(second.weights, again.value().weights);
}

TEST(OpenCheckpoint, EveryKindOfDirectory) {
  for (const TensorNaming naming : {TensorNaming::kPhi, TensorNaming::kPhiMsft, TensorNaming::kMixformerSequential}) {
    for (const size_t shards : {1, 3}) {
      const TempDir dir;
      PhiConfig config = SmallConfig();
      config.n_kv_heads = 2;
      WriteCheckpoint(dir.path(), config, {.naming = naming, .dtype = DType::kBF16}, shards);
      const Result<Checkpoint> checkpoint = OpenCheckpoint(dir.path());
      ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
      EXPECT_EQ(checkpoint.value().config.naming, naming);
      ExpectSameNumbers(checkpoint.value().config, config);
    }
  }
}

TEST(OpenCheckpoint, ConfigOfOneKindAndTensorsOfAnother) {
  const TempDir dir;
  const PhiConfig config = SmallConfig();
  WriteCheckpoint(dir.path(), config, {.naming = TensorNaming::kPhiMsft});
  WriteText(dir / "config.json", ConfigJson(config, TensorNaming::kPhi).dump());
  const Result<Checkpoint> checkpoint = OpenCheckpoint(dir.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  EXPECT_EQ(checkpoint.value().config.naming, TensorNaming::kPhiMsft);
}

TEST(OpenCheckpoint, FilesByTheirPath) {
  const TempDir dir;
  WriteCheckpoint(dir.path(), SmallConfig());
  fs::copy_file(dir / "model.safetensors", dir / "renamed.bin");  // the content says what it is
  EXPECT_EQ(Message(dir / "model.safetensors"), "");
  EXPECT_EQ(Message(dir / "renamed.bin"), "");
  EXPECT_EQ(Message(kGolden + "tiny-phi2-bin/pytorch_model.bin"), "");
  EXPECT_EQ(Message(kGolden + "tiny-phi2/model.safetensors.index.json"), "");
  fs::copy_file(kGolden + "tiny-phi2-fused.gguf", dir / "other.safetensors");
  EXPECT_EQ(OpenCheckpoint(dir / "other.safetensors").value().config.naming, TensorNaming::kGguf);
  EXPECT_EQ(Message(kGolden + "tiny-phi2/model-00002-of-00006.safetensors"),
            kGolden + "tiny-phi2/model-00002-of-00006.safetensors: is one of 6 shards; give their directory, " +
                kGolden + "tiny-phi2");
}

TEST(OpenCheckpoint, LoneGgufInADirectory) {
  const TempDir dir;
  fs::copy_file(kGolden + "tiny-phi2-fused.gguf", dir / "phi.gguf");
  EXPECT_EQ(OpenCheckpoint(dir.path()).value().config.naming, TensorNaming::kGguf);
  fs::copy_file(kGolden + "tiny-phi2-fused.gguf", dir / "phi-2.gguf");
  EXPECT_EQ(Message(dir.path()), dir.path() +
                                     ": has 2 GGUF files; give the path of one (it holds \"phi-2.gguf\", "
                                     "\"phi.gguf\")");
  // Beside other weights it isn't taken.
  WriteCheckpoint(dir.path(), SmallConfig());
  EXPECT_EQ(OpenCheckpoint(dir.path()).value().config.naming, TensorNaming::kPhi);
}

TEST(OpenCheckpoint, SafetensorsWinsOverTorch) {
  const TempDir dir;
  WriteCheckpoint(dir.path(), SmallConfig());
  WriteText(dir / "pytorch_model.bin", "not looked at");
  EXPECT_EQ(Message(dir.path()), "");
}

TEST(OpenCheckpoint, GenerationConfigWins) {
  const TempDir dir;
  WriteCheckpoint(dir.path(), SmallConfig());
  WriteText(dir / "generation_config.json", R"({"eos_token_id": [7, 9]})");
  EXPECT_THAT(OpenCheckpoint(dir.path()).value().config.eos_token_ids, ElementsAre(7, 9));
  WriteText(dir / "generation_config.json", "");
  EXPECT_EQ(Message(dir.path()), dir / "generation_config.json" + ": is empty; expected a JSON object");
}

TEST(OpenCheckpoint, NothingThere) {
  const TempDir dir;
  EXPECT_THAT(Message(dir / "absent"), AllOf(StartsWith(dir / "absent" + ": no such file or directory; expected"),
                                             HasSubstr("config.json beside model.safetensors")));
  EXPECT_EQ(OpenCheckpoint(dir / "absent").status().code(), StatusCode::kNotFound);
  EXPECT_THAT(Message(""), HasSubstr("the model's path is empty"));
  EXPECT_THAT(Message(dir.path()), AllOf(HasSubstr(": has no weights; expected config.json beside model.safetensors"),
                                         EndsWith("it is empty")));
}

TEST(OpenCheckpoint, ConfigWithoutWeights) {
  const TempDir dir;
  WriteText(dir / "config.json", ConfigJson(SmallConfig(), TensorNaming::kPhi).dump());
  WriteText(dir / "phi-2\n.ckpt", "x");
  EXPECT_THAT(Message(dir.path()),
              AllOf(HasSubstr(": has no weights"), EndsWith("it holds \"config.json\", \"phi-2\\x0a.ckpt\"")));
  for (int i = 0; i < 20; ++i) {
    WriteText(dir / StrCat("z", i), "x");
  }
  EXPECT_THAT(Message(dir.path()), EndsWith("\"z12\", \"z13\", ... (22 entries)"));
}

TEST(OpenCheckpoint, WeightsWithoutConfig) {
  const TempDir dir;
  WriteCheckpoint(dir.path(), SmallConfig());
  fs::remove(dir / "config.json");
  EXPECT_THAT(Message(dir.path()),
              AllOf(StartsWith(dir.path() + ": has model.safetensors but no config.json; expected config.json beside"),
                    EndsWith("it holds \"model.safetensors\"")));
  EXPECT_EQ(Message(dir / "model.safetensors"),
            dir / "model.safetensors" + ": has no config.json beside it; expected " + (dir / "config.json"));
}

TEST(OpenCheckpoint, ShardsWithoutIndex) {
  const TempDir dir;
  WriteCheckpoint(dir.path(), SmallConfig(), {}, 2);
  fs::remove(dir / "model.safetensors.index.json");
  EXPECT_EQ(Message(dir.path()), dir.path() +
                                     ": has shards such as \"model-00001-of-00002.safetensors\" but no "
                                     "index; expected model.safetensors.index.json beside them");
}

TEST(OpenCheckpoint, Adapters) {
  const TempDir dir;
  WriteText(dir / "adapter_config.json", "{}");
  WriteText(dir / "adapter_model.safetensors", "x");
  EXPECT_THAT(Message(dir.path()), HasSubstr(": is an adapter (adapter_config.json: LoRA or the like), not a whole "
                                             "model; merge it into its base model"));
}

TEST(OpenCheckpoint, ForeignFiles) {
  const TempDir dir;
  WriteCheckpoint(dir.path(), SmallConfig());
  const std::string pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 5563001640\n";
  const std::string good = *ReadFile(dir / "config.json", 1 << 20);
  WriteText(dir / "config.json", pointer);
  EXPECT_THAT(Message(dir.path()), StartsWith(dir / "config.json" + ": is a Git LFS pointer, not the file itself"));
  WriteText(dir / "config.json", "<!DOCTYPE html>");
  EXPECT_THAT(Message(dir.path()), StartsWith(dir / "config.json" + ": is an HTML page"));
  WriteText(dir / "config.json", good);
  const std::string weights = dir / "model.safetensors";
  WriteText(weights, pointer);
  EXPECT_THAT(Message(dir.path()), StartsWith(weights + ": is a Git LFS pointer, not the file itself"));
  WriteText(weights, "PAR1....");
  EXPECT_THAT(Message(dir.path()), StartsWith(weights + ": is a Parquet file"));
  WriteText(weights, "");
  EXPECT_EQ(Message(dir.path()), weights + ": is empty; download or copy it again");
  WriteText(weights, "short");
  EXPECT_THAT(Message(dir.path()), StartsWith(weights + ": "));
  fs::remove(weights);
  WriteText(dir / "model.safetensors.index.json", pointer);
  EXPECT_THAT(Message(dir.path()), StartsWith(dir / "model.safetensors.index.json" + ": is a Git LFS pointer"));
}

// A safetensors file begins with its header's length, which may spell another format's magic number.
TEST(OpenCheckpoint, HeaderLengthThatLooksLikeGzip) {
  const TempDir dir;
  WriteCheckpoint(dir.path(), SmallConfig());
  const std::string path = dir / "model.safetensors";
  const std::string file = *ReadFile(path, 1 << 24);
  const size_t length = static_cast<unsigned char>(file[0]) + 256U * static_cast<unsigned char>(file[1]);
  constexpr size_t kGzipMagic = 0x8b1f;
  ASSERT_LT(length, kGzipMagic);
  WriteText(path, "\x1f\x8b" + std::string(6, '\0') + file.substr(8, length) + std::string(kGzipMagic - length, ' ') +
                      file.substr(8 + length));
  EXPECT_EQ(Message(dir.path()), "");
}

TEST(OpenCheckpoint, FilesThatAreNoCheckpoint) {
  const TempDir dir;
  WriteText(dir / "notes.txt", "hello");
  EXPECT_EQ(Message(dir / "notes.txt"),
            dir / "notes.txt" + ": is neither safetensors nor a file by torch.save nor GGUF");
  WriteCheckpoint(dir.path(), SmallConfig());
  EXPECT_EQ(Message(dir / "config.json"), dir / "config.json" +
                                              ": is neither safetensors nor a file by torch.save nor GGUF; give its "
                                              "directory, " +
                                              dir.path());
  WriteText(dir / "phi.bin", "hello");
  EXPECT_THAT(Message(dir / "phi.bin"), StartsWith(dir / "phi.bin" + ": "));
}

TEST(OpenCheckpoint, OddDirectoryEntries) {
  const TempDir dir;
  WriteCheckpoint(dir.path(), SmallConfig());
  fs::remove(dir / "config.json");
  ASSERT_EQ(mkfifo((dir / "config.json").c_str(), 0600), 0);
  EXPECT_EQ(Message(dir.path()), dir / "config.json" + ": not a regular file");
  fs::remove(dir / "config.json");
  fs::create_symlink("gone", dir / "config.json");
  EXPECT_THAT(Message(dir.path()), StartsWith(dir / "config.json" + ": cannot open"));
  fs::remove(dir / "model.safetensors");
  fs::create_symlink("gone", dir / "model.safetensors");
  EXPECT_THAT(Message(dir.path()), StartsWith(dir / "model.safetensors" + ": "));
  fs::remove(dir / "model.safetensors");
  fs::create_directory(dir / "model.safetensors");
  EXPECT_THAT(Message(dir.path()), HasSubstr("not a regular file"));
}

TEST(OpenCheckpoint, ErrorsOfBindingNameTheFile) {
  const TempDir dir;
  const PhiConfig config = SmallConfig();
  WriteCheckpoint(dir.path(), config);
  BuiltTensors tensors = BuildTensors(config);
  tensors.erase("lm_head.bias");
  WriteSafetensorsFile(dir / "model.safetensors", tensors);
  EXPECT_THAT(Message(dir.path()),
              StartsWith(dir / "model.safetensors" + ": tensor \"lm_head.bias\" of shape [96] (vocab_size 96) is "
                                                     "missing"));
  nlohmann::json json = ConfigJson(config, TensorNaming::kPhi);
  json["num_hidden_layers"] = 3;
  WriteText(dir / "config.json", json.dump());
  EXPECT_THAT(Message(dir.path()), HasSubstr("tensor \"model.layers.2.input_layernorm.weight\""));
}

}  // namespace
}  // namespace phidias
