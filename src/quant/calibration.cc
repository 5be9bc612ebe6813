#include "quant/calibration.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "backend/rotary_table.h"
#include "common/thread_pool.h"
#include "numerics/bits.h"
#include "numerics/random.h"
#include "quant/calibration_state.h"

namespace phidias {
namespace {

// A magnitude's bits order as integers do, and the compiler may reduce integers in any order.
int32_t Magnitude(float value) {
  return static_cast<int32_t>(numerics::BitsOf(value) & 0x7fffffffU);
}

float AbsMax(std::span<const float> values) {
  int32_t largest = 0;
  for (const float value : values) {
    const int32_t magnitude = Magnitude(value);
    largest = magnitude > largest ? magnitude : largest;
  }
  return numerics::FloatOf(static_cast<uint32_t>(largest));
}

// Sees the activations of a step and adds them to the statistics. Each thread has statistics of its own, which are
// merged after the step: merging is exact, so it doesn't matter who saw what.
class Observer {
 public:
  Observer(const PhiConfig& config, const CalibrationOptions& options, CalibrationStats* stats)
      : config_(config),
        seed_(options.seed),
        stats_(*stats),
        rotary_(config.max_position_embeddings, config.rotary_dim, config.rope_theta),
        pool_(options.threads == 0 ? AvailableProcessors() : options.threads),
        parts_(static_cast<size_t>(pool_.size())) {
    AddHandlers();
  }

  // The tokens of the next step, in its order; row indexes are those of the whole data set.
  void BeginStep(std::span<const StepRow> step, const std::vector<int64_t>& row_indexes);
  void See(const std::string& name, int64_t cols, std::span<const float> values);
  void EndStep();

 private:
  // Some of an activation's rows: [rows, cols], the first of them row `first` of the step.
  struct Rows {
    size_t first = 0;
    int64_t cols = 0;
    std::span<const float> values;
  };
  struct Handler {
    std::function<void(const Rows& rows, CalibrationStats* into)> add;
    int64_t sample_offset = -1;  // where its values lie in a sample, if they do
  };

  void AddHandlers();
  void AddLayerHandlers(size_t index);
  void AddRotated(const Rows& rows, std::vector<float>* absmax) const;
  static void AddResidual(const Rows& rows, CalibrationStats* into) {
    into->residual_absmax = std::max(into->residual_absmax, AbsMax(rows.values));
  }

