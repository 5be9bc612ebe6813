// Calibration of small models: the statistics are those of the activations that a plain traced forward pass shows;
// splitting the rows over processes, other step sizes and an interruption change nothing.
#include "quant/calibration.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/file.h"
#include "quant/calibration_state.h"
#include "tests/support/checkpoint_builder.h"
#include "tests/support/quant_test_util.h"

namespace phidias {
namespace {

using testing_support::CheckpointOptions;
using testing_support::GroupedConfig;
using testing_support::TempDir;
using testing_support::WriteCheckpoint;
using testing_support::WriteText;

std::unique_ptr<Phi> LoadPhi(const std::string& path) {
  return PhiOf(OpenShared(path), 2);
}

std::vector<std::vector<int32_t>> Rows() {
  std::vector<std::vector<int32_t>> rows;
  for (size_t i = 0; i < 12; ++i) {
    std::vector<int32_t> row(i == 4 ? 0 : 3 + (i * 7) % 20);
    for (size_t j = 0; j < row.size(); ++j) {
      row[j] = static_cast<int32_t>((i * 31 + j * j * 5) % 96);
    }
    rows.push_back(row);
  }
  return rows;
}

class CalibrationTest : public testing::Test {
 protected:
  CalibrationTest() {
    WriteCheckpoint(dir_.path(), GroupedConfig(), {.dtype = DType::kBF16, .vector_dtype = DType::kBF16});
    phi_ = LoadPhi(dir_.path());
  }

  CalibrationStats Run(const CalibrationOptions& options) {
    Result<CalibrationStats> stats = Calibrate(*phi_, Rows(), options);
    EXPECT_TRUE(stats.ok()) << stats.status().message();
    return stats.ok() ? *stats : CalibrationStats();
  }

