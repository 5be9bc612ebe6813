#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

#include "backend/cpu/cpu_options.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matrix_s8.h"
#include "backend/cpu/weight_memory.h"
#include "backend/rotary_table.h"
#include "common/mapped_file.h"
#include "common/thread_pool.h"
#include "numerics/elementary.h"
#include "numerics/fp_mode.h"
#include "numerics/quantize.h"
#include "ref/decode_row.h"
#include "ref/linear_s8.h"
#include "ref/ops.h"

namespace phidias {
namespace {

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
  CpuBackend(const ModelShape& shape, const CpuSetup& setup)
      : shape_(shape),
        isa_(setup.isa),
        kernels_(*setup.kernels),
        gemm_s8_(*setup.gemm_s8),
        weight_place_(setup.weights),
        rotary_(shape.max_positions, shape.rotary_dim, shape.rope_theta),
        scale_(1.0F / numerics::Sqrt(static_cast<float>(shape.head_dim))),
        pool_(setup.threads, [] { static thread_local numerics::ScopedFlushToZero mode; }),
        linear_scratch_(static_cast<size_t>(setup.threads)),
        score_scratch_(static_cast<size_t>(setup.threads)),
        gemm_scratch_(static_cast<size_t>(setup.threads)) {}

  std::string Describe() const override {
    return StrCat("cpu ", isa_, ", ", pool_.size(), pool_.size() == 1 ? " thread" : " threads");
  }

  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) override {
    embeddings_.push_back(weight);
    return EmbeddingId{static_cast<int32_t>(embeddings_.size() - 1)};
  }

  Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) override;

  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t /*layer*/) override {
    norms_.push_back(&weights);
    return LayerNormId{static_cast<int32_t>(norms_.size() - 1)};
  }

  Status FinishLoading() override { return {}; }

  Activation Allocate(std::string_view /*name*/, int64_t cols) override {
    buffers_.emplace_back();
    buffers_.back().cols = cols;
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

  void Gelu(int64_t /*layer*/, Activation in, Activation out) override {
    ForRows(in, out, [&](const float* x, float* y, int64_t cols) { kernels_.gelu(x, cols, y); });
  }

  void AddResidual(Activation attention, Activation mlp, Activation x) override {
    const Buffer& f = buffers_[Index(mlp)];
    Buffer& residual = Resize(x, f.rows);
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
    uint64_t version = 0;  // raised by every operator that writes it
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
    ++buffer.version;
    const auto needed = static_cast<size_t>(rows * buffer.cols);
    if (buffer.data.size() < needed) {
      buffer.data.resize(needed);
    }
    return buffer;
  }

  // A linear layer's weights where products read them: `s8` for int8 ones with a quantised input, else `matrix`.
  struct LoadedLinear {
    const LinearWeights* weights = nullptr;
    WeightMatrix matrix;
    cpu::MatrixS8 s8;
  };

  // The input of the last quantised linear layer: q, k, v and fc1 share theirs.
  struct QuantizedInput {
    Activation source{-1};
    uint64_t version = 0;
    InputQuant how;
    std::vector<int8_t> q;            // [rows, cols]
    std::vector<float> scale;         // [rows]
    std::vector<int32_t> zero_point;  // [rows]
    std::vector<int32_t> sum;         // [rows] sum_k q
  };

  const QuantizedInput& Quantize(Activation in, const InputQuant& how);
  void QuantizeRow(const Buffer& x, int64_t m, const InputQuant& how);
  Status PlaceWeights(const WeightMatrix& w, LoadedLinear& linear);
  void LinearFloat(const LoadedLinear& linear, const float* x, int64_t rows, Buffer& y);
  void LinearS8(const LoadedLinear& linear, const QuantizedInput& x, Buffer& y);

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
  std::string isa_;
  const cpu::Kernels& kernels_;
  const cpu::GemmS8& gemm_s8_;
  WeightPlace weight_place_;
  RotaryTable rotary_;
  float scale_;  // 1 / sqrt(head_dim)
  ThreadPool pool_;

  std::vector<WeightMatrix> embeddings_;
  cpu::WeightMemory weight_memory_;
  std::vector<LoadedLinear> linears_;
  std::vector<const LayerNormWeights*> norms_;
  std::vector<Buffer> buffers_;
  std::vector<std::vector<float>> linear_scratch_;  // per thread
  std::vector<std::vector<float>> score_scratch_;   // per thread
  std::vector<cpu::GemmScratch> gemm_scratch_;      // per thread
  QuantizedInput quantized_;
  std::vector<float> fake_quantized_;  // a quantised input put back to float, for float weights

  std::span<const StepRow> rows_;
  int64_t logit_rows_ = 0;
};

