#include "quant/calibration.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "backend/rotary_table.h"
#include "numerics/random.h"
#include "quant/calibration_state.h"

namespace phidias {
namespace {

float AbsMax(std::span<const float> values) {
  float largest = 0;
  for (const float value : values) {
    const float magnitude = std::fabs(value);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

// Sees the activations of a step and adds them to the statistics.
class Observer {
 public:
  Observer(const PhiConfig& config, uint64_t seed, CalibrationStats* stats)
      : config_(config),
        seed_(seed),
        stats_(*stats),
        rotary_(config.max_position_embeddings, config.rotary_dim, config.rope_theta) {
    AddHandlers();
  }

  // The tokens of the next step, in its order; row indexes are those of the whole data set.
  void BeginStep(std::span<const StepRow> step, const std::vector<int64_t>& row_indexes);
  void See(const std::string& name, int64_t cols, std::span<const float> values) {
    const auto found = handlers_.find(name);
    if (found != handlers_.end()) {
      found->second(cols, values);
    }
  }

 private:
  using Handler = std::function<void(int64_t cols, std::span<const float> values)>;

  void AddHandlers();
  void AddLayerHandlers(int64_t index);
  void KeepSamples(int64_t offset, int64_t cols, std::span<const float> values);
  void SeeRotated(int64_t cols, std::span<const float> values, std::vector<float>* absmax) const;
  void SeeResidual(std::span<const float> values) {
    stats_.residual_absmax = std::max(stats_.residual_absmax, AbsMax(values));
  }

  const PhiConfig& config_;
  uint64_t seed_;
  CalibrationStats& stats_;
  RotaryTable rotary_;
  std::unordered_map<std::string, Handler> handlers_;
  std::span<const StepRow> step_;
  std::vector<std::pair<size_t, float*>> kept_;  // rows of the step that are samples, and where their values go
};

void Observer::AddHandlers() {
  handlers_["embed_tokens.out"] = [this](int64_t, std::span<const float> values) { SeeResidual(values); };
  handlers_["final_layernorm.out"] = [this](int64_t cols, std::span<const float> values) {
    stats_.final_norm.Add(cols, values);
  };
  for (int64_t i = 0; i < config_.n_layers; ++i) {
    AddLayerHandlers(i);
  }
}

void Observer::AddLayerHandlers(int64_t index) {
  const std::string prefix = "layers." + std::to_string(index) + ".";
  LayerStats& layer = stats_.layers[static_cast<size_t>(index)];
  const int64_t heads = config_.n_heads * config_.head_dim;
  const int64_t offset = index * (config_.hidden_size + heads);
  handlers_[prefix + "input_layernorm.out"] = [this, &layer, offset](int64_t cols, std::span<const float> values) {
    layer.norm.Add(cols, values);
    KeepSamples(offset, cols, values);
  };
  handlers_[prefix + "self_attn.dense.in"] = [this, &layer, offset](int64_t cols, std::span<const float> values) {
    layer.dense.Add(cols, values);
    KeepSamples(offset + config_.hidden_size, cols, values);
  };
  handlers_[prefix + "mlp.fc2.in"] = [&layer](int64_t cols, std::span<const float> values) {
    layer.fc2.Add(cols, values);
  };
  handlers_[prefix + "mlp.fc1.out"] = [&layer](int64_t, std::span<const float> values) { layer.fc1_out.Add(values); };
  handlers_[prefix + "self_attn.q_proj.out"] = [this, &layer](int64_t cols, std::span<const float> values) {
    SeeRotated(cols, values, &layer.q_absmax);
  };
  handlers_[prefix + "self_attn.k_proj.out"] = [this, &layer](int64_t cols, std::span<const float> values) {
    SeeRotated(cols, values, &layer.k_absmax);
  };
  handlers_[prefix + "self_attn.v_proj.out"] = [&layer](int64_t cols, std::span<const float> values) {
    for (size_t row = 0; row < values.size(); row += static_cast<size_t>(cols)) {
      for (size_t i = 0; i < layer.v_absmax.size(); ++i) {
        layer.v_absmax[i] = std::max(layer.v_absmax[i], std::fabs(values[row + i]));
      }
    }
  };
  handlers_[prefix + "out"] = [this](int64_t, std::span<const float> values) { SeeResidual(values); };
}

void Observer::BeginStep(std::span<const StepRow> step, const std::vector<int64_t>& row_indexes) {
  step_ = step;
  kept_.clear();
  std::map<SampleKey, size_t> here;
  for (size_t m = 0; m < step.size(); ++m) {
    const auto row = static_cast<uint64_t>(row_indexes[m]);
    const SampleKey key = {numerics::RandomBits(seed_, row, static_cast<uint64_t>(step[m].pos)), row_indexes[m],
                           step[m].pos};
    here[key] = m;
  }
  const auto limit = static_cast<size_t>(stats_.sample_limit);
  for (const auto& [key, m] : here) {
    auto& samples = stats_.samples;
    if (limit == 0 || (samples.size() == limit && std::prev(samples.end())->first < key)) {
      break;  // the keys after it are larger still
    }
    samples[key];
    if (samples.size() > limit) {
      samples.erase(std::prev(samples.end()));
    }
  }
  const int64_t size = config_.n_layers * (config_.hidden_size + config_.n_heads * config_.head_dim);
  for (const auto& [key, m] : here) {
    if (const auto found = stats_.samples.find(key); found != stats_.samples.end()) {
      found->second.resize(static_cast<size_t>(size));
      kept_.emplace_back(m, found->second.data());
    }
  }
}

void Observer::KeepSamples(int64_t offset, int64_t cols, std::span<const float> values) {
  for (const auto& [m, to] : kept_) {
    std::copy_n(values.data() + m * static_cast<size_t>(cols), cols, to + offset);
  }
}

// The largest magnitude of each head after rotation, of [step rows, heads * head_dim].
void Observer::SeeRotated(int64_t cols, std::span<const float> values, std::vector<float>* absmax) const {
  const int64_t head_dim = config_.head_dim;
  const int64_t half = config_.rotary_dim / 2;
  for (size_t m = 0; m < step_.size(); ++m) {
    const float* cos_row = rotary_.Cos(step_[m].pos);
    const float* sin_row = rotary_.Sin(step_[m].pos);
    for (int64_t h = 0; h < cols / head_dim; ++h) {
      const float* head = values.data() + m * static_cast<size_t>(cols) + h * head_dim;
      float& largest = (*absmax)[static_cast<size_t>(h)];
      for (int64_t i = 0; i < half; ++i) {
        float low = head[i];
        float high = head[i + half];
        numerics::Rotate(cos_row[i], sin_row[i], &low, &high);
        largest = std::max({largest, std::fabs(low), std::fabs(high)});
      }
      largest = std::max(largest, AbsMax({head + 2 * half, static_cast<size_t>(head_dim - 2 * half)}));
    }
  }
}

// The rows of this process, run in steps.
class Calibration {
 public:
  Calibration(Phi& phi, std::span<const std::vector<int32_t>> rows, const CalibrationOptions& options)
      : phi_(phi), rows_(rows), options_(options) {
    for (int64_t i = options.process; i < static_cast<int64_t>(rows.size()); i += options.processes) {
      mine_.push_back(i);
    }
  }

  Result<CalibrationStats> Run();

 private:
  Status CheckRows() const;
  Status Start();
  Status RunStep(int64_t begin, int64_t end, Observer* observer);
  Status SaveState();
  // The rows [begin, end) of mine_ that make the next step.
  int64_t StepEnd(int64_t begin) const;

  Phi& phi_;
  std::span<const std::vector<int32_t>> rows_;
  const CalibrationOptions& options_;
  std::vector<int64_t> mine_;
  uint64_t fingerprint_ = 0;
  CalibrationState state_;
  std::chrono::steady_clock::time_point saved_ = std::chrono::steady_clock::now();
};

Status Calibration::CheckRows() const {
  const PhiConfig& config = phi_.config();
  bool any = false;
  for (size_t i = 0; i < rows_.size(); ++i) {
    any = any || !rows_[i].empty();
    if (static_cast<int64_t>(rows_[i].size()) > config.max_position_embeddings) {
      return InvalidArgument("calibration row ", i + 1, " has ", rows_[i].size(), " tokens, the model's context only ",
                             config.max_position_embeddings, "; use --max-tokens");
    }
    for (const int32_t token : rows_[i]) {
      if (token < 0 || token >= config.vocab_size) {
        return InvalidArgument("calibration row ", i + 1, ": token id ", token, " is outside the vocabulary of ",
                               config.vocab_size);
      }
    }
  }
  return any ? Status() : InvalidArgument("calibration: the data holds no tokens");
}

Status Calibration::Start() {
  state_.stats = CalibrationStats::ForModel(phi_.config(), options_.sample_tokens);
  if (options_.state_path.empty()) {
    return {};
  }
  fingerprint_ = CalibrationFingerprint(phi_.checkpoint(), rows_, options_);
  ASSIGN_OR_RETURN(std::optional<CalibrationState> found,
                   ReadCalibrationState(options_.state_path, fingerprint_, phi_.config(), options_.sample_tokens));
  if (found && found->rows_done <= static_cast<int64_t>(mine_.size())) {
    state_ = std::move(*found);
  }
  return {};
}

Status Calibration::SaveState() {
  const auto now = std::chrono::steady_clock::now();
  if (options_.state_path.empty() || std::chrono::duration<double>(now - saved_).count() < options_.state_seconds) {
    return {};
  }
  RETURN_IF_ERROR(WriteCalibrationState(options_.state_path, fingerprint_, state_));
  saved_ = std::chrono::steady_clock::now();
  return {};
}

int64_t Calibration::StepEnd(int64_t begin) const {
  int64_t end = begin;
  int64_t tokens = 0;
  while (end < static_cast<int64_t>(mine_.size())) {
    tokens += static_cast<int64_t>(rows_[static_cast<size_t>(mine_[static_cast<size_t>(end)])].size());
    if (end > begin && tokens > options_.step_tokens) {
      break;
    }
    ++end;
  }
  return end;
}

Status Calibration::RunStep(int64_t begin, int64_t end, Observer* observer) {
  std::vector<StepRow> step;
  std::vector<int64_t> row_indexes;
  std::vector<KvCache> caches;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t index = mine_[static_cast<size_t>(i)];
    const std::vector<int32_t>& row = rows_[static_cast<size_t>(index)];
    if (row.empty()) {
      continue;
    }
    ASSIGN_OR_RETURN(KvCache cache, phi_.NewKvCache(static_cast<int64_t>(row.size())));
    for (size_t pos = 0; pos < row.size(); ++pos) {
      step.push_back({row[pos], static_cast<int32_t>(pos), cache.store(), false});
      row_indexes.push_back(index);
    }
    caches.push_back(std::move(cache));
    ++state_.stats.rows;
  }
  state_.stats.tokens += static_cast<int64_t>(step.size());
  state_.rows_done = end;
  if (step.empty()) {
    return {};
  }
  observer->BeginStep(step, row_indexes);
  const TraceSink sink = [observer](const std::string& name, int64_t cols, std::span<const float> values) {
    observer->See(name, cols, values);
  };
  return phi_.Step(step, {.trace = sink, .cancel = options_.cancel, .logits = false}).status();
}

Result<CalibrationStats> Calibration::Run() {
  RETURN_IF_ERROR(CheckRows());
  RETURN_IF_ERROR(Start());
  Observer observer(phi_.config(), options_.seed, &state_.stats);
  const auto total = static_cast<int64_t>(mine_.size());
  while (state_.rows_done < total) {
    RETURN_IF_ERROR(RunStep(state_.rows_done, StepEnd(state_.rows_done), &observer));
    RETURN_IF_ERROR(state_.stats.CheckFinite());
    RETURN_IF_ERROR(SaveState());
    if (options_.progress) {
      options_.progress(state_.rows_done, total);
    }
  }
  return std::move(state_.stats);
}

}  // namespace

Result<CalibrationStats> Calibrate(Phi& phi, std::span<const std::vector<int32_t>> rows,
                                   const CalibrationOptions& options) {
  if (options.processes < 1 || options.process < 0 || options.process >= options.processes || options.step_tokens < 1 ||
      options.sample_tokens < 0) {
    return InvalidArgument("calibration: process ", options.process, " of ", options.processes, ", ",
                           options.step_tokens, " tokens a step and ", options.sample_tokens,
                           " sampled tokens can't be");
  }
  return Calibration(phi, rows, options).Run();
}

}  // namespace phidias