  const PhiConfig& config_;
  uint64_t seed_;
  CalibrationStats& stats_;
  RotaryTable rotary_;
  ThreadPool pool_;
  std::vector<CalibrationStats> parts_;  // per thread
  std::unordered_map<std::string, Handler> handlers_;
  std::span<const StepRow> step_;
  std::vector<std::pair<size_t, float*>> kept_;  // rows of the step that are samples, and where their values go
};

void Observer::AddHandlers() {
  handlers_["embed_tokens.out"] = {AddResidual};
  handlers_["final_layernorm.out"] = {
      [](const Rows& rows, CalibrationStats* into) { into->final_norm.Add(rows.cols, rows.values); }};
  for (size_t i = 0; i < stats_.layers.size(); ++i) {
    AddLayerHandlers(i);
  }
}

void Observer::AddLayerHandlers(size_t index) {
  const std::string prefix = "layers." + std::to_string(index) + ".";
  const int64_t offset = static_cast<int64_t>(index) * (config_.hidden_size + config_.n_heads * config_.head_dim);
  const auto layer = [index](CalibrationStats* into) -> LayerStats& { return into->layers[index]; };
  handlers_[prefix + "input_layernorm.out"] = {
      [=](const Rows& rows, CalibrationStats* into) { layer(into).norm.Add(rows.cols, rows.values); }, offset};
  handlers_[prefix + "self_attn.dense.in"] = {
      [=](const Rows& rows, CalibrationStats* into) { layer(into).dense.Add(rows.cols, rows.values); },
      offset + config_.hidden_size};
  handlers_[prefix + "mlp.fc2.in"] = {
      [=](const Rows& rows, CalibrationStats* into) { layer(into).fc2.Add(rows.cols, rows.values); }};
  handlers_[prefix + "mlp.fc1.out"] = {
      [=](const Rows& rows, CalibrationStats* into) { layer(into).fc1_out.Add(rows.values); }};
  handlers_[prefix + "self_attn.q_proj.out"] = {
      [=, this](const Rows& rows, CalibrationStats* into) { AddRotated(rows, &layer(into).q_absmax); }};
  handlers_[prefix + "self_attn.k_proj.out"] = {
      [=, this](const Rows& rows, CalibrationStats* into) { AddRotated(rows, &layer(into).k_absmax); }};
  handlers_[prefix + "self_attn.v_proj.out"] = {[=](const Rows& rows, CalibrationStats* into) {
    std::vector<float>& absmax = layer(into).v_absmax;
    for (size_t row = 0; row < rows.values.size(); row += absmax.size()) {
      for (size_t i = 0; i < absmax.size(); ++i) {
        const float magnitude = std::fabs(rows.values[row + i]);
        absmax[i] = magnitude > absmax[i] ? magnitude : absmax[i];
      }
    }
  }};
  handlers_[prefix + "out"] = {AddResidual};
}

void Observer::See(const std::string& name, int64_t cols, std::span<const float> values) {
  const auto found = handlers_.find(name);
  if (found == handlers_.end()) {
    return;
  }
  const Handler& handler = found->second;
  const auto width = static_cast<size_t>(cols);
  const auto rows = static_cast<int64_t>(values.size() / width);
  const int64_t share = (rows + pool_.size() - 1) / pool_.size();
  pool_.ParallelFor(rows, std::max<int64_t>(share, 1), [&](int64_t begin, int64_t end, int thread) {
    const auto first = static_cast<size_t>(begin);
    handler.add({first, cols, values.subspan(first * width, static_cast<size_t>(end - begin) * width)},
                &parts_[static_cast<size_t>(thread)]);
  });
  if (handler.sample_offset >= 0) {
    for (const auto& [m, to] : kept_) {
      std::copy_n(values.data() + m * width, cols, to + handler.sample_offset);
    }
  }
}

void Observer::EndStep() {
  for (const CalibrationStats& part : parts_) {
    stats_.Merge(part);
  }
}

void Observer::BeginStep(std::span<const StepRow> step, const std::vector<int64_t>& row_indexes) {
  step_ = step;
  kept_.clear();
  for (CalibrationStats& part : parts_) {
    part = CalibrationStats::ForModel(config_, 0);
  }
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

// The largest magnitude of each head after rotation.
void Observer::AddRotated(const Rows& rows, std::vector<float>* absmax) const {
  const int64_t head_dim = config_.head_dim;
  const int64_t half = config_.rotary_dim / 2;
  const auto width = static_cast<size_t>(rows.cols);
  for (size_t m = 0; m < rows.values.size() / width; ++m) {
    const int32_t pos = step_[rows.first + m].pos;
    const float* cos_row = rotary_.Cos(pos);
    const float* sin_row = rotary_.Sin(pos);
    for (size_t h = 0; h < absmax->size(); ++h) {
      const float* head = rows.values.data() + m * width + h * static_cast<size_t>(head_dim);
      int32_t largest = 0;
      for (int64_t i = 0; i < half; ++i) {
        float low = head[i];
        float high = head[i + half];
        numerics::Rotate(cos_row[i], sin_row[i], &low, &high);
        largest = Magnitude(low) > largest ? Magnitude(low) : largest;
        largest = Magnitude(high) > largest ? Magnitude(high) : largest;
      }
      const float rest = AbsMax({head + 2 * half, static_cast<size_t>(head_dim - 2 * half)});
      (*absmax)[h] = std::max({(*absmax)[h], numerics::FloatOf(static_cast<uint32_t>(largest)), rest});
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
  std::string fingerprint_;
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
  RETURN_IF_ERROR(phi_.Step(step, {.trace = sink, .cancel = options_.cancel, .logits = false}).status());
  observer->EndStep();
  return {};
}

Result<CalibrationStats> Calibration::Run() {
  RETURN_IF_ERROR(CheckRows());
  RETURN_IF_ERROR(Start());
  Observer observer(phi_.config(), options_, &state_.stats);
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