Status CpuBackend::PlaceWeights(const WeightMatrix& w, LoadedLinear& linear) {
  const bool products = w.dtype == DType::kI8 && linear.weights->input.kind != InputQuant::Kind::kNone;
  const auto* rows = reinterpret_cast<const int8_t*>(w.data);
  linear.matrix = w;
  if (weight_place_ == WeightPlace::kInFile) {
    if (products) {
      linear.s8 = cpu::MatrixS8::InPlace(rows, w.rows, w.cols, pool_);
    }
    return {};
  }
  if (products) {
    ASSIGN_OR_RETURN(linear.s8, cpu::MatrixS8::Copy(rows, w.rows, w.cols, gemm_s8_, pool_, weight_memory_));
  } else {
    ASSIGN_OR_RETURN(std::byte * copy, weight_memory_.Allocate(w.rows * w.RowBytes()));
    Parallel(w.rows, 64, [&](int64_t begin, int64_t end, int /*thread*/) {
      std::memcpy(copy + begin * w.RowBytes(), w.Row(begin), static_cast<size_t>((end - begin) * w.RowBytes()));
    });
    linear.matrix.data = copy;
  }
  MappedFile::Release(w.data, static_cast<size_t>(w.rows * w.RowBytes()));
  return {};
}

Result<LinearId> CpuBackend::LoadLinear(const LinearWeights& weights, LinearPlace /*place*/) {
  const WeightMatrix& w = weights.weight;
  LoadedLinear linear{.weights = &weights, .matrix = {}, .s8 = {}};
  RETURN_IF_ERROR(PlaceWeights(w, linear));
  linears_.push_back(std::move(linear));
  const auto scratch = static_cast<size_t>(kernels_.linear_block * (w.cols + 16));
  for (auto& buffer : linear_scratch_) {
    buffer.resize(std::max(buffer.size(), scratch));
  }
  return LinearId{static_cast<int32_t>(linears_.size() - 1)};
}

void CpuBackend::Linear(LinearId id, Activation in, Activation out) {
  const LoadedLinear& linear = linears_[Index(id)];
  const LinearWeights& weights = *linear.weights;
  const Buffer& x = buffers_[Index(in)];
  Buffer& y = Resize(out, x.rows);
  if (x.rows == 0) {
    return;
  }
  if (weights.input.kind == InputQuant::Kind::kNone) {
    LinearFloat(linear, x.data.data(), x.rows, y);
    return;
  }
  const QuantizedInput& quantized = Quantize(in, weights.input);
  if (weights.weight.dtype == DType::kI8) {
    LinearS8(linear, quantized, y);
    return;
  }
  fake_quantized_.resize(static_cast<size_t>(x.rows * x.cols));
  Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t m = begin; m < end; ++m) {
      ref::DequantizeRow(quantized.q.data() + m * x.cols, x.cols, quantized.scale[m], quantized.zero_point[m],
                         fake_quantized_.data() + m * x.cols);
    }
  });
  LinearFloat(linear, fake_quantized_.data(), x.rows, y);
}

