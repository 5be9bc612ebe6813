#include "backend/cpu/cpu_backend.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <new>
#include <thread>
#include <utility>

#include "backend/cpu/kernels.h"
#include "backend/rotary_table.h"
#include "common/file.h"
#include "common/thread_pool.h"
#include "numerics/elementary.h"
#include "numerics/fp_mode.h"
#include "ref/decode_row.h"
#include "ref/ops.h"

namespace phidias {
namespace {

constexpr int kMaxThreads = 1024;

// Keys and values as float32, per layer [capacity, n_kv_heads * head_dim]. Keys are stored rotated.
class CpuKvStore final : public KvStore {
 public:
  CpuKvStore(int64_t layers, int64_t capacity, int64_t row)
      : layers_(layers),
        capacity_(capacity),
        row_(row),
        data_(new float[static_cast<size_t>(2 * layers * capacity * row)]) {}

  int64_t capacity() const override { return capacity_; }
  int64_t bytes() const override { return 2 * layers_ * capacity_ * row_ * static_cast<int64_t>(sizeof(float)); }
  float* Keys(int64_t layer) { return data_.get() + 2 * layer * capacity_ * row_; }
  float* Values(int64_t layer) { return Keys(layer) + capacity_ * row_; }

 private:
  int64_t layers_;
  int64_t capacity_;
  int64_t row_;
  std::unique_ptr<float[]> data_;  // left uninitialised: pages are touched when positions are
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const ModelShape& shape, const cpu::Kernels& kernels, int threads)
      : shape_(shape),
        kernels_(kernels),
        rotary_(shape.max_positions, shape.rotary_dim, shape.rope_theta),
        scale_(1.0F / numerics::Sqrt(static_cast<float>(shape.head_dim))),
        pool_(threads, [] { static thread_local numerics::ScopedFlushToZero mode; }),
        linear_scratch_(static_cast<size_t>(threads)),
        score_scratch_(static_cast<size_t>(threads)) {}

  std::string Describe() const override {
    return StrCat("cpu ", kernels_.isa, ", ", pool_.size(), pool_.size() == 1 ? " thread" : " threads");
  }

  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) override {
    embeddings_.push_back(weight);
    return EmbeddingId{static_cast<int32_t>(embeddings_.size() - 1)};
  }