  TempDir dir_;
  std::unique_ptr<Phi> phi_;
};

TEST_F(CalibrationTest, SeesWhatAPlainForwardPassShows) {
  const PhiConfig config = GroupedConfig();
  std::map<std::string, std::vector<float>> seen;
  for (const auto& row : Rows()) {
    if (row.empty()) {
      continue;
    }
    KvCache cache = *phi_->NewKvCache(64);
    std::vector<StepRow> step;
    for (size_t pos = 0; pos < row.size(); ++pos) {
      step.push_back({row[pos], static_cast<int32_t>(pos), cache.store(), true});
    }
    const auto sink = [&](const std::string& name, int64_t, std::span<const float> values) {
      seen[name].insert(seen[name].end(), values.begin(), values.end());
    };
    ASSERT_TRUE(phi_->Step(step, {.trace = sink}).ok());
  }
  const CalibrationStats stats = Run({});
  EXPECT_EQ(stats.rows, 11);
  EXPECT_EQ(stats.tokens * 42, static_cast<int64_t>(seen.at("embed_tokens.out").size()));
  const auto expect = [&](const Histogram& histogram, const std::string& name) {
    Histogram want;
    want.Add(seen.at(name));
    EXPECT_EQ(histogram, want) << name;
  };
  float residual = 0;
  for (const auto& [name, values] : seen) {
    if (name == "embed_tokens.out" || (name.starts_with("layers.") && name.size() == 12)) {
      for (const float value : values) {
        residual = std::max(residual, std::fabs(value));
      }
    }
  }
  EXPECT_EQ(stats.residual_absmax, residual);
  expect(stats.final_norm.histogram, "final_layernorm.out");
  for (int64_t i = 0; i < config.n_layers; ++i) {
    const LayerStats& layer = stats.layers[static_cast<size_t>(i)];
    const std::string prefix = "layers." + std::to_string(i) + ".";
    expect(layer.norm.histogram, prefix + "input_layernorm.out");
    expect(layer.dense.histogram, prefix + "self_attn.dense.in");
    expect(layer.fc2.histogram, prefix + "mlp.fc2.in");
    expect(layer.fc1_out, prefix + "mlp.fc1.out");
    const std::vector<float>& fc2 = seen.at(prefix + "mlp.fc2.in");
    float channel = 0;
    for (size_t t = 0; t < fc2.size(); t += 75) {
      channel = std::max(channel, fc2[t + 74]);
    }
    EXPECT_EQ(layer.fc2.channel_max[74], channel);
    // Rotation keeps the length of a pair, so a head's largest element stays within sqrt(2).
    const std::vector<float>& q = seen.at(prefix + "self_attn.q_proj.out");
    float largest = 0;
    for (size_t t = 0; t < q.size(); t += 42) {
      for (size_t d = 0; d < 7; ++d) {
        largest = std::max(largest, std::fabs(q[t + 5 * 7 + d]));
      }
    }
    EXPECT_LE(layer.q_absmax[5], largest * 1.415F);
    EXPECT_GE(layer.q_absmax[5] * 1.415F, largest);
    const std::vector<float>& v = seen.at(prefix + "self_attn.v_proj.out");
    float value = 0;
    for (size_t t = 0; t < v.size(); t += 14) {
      value = std::max(value, std::fabs(v[t + 13]));
    }
    EXPECT_EQ(layer.v_absmax[13], value);
  }
}

TEST_F(CalibrationTest, StepsAndProcessesChangeNothing) {
  const CalibrationStats want = Run({.sample_tokens = 9, .seed = 3});
  EXPECT_EQ(want.samples.size(), 9U);
  EXPECT_EQ(Run({.step_tokens = 1, .sample_tokens = 9, .seed = 3}), want);
  EXPECT_EQ(Run({.step_tokens = 40, .sample_tokens = 9, .seed = 3}), want);
  CalibrationStats merged = CalibrationStats::ForModel(phi_->config(), 9);
  for (const int64_t process : {2, 0, 1}) {
    const CalibrationStats part = Run({.sample_tokens = 9, .seed = 3, .process = process, .processes = 3});
    EXPECT_LT(part.rows, want.rows);
    merged.Merge(part);
  }
  EXPECT_EQ(merged, want);
  EXPECT_NE(Run({.sample_tokens = 9, .seed = 4}).samples, want.samples);
}

TEST_F(CalibrationTest, SamplesAreTheActivationsOfTheirTokens) {
  const CalibrationStats stats = Run({.sample_tokens = 1000});
  ASSERT_EQ(static_cast<int64_t>(stats.samples.size()), stats.tokens);
  for (int64_t i = 0; i < 2; ++i) {
    Histogram norm;
    norm.Add(stats.NormSamples(i));
    EXPECT_EQ(norm, stats.layers[static_cast<size_t>(i)].norm.histogram);
    Histogram dense;
    dense.Add(stats.DenseSamples(i));
    EXPECT_EQ(dense, stats.layers[static_cast<size_t>(i)].dense.histogram);
  }
}

TEST_F(CalibrationTest, AnInterruptedRunGoesOnFromItsState) {
  const CalibrationStats want = Run({.sample_tokens = 5});
  CalibrationOptions options = {.step_tokens = 20, .sample_tokens = 5, .state_path = dir_ / "state"};
  options.state_seconds = 0;
  std::atomic<bool> cancel{false};
  options.cancel = &cancel;
  int64_t first_done = 0;
  options.progress = [&](int64_t done, int64_t total) {
    EXPECT_EQ(total, 12);
    first_done = done;
    cancel = done >= 5;
  };
  const auto stopped = Calibrate(*phi_, Rows(), options);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.status().code(), StatusCode::kCancelled);
  EXPECT_GE(first_done, 5);
  cancel = false;
  int64_t second_start = 0;
  options.progress = [&](int64_t done, int64_t) { second_start = second_start == 0 ? done : second_start; };
  const auto finished = Calibrate(*phi_, Rows(), options);
  ASSERT_TRUE(finished.ok()) << finished.status().message();
  EXPECT_GT(second_start, first_done);
  EXPECT_EQ(*finished, want);
}

TEST_F(CalibrationTest, ForeignAndDamagedStatesAreRefused) {
  CalibrationOptions options = {.state_path = dir_ / "state"};
  options.state_seconds = 0;
  Run(options);
  const auto message = [&](const CalibrationOptions& with) {
    return Calibrate(*phi_, Rows(), with).status().message();
  };
  CalibrationOptions other = options;
  other.sample_tokens = 7;
  EXPECT_NE(message(other).find("state: the state of another calibration"), std::string::npos) << message(other);
  std::string text = *ReadFile(options.state_path, 1 << 30);
  text[text.size() / 2] = static_cast<char>(text[text.size() / 2] ^ 1);
  WriteText(options.state_path, text);
  EXPECT_NE(message(options).find("is damaged; delete it"), std::string::npos) << message(options);
  for (const size_t size : {size_t{0}, size_t{20}, size_t{30}}) {
    WriteText(options.state_path, text.substr(0, size));
    EXPECT_FALSE(Calibrate(*phi_, Rows(), options).ok()) << size;
  }
  WriteText(options.state_path, "my thesis");
  EXPECT_NE(message(options).find("not a calibration state"), std::string::npos) << message(options);
  EXPECT_EQ(*ReadFile(options.state_path, 100), "my thesis");
}

TEST_F(CalibrationTest, RowsThatCannotBeAreNamed) {
  const auto message = [&](std::vector<std::vector<int32_t>> rows) {
    return Calibrate(*phi_, rows, {}).status().message();
  };
  EXPECT_EQ(message({}), "calibration: the data holds no tokens");
  EXPECT_EQ(message({{}, {}}), "calibration: the data holds no tokens");
  EXPECT_EQ(message({{1}, std::vector<int32_t>(65, 1)}),
            "calibration row 2 has 65 tokens, the model's context only 64; use --max-tokens");
  EXPECT_EQ(message({{1, 96}}), "calibration row 1: token id 96 is outside the vocabulary of 96");
}

TEST_F(CalibrationTest, ActivationsThatAreNotFiniteAreNamed) {
  auto tensors = testing_support::BuildTensors(GroupedConfig());
  auto& bytes = tensors.at("model.layers.1.mlp.fc1.weight").bytes;
  const float infinity = INFINITY;
  std::memcpy(bytes.data() + 8, &infinity, sizeof infinity);
  testing_support::WriteSafetensorsFile(dir_ / "model.safetensors", tensors);
  const auto phi = LoadPhi(dir_.path());
  const auto stats = Calibrate(*phi, Rows(), {});
  ASSERT_FALSE(stats.ok());
  EXPECT_NE(stats.status().message().find("values of layers.1.mlp.fc1.out aren't finite"), std::string::npos)
      << stats.status().message();
}

}  // namespace
}  // namespace phidias