void CpuBackend::LinearFloat(const LoadedLinear& linear, const float* x, int64_t rows, Buffer& y) {
  const LinearWeights& weights = *linear.weights;
  const WeightQuant& quant = weights.quant;
  const int64_t n = weights.weight.rows;
  const cpu::LinearArgs args = {.x = x,
                                .m = rows,
                                .k = weights.weight.cols,
                                .weight_dtype = weights.weight.dtype,
                                .weight = linear.matrix.data,
                                .weight_row_bytes = weights.weight.RowBytes(),
                                .weight_scale = quant.scale.empty() ? nullptr : quant.scale.data(),
                                .weight_zero_point = quant.zero_point.empty() ? nullptr : quant.zero_point.data(),
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

void CpuBackend::QuantizeRow(const Buffer& x, int64_t m, const InputQuant& how) {
  numerics::ScaleZero scale_zero = {how.scale, how.zero_point};
  if (how.kind == InputQuant::Kind::kDynamic) {
    float min = 0;
    float max = 0;
    kernels_.min_max(x.Row(m), x.cols, &min, &max);
    scale_zero = how.symmetric ? numerics::SymmetricScale(std::max(-min, max)) : numerics::AsymmetricScale(min, max);
  }
  int8_t* q = quantized_.q.data() + m * x.cols;
  kernels_.quantize_row(x.Row(m), x.cols, 1.0F / scale_zero.scale, static_cast<float>(scale_zero.zero_point), q);
  quantized_.scale[m] = scale_zero.scale;
  quantized_.zero_point[m] = scale_zero.zero_point;
  quantized_.sum[m] = ref::SumS8(q, x.cols);
}

const CpuBackend::QuantizedInput& CpuBackend::Quantize(Activation in, const InputQuant& how) {
  const Buffer& x = buffers_[Index(in)];
  if (quantized_.source == in && quantized_.version == x.version && quantized_.how == how) {
    return quantized_;
  }
  const auto rows = static_cast<size_t>(x.rows);
  quantized_.source = in;
  quantized_.version = x.version;
  quantized_.how = how;
  quantized_.q.resize(rows * static_cast<size_t>(x.cols));
  quantized_.scale.resize(rows);
  quantized_.zero_point.resize(rows);
  quantized_.sum.resize(rows);
  Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t m = begin; m < end; ++m) {
      QuantizeRow(x, m, how);
    }
  });
  return quantized_;
}

void CpuBackend::LinearS8(const LoadedLinear& linear, const QuantizedInput& x, Buffer& y) {
  const LinearWeights& weights = *linear.weights;
  const WeightQuant& quant = weights.quant;
  const auto dequantize = [&](int64_t m, int64_t n, int64_t columns, const int32_t* acc) {
    kernels_.dequantize_acc({.acc = acc,
                             .n = columns,
                             .k = static_cast<int32_t>(linear.s8.k()),
                             .x_scale = x.scale[m],
                             .x_zero_point = x.zero_point[m],
                             .x_sum = x.sum[m],
                             .weight_scale = quant.scale.data() + n,
                             .weight_zero_point = quant.zero_point.empty() ? nullptr : quant.zero_point.data() + n,
                             .weight_sum = linear.s8.row_sum().data() + n,
                             .bias = weights.bias.empty() ? nullptr : weights.bias.data() + n,
                             .y = y.Row(m) + n});
  };
  const int64_t n = linear.s8.n();
  Parallel(n, cpu::ColumnGrain(n, pool_.size()), [&](int64_t begin, int64_t end, int thread) {
    linear.s8.ForProducts(gemm_s8_, x.q.data(), x.sum.data(), y.rows, begin, end,
                          gemm_scratch_[static_cast<size_t>(thread)], dequantize);
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

}  // namespace

Result<std::unique_ptr<Backend>> CreateCpuBackend(const ModelShape& shape, const CpuOptions& options) {
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions(options));
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(shape, setup));
}

}  // namespace phidias