  Result<LinearId> LoadLinear(const LinearWeights& weights) override {
    linears_.push_back(&weights);
    const auto scratch = static_cast<size_t>(kernels_.linear_block * (weights.weight.cols + 16));
    for (auto& buffer : linear_scratch_) {
      buffer.resize(std::max(buffer.size(), scratch));
    }
    return LinearId{static_cast<int32_t>(linears_.size() - 1)};
  }

  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights) override {
    norms_.push_back(&weights);
    return LayerNormId{static_cast<int32_t>(norms_.size() - 1)};
  }

  Activation Allocate(std::string_view /*name*/, int64_t cols) override {
    buffers_.push_back({cols, 0, {}});
    return Activation{static_cast<int32_t>(buffers_.size() - 1)};
  }

  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override {
    const int64_t row = shape_.n_kv_heads * shape_.head_dim;
    try {
      return std::unique_ptr<KvStore>(std::make_unique<CpuKvStore>(shape_.n_layers, positions, row));
    } catch (const std::bad_alloc&) {
      return ResourceExhausted("no memory for a KV cache of ", positions, " positions (",
                               HumanBytes(static_cast<uint64_t>(2 * shape_.n_layers * positions * row * 4)),
                               "); use a smaller context (-c)");
    }
  }

  Status BeginStep(std::span<const StepRow> rows) override {
    rows_ = rows;
    logit_rows_ = 0;
    for (const StepRow& row : rows) {
      if (row.token < 0 || row.token >= shape_.vocab_size) {
        return InvalidArgument("token id ", row.token, " is outside the vocabulary of ", shape_.vocab_size);
      }
      if (row.kv == nullptr || row.pos < 0 || row.pos >= row.kv->capacity() || row.pos >= shape_.max_positions) {
        return ResourceExhausted("position ", row.pos, " is outside the context");
      }
      logit_rows_ += row.wants_logits ? 1 : 0;
    }
    return {};
  }

  void Embed(EmbeddingId embedding, Activation out) override {
    const WeightMatrix& weight = embeddings_[Index(embedding)];
    Buffer& y = Resize(out, step_rows());
    for (int64_t m = 0; m < y.rows; ++m) {
      ref::DecodeRow(weight.dtype, weight.Row(rows_[m].token), weight.cols, y.Row(m));
    }
  }

  void LayerNorm(LayerNormId norm, Activation in, Activation out) override {
    const LayerNormWeights& weights = *norms_[Index(norm)];
    ForRows(in, out, [&](const float* x, float* y, int64_t cols) {
      kernels_.layer_norm(x, weights.weight.data(), weights.bias.data(), shape_.layer_norm_eps, cols, y);
    });
  }

  void Linear(LinearId linear, Activation in, Activation out) override;
  void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) override;

  void Gelu(Activation in, Activation out) override {
    ForRows(in, out, [&](const float* x, float* y, int64_t cols) { kernels_.gelu(x, cols, y); });
  }

  void AddResidual(Activation attention, Activation mlp, Activation x) override {
    const Buffer& f = buffers_[Index(mlp)];
    Buffer& residual = buffers_[Index(x)];
    const Buffer& a = buffers_[Index(attention)];
    Parallel(residual.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t m = begin; m < end; ++m) {
        kernels_.add_residual(a.Row(m), f.Row(m), residual.cols, residual.Row(m));
      }
    });
  }

  void GatherLogitRows(Activation in, Activation out) override {
    const Buffer& x = buffers_[Index(in)];
    Buffer& y = Resize(out, logit_rows_);
    int64_t to = 0;
    for (int64_t m = 0; m < step_rows(); ++m) {
      if (rows_[m].wants_logits) {
        std::copy_n(x.Row(m), x.cols, y.Row(to++));
      }
    }
  }

  Status EndStep() override { return {}; }

  std::span<const float> Read(Activation activation) override {
    const Buffer& buffer = buffers_[Index(activation)];
    return {buffer.data.data(), static_cast<size_t>(buffer.rows * buffer.cols)};
  }

 private:
  // An activation: [rows, cols], rows set by the operator that writes it.
  struct Buffer {
    int64_t cols = 0;
    int64_t rows = 0;
    std::vector<float> data;

    float* Row(int64_t m) { return data.data() + m * cols; }
    const float* Row(int64_t m) const { return data.data() + m * cols; }
  };

  template <class Id>
  static size_t Index(Id id) {
    return static_cast<size_t>(id);
  }

  int64_t step_rows() const { return static_cast<int64_t>(rows_.size()); }

  Buffer& Resize(Activation activation, int64_t rows) {
    Buffer& buffer = buffers_[Index(activation)];
    buffer.rows = rows;
    const auto needed = static_cast<size_t>(rows * buffer.cols);
    if (buffer.data.size() < needed) {
      buffer.data.resize(needed);
    }
    return buffer;
  }

  // The pool's loop with the calling thread in the contract's floating-point mode (workers are in it for life).
  template <class Fn>
  void Parallel(int64_t count, int64_t grain, Fn&& fn) {
    const numerics::ScopedFlushToZero mode;
    pool_.ParallelFor(count, grain, std::forward<Fn>(fn));
  }

  // fn(row of in, row of out, cols) for every row.
  template <class Fn>
  void ForRows(Activation in, Activation out, Fn fn) {
    const Buffer& x = buffers_[Index(in)];
    Buffer& y = Resize(out, x.rows);
    Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t m = begin; m < end; ++m) {
        fn(x.Row(m), y.Row(m), x.cols);
      }
    });
  }

  void AppendKv(int64_t layer, Buffer& q, Buffer& k, const Buffer& v);

  ModelShape shape_;
  const cpu::Kernels& kernels_;
  RotaryTable rotary_;
  float scale_;  // 1 / sqrt(head_dim)
  ThreadPool pool_;

  std::vector<WeightMatrix> embeddings_;
  std::vector<const LinearWeights*> linears_;
  std::vector<const LayerNormWeights*> norms_;
  std::vector<Buffer> buffers_;
  std::vector<std::vector<float>> linear_scratch_;  // per thread
  std::vector<std::vector<float>> score_scratch_;   // per thread

  std::span<const StepRow> rows_;
  int64_t logit_rows_ = 0;
};

void CpuBackend::Linear(LinearId linear, Activation in, Activation out) {
  const LinearWeights& weights = *linears_[Index(linear)];
  const Buffer& x = buffers_[Index(in)];
  Buffer& y = Resize(out, x.rows);
  if (x.rows == 0) {
    return;
  }
  const int64_t n = weights.weight.rows;
  const cpu::LinearArgs args = {.x = x.data.data(),
                                .m = x.rows,
                                .k = weights.weight.cols,
                                .weight_dtype = weights.weight.dtype,
                                .weight = weights.weight.data,
                                .weight_row_bytes = weights.weight.RowBytes(),
                                .bias = weights.bias.empty() ? nullptr : weights.bias.data(),
                                .y = y.data.data(),
                                .y_stride = n};
  // Four shares a thread even out neighbours' disturbances; shares are whole kernel blocks.
  const int64_t blocks = (n + kernels_.linear_block - 1) / kernels_.linear_block;
  const int64_t shares = int64_t{4} * pool_.size();
  const int64_t grain = std::max<int64_t>(1, (blocks + shares - 1) / shares) * kernels_.linear_block;
  Parallel(n, grain, [&](int64_t begin, int64_t end, int thread) {
    kernels_.linear(args, begin, end, linear_scratch_[static_cast<size_t>(thread)].data());
  });
}

// Rotates q in place, and writes rotated k and v into the rows' stores.
void CpuBackend::AppendKv(int64_t layer, Buffer& q, Buffer& k, const Buffer& v) {
  Parallel(step_rows(), 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t m = begin; m < end; ++m) {
      const StepRow& row = rows_[m];
      auto& kv = static_cast<CpuKvStore&>(*row.kv);
      const float* cos_row = rotary_.Cos(row.pos);
      const float* sin_row = rotary_.Sin(row.pos);
      for (int64_t h = 0; h < shape_.n_heads; ++h) {
        ref::Rotary(cos_row, sin_row, shape_.rotary_dim, q.Row(m) + h * shape_.head_dim);
      }
      float* key = kv.Keys(layer) + row.pos * k.cols;
      std::copy_n(k.Row(m), k.cols, key);
      for (int64_t h = 0; h < shape_.n_kv_heads; ++h) {
        ref::Rotary(cos_row, sin_row, shape_.rotary_dim, key + h * shape_.head_dim);
      }
      std::copy_n(v.Row(m), v.cols, kv.Values(layer) + row.pos * v.cols);
    }
  });
}

void CpuBackend::Attention(int64_t layer, Activation q_id, Activation k_id, Activation v_id, Activation out) {
  Buffer& q = buffers_[Index(q_id)];
  Buffer& k = buffers_[Index(k_id)];
  const Buffer& v = buffers_[Index(v_id)];
  Buffer& y = Resize(out, step_rows());
  AppendKv(layer, q, k, v);
  int64_t longest = 0;
  for (const StepRow& row : rows_) {
    longest = std::max<int64_t>(longest, row.pos + 1);
  }
  for (auto& scores : score_scratch_) {
    scores.resize(std::max(scores.size(), static_cast<size_t>(longest)));
  }
  const int64_t group = shape_.n_heads / shape_.n_kv_heads;
  Parallel(step_rows() * shape_.n_heads, 1, [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) {
      const StepRow& row = rows_[i / shape_.n_heads];
      const int64_t head = i % shape_.n_heads;
      auto& kv = static_cast<CpuKvStore&>(*row.kv);
      const int64_t kv_offset = head / group * shape_.head_dim;
      kernels_.attention_head({.q = q.Row(i / shape_.n_heads) + head * shape_.head_dim,
                               .keys = kv.Keys(layer) + kv_offset,
                               .values = kv.Values(layer) + kv_offset,
                               .stride = k.cols,
                               .count = row.pos + 1,
                               .head_dim = shape_.head_dim,
                               .scale = scale_,
                               .scores = score_scratch_[static_cast<size_t>(thread)].data(),
                               .out = y.Row(i / shape_.n_heads) + head * shape_.head_dim});
    }
  });
}

Result<const cpu::Kernels*> ChooseKernels(const std::string& isa) {
  if (isa.empty() || isa == "auto") {
    return &cpu::BestKernels();
  }
  std::string possible;
  for (const cpu::Kernels* kernels : cpu::AllKernels()) {
    if (kernels->isa == isa && kernels->supported()) {
      return kernels;
    }
    if (kernels->supported()) {
      possible += (possible.empty() ? "" : ", ") + std::string(kernels->isa);
    }
  }
  return InvalidArgument("--isa ", Quoted(isa),
                         ": unknown, or not supported by this processor; possible here: ", possible);
}

// Whole processors granted by the cgroup's CPU quota, or a large number where there is none.
int CgroupQuota() {
  constexpr int kNone = 1 << 20;
  const Result<std::string> text = ReadFile("/sys/fs/cgroup/cpu.max", 4096);
  if (!text.ok() || text->starts_with("max")) {
    return kNone;
  }
  const size_t space = text->find(' ');
  if (space == std::string::npos) {
    return kNone;
  }
  const double quota = std::atof(text->c_str());
  const double period = std::atof(text->c_str() + space);
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>(quota / period)) : kNone;
}

}  // namespace

int AvailableProcessors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  const int allowed = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return std::max(1, std::min(allowed, CgroupQuota()));
}

Result<std::unique_ptr<Backend>> CreateCpuBackend(const ModelShape& shape, const CpuOptions& options) {
  ASSIGN_OR_RETURN(const cpu::Kernels* kernels, ChooseKernels(options.isa));
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return InvalidArgument("--threads ", options.threads, ": must be 1 to ", kMaxThreads, " (or 0: one per processor, ",
                           AvailableProcessors(), " here)");
  }
  const int threads = options.threads == 0 ? AvailableProcessors() : options.threads;
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(shape, *kernels, threads));
}

}  // namespace phidias
