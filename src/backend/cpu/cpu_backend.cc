#include "backend/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

#include "backend/cpu/column_shares.h"
#include "backend/cpu/cpu_options.h"
#include "backend/cpu/float_attention.h"
#include "backend/cpu/kernels.h"
#include "backend/cpu/matrix_i4.h"
#include "backend/cpu/matrix_s8.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/weight_memory.h"
#include "backend/int4_weights.h"
#include "common/mapped_file.h"
#include "common/thread_pool.h"
#include "numerics/quantize.h"
#include "ref/decode_row.h"
#include "ref/linear_i4.h"
#include "ref/linear_s8.h"
#include "ref/ops.h"

namespace phidias {
namespace {

class CpuBackend final : public Backend {
 public:
  CpuBackend(const ModelShape& shape, const CpuSetup& setup, DType kv_cache)
      : shape_(shape),
        isa_(setup.isa),
        kernels_(*setup.kernels),
        gemm_s8_(*setup.gemm_s8),
        gemm_i4_(*setup.gemm_i4),
        weight_place_(setup.weights),
        fast_linear_(setup.fast_linear),
        attention_(shape, kernels_, kv_cache, setup.threads),
        pool_(setup.threads, cpu::EnterFloatMode, setup.cpus),
        linear_scratch_(static_cast<size_t>(setup.threads)),
        decoded_(static_cast<size_t>(setup.threads)),
        gemm_scratch_(static_cast<size_t>(setup.threads)) {}

  std::string Describe() const override {
    const std::string fast = fast_linear_ != nullptr ? StrCat(" fast-float (", fast_linear_->name, ")") : "";
    return StrCat("cpu ", isa_, fast, ", ", pool_.size(), pool_.size() == 1 ? " thread" : " threads");
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

  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override { return attention_.Allocate(positions); }

  Status BeginStep(std::span<const StepRow> rows) override {
    rows_ = rows;
    products_.clear();
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
    RunProducts();
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
    RunProducts();
    const Buffer& x = buffers_[Index(in)];
    Buffer& y = Resize(out, logit_rows_);
    int64_t to = 0;
    for (int64_t m = 0; m < step_rows(); ++m) {
      if (rows_[m].wants_logits) {
        std::copy_n(x.Row(m), x.cols, y.Row(to++));
      }
    }
  }

  Status EndStep() override {
    RunProducts();
    return {};
  }

  std::span<const float> Read(Activation activation) override {
    RunProducts();
    const Buffer& buffer = buffers_[Index(activation)];
    return {buffer.data.data(), static_cast<size_t>(buffer.rows * buffer.cols)};
  }

 private:
  // An activation as quantised linear layers read it: q, k, v and fc1 share theirs.
  struct QuantizedInput {
    bool made = false;
    InputQuant how;
    std::vector<int8_t> q;            // [rows, cols]
    std::vector<float> scale;         // [rows]
    std::vector<int32_t> zero_point;  // [rows]
    std::vector<int32_t> sum;         // [rows] sum_k q
    cpu::InputsI4 i4;                 // q as products with 4-bit weights read it, once one has asked
    bool has_i4 = false;
  };

  // An activation: [rows, cols], rows set by the operator that writes it.
  struct Buffer {
    int64_t cols = 0;
    int64_t rows = 0;
    std::vector<float> data;
    QuantizedInput quantized;

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
    buffer.quantized.made = false;
    const auto needed = static_cast<size_t>(rows * buffer.cols);
    if (buffer.data.size() < needed) {
      buffer.data.resize(needed);
    }
    return buffer;
  }

  // A linear layer's weights where products read them: `s8` or `i4` for int8 or 4-bit ones with a quantised input, else
  // `matrix`.
  struct LoadedLinear {
    const LinearWeights* weights = nullptr;
    WeightMatrix matrix;
    cpu::MatrixS8 s8;
    cpu::MatrixI4 i4;

    bool is_i4() const { return matrix.dtype == DType::kI4; }
    bool HasProducts() const {
      return (is_i4() || matrix.dtype == DType::kI8) && weights->input.kind != InputQuant::Kind::kNone;
    }
  };

  // A product that was asked for and isn't computed yet.
  struct Product {
    const LoadedLinear* linear = nullptr;
    Activation in{};
    Activation out{};
  };

  void Quantize(const InputQuant& how, Buffer& x);
  void PrepareForI4(const cpu::ShapeI4& shape, QuantizedInput& x);
  void QuantizeRow(int64_t m, const InputQuant& how, Buffer& x);
  Status PlaceWeights(const WeightMatrix& w, LoadedLinear& linear);
  Status PlaceProducts(const WeightMatrix& w, LoadedLinear& linear);
  void LinearFloat(const LoadedLinear& linear, const float* x, int64_t rows, Buffer& y);
  void RunFloat(const LoadedLinear& linear, const cpu::LinearArgs& args, int64_t begin, int64_t end, int thread);
  void RunProducts();
  void RunShare(const cpu::ColumnShare& share, cpu::GemmScratch& scratch);

  // The pool's loop with the calling thread in the contract's floating-point mode (workers are in it for life).
  template <class Fn>
  void Parallel(int64_t count, int64_t grain, Fn&& fn) {
    cpu::ParallelFor(pool_, count, grain, std::forward<Fn>(fn));
  }

  // fn(row of in, row of out, cols) for every row.
  template <class Fn>
  void ForRows(Activation in, Activation out, Fn fn) {
    RunProducts();
    const Buffer& x = buffers_[Index(in)];
    Buffer& y = Resize(out, x.rows);
    Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
      for (int64_t m = begin; m < end; ++m) {
        fn(x.Row(m), y.Row(m), x.cols);
      }
    });
  }

  ModelShape shape_;
  std::string isa_;
  const cpu::Kernels& kernels_;
  const cpu::GemmS8& gemm_s8_;
  const cpu::GemmI4& gemm_i4_;
  WeightPlace weight_place_;
  const cpu::FastLinear* fast_linear_;  // or null
  cpu::FloatAttention attention_;
  ThreadPool pool_;

  std::vector<WeightMatrix> embeddings_;
  cpu::WeightMemory weight_memory_;
  std::vector<LoadedLinear> linears_;
  std::vector<const LayerNormWeights*> norms_;
  std::vector<Buffer> buffers_;
  std::vector<std::vector<float>> linear_scratch_;  // per thread
  std::vector<std::vector<float>> decoded_;         // per thread: rows of 4-bit weights as floats
  std::vector<cpu::GemmScratch> gemm_scratch_;      // per thread
  // Integer products wait here until an operation of another kind: q, k and v run together, and dense with fc1, so that
  // threads wait for each other, and for memory to begin, half as often.
  std::vector<Product> products_;
  std::vector<cpu::ProductSize> product_sizes_;
  std::vector<cpu::ColumnShare> shares_;
  std::vector<float> fake_quantized_;  // a quantised input put back to float, for float weights

  std::span<const StepRow> rows_;
  int64_t logit_rows_ = 0;
};

Status CpuBackend::PlaceProducts(const WeightMatrix& w, LoadedLinear& linear) {
  const bool in_file = weight_place_ == WeightPlace::kInFile;
  const auto* rows = reinterpret_cast<const int8_t*>(w.data);
  if (linear.is_i4()) {
    const WeightQuant& quant = linear.weights->quant;
    ASSIGN_OR_RETURN(linear.i4, in_file ? cpu::MatrixI4::InPlace(w, quant, gemm_i4_, pool_)
                                        : cpu::MatrixI4::Copy(w, quant, gemm_i4_, pool_, weight_memory_));
  } else {
    ASSIGN_OR_RETURN(linear.s8, in_file ? cpu::MatrixS8::InPlace(rows, w.rows, w.cols, pool_)
                                        : cpu::MatrixS8::Copy(rows, w.rows, w.cols, gemm_s8_, pool_, weight_memory_));
  }
  return {};
}

Status CpuBackend::PlaceWeights(const WeightMatrix& w, LoadedLinear& linear) {
  linear.matrix = w;
  if (linear.HasProducts()) {
    RETURN_IF_ERROR(PlaceProducts(w, linear));
  } else if (weight_place_ == WeightPlace::kCopied) {
    ASSIGN_OR_RETURN(std::byte * copy, weight_memory_.Allocate(w.rows * w.RowBytes()));
    Parallel(w.rows, 64, [&](int64_t begin, int64_t end, int /*thread*/) {
      std::memcpy(copy + begin * w.RowBytes(), w.Row(begin), static_cast<size_t>((end - begin) * w.RowBytes()));
    });
    linear.matrix.data = copy;
  }
  if (weight_place_ == WeightPlace::kCopied) {
    MappedFile::Release(w.data, static_cast<size_t>(w.rows * w.RowBytes()));
  }
  return {};
}

Result<LinearId> CpuBackend::LoadLinear(const LinearWeights& weights, LinearPlace /*place*/) {
  const WeightMatrix& w = weights.weight;
  if (w.dtype == DType::kI4) {
    RETURN_IF_ERROR(CheckInt4(weights));
  }
  LoadedLinear linear{.weights = &weights, .matrix = {}, .s8 = {}, .i4 = {}};
  RETURN_IF_ERROR(PlaceWeights(w, linear));
  linears_.push_back(std::move(linear));
  const auto scratch = static_cast<size_t>(fast_linear_ != nullptr ? fast_linear_->scratch_floats(w.cols)
                                                                   : kernels_.linear_block * (w.cols + 16));
  for (auto& buffer : linear_scratch_) {
    buffer.resize(std::max(buffer.size(), scratch));
  }
  return LinearId{static_cast<int32_t>(linears_.size() - 1)};
}

void CpuBackend::Linear(LinearId id, Activation in, Activation out) {
  const LoadedLinear& linear = linears_[Index(id)];
  const LinearWeights& weights = *linear.weights;
  Buffer& x = buffers_[Index(in)];
  QuantizedInput& quantized = x.quantized;
  const auto touched = [&](const Product& product) {
    const bool other_input = product.in == in && quantized.how != weights.input;
    return product.out == in || product.out == out || product.in == out || other_input;
  };
  if (std::any_of(products_.begin(), products_.end(), touched)) {
    RunProducts();
  }
  Buffer& y = Resize(out, x.rows);
  if (x.rows == 0) {
    return;
  }
  if (weights.input.kind == InputQuant::Kind::kNone) {
    LinearFloat(linear, x.data.data(), x.rows, y);
    return;
  }
  Quantize(weights.input, x);
  if (linear.HasProducts()) {
    if (linear.is_i4()) {
      PrepareForI4(linear.i4.shape(), quantized);
    }
    products_.push_back({&linear, in, out});
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
  const int64_t block = fast_linear_ != nullptr ? fast_linear_->block : kernels_.linear_block;
  const int64_t blocks = (n + block - 1) / block;
  const int64_t shares = int64_t{4} * pool_.size();
  const int64_t grain = std::max<int64_t>(1, (blocks + shares - 1) / shares) * block;
  Parallel(n, grain, [&](int64_t begin, int64_t end, int thread) { RunFloat(linear, args, begin, end, thread); });
}

// Rows of 4-bit weights become floats a few at a time; the products take the other types as they are.
void CpuBackend::RunFloat(const LoadedLinear& linear, const cpu::LinearArgs& args, int64_t begin, int64_t end,
                          int thread) {
  const auto product = fast_linear_ != nullptr ? fast_linear_->run : kernels_.linear;
  float* scratch = linear_scratch_[static_cast<size_t>(thread)].data();
  if (!linear.is_i4()) {
    product(args, begin, end, scratch);
    return;
  }
  const int64_t block = fast_linear_ != nullptr ? fast_linear_->block : kernels_.linear_block;
  std::vector<float>& decoded = decoded_[static_cast<size_t>(thread)];
  decoded.resize(std::max(decoded.size(), static_cast<size_t>(block * args.k)));
  for (int64_t n = begin; n < end; n += block) {
    const int64_t rows = std::min(block, end - n);
    for (int64_t i = 0; i < rows; ++i) {
      ref::DequantizeRowI4(RowOfInt4(*linear.weights, linear.matrix.Row(n + i), n + i),
                           linear.weights->quant.scale[n + i], args.k, decoded.data() + i * args.k);
    }
    cpu::LinearArgs part = args;
    part.weight_dtype = DType::kF32;
    part.weight = reinterpret_cast<const std::byte*>(decoded.data());
    part.weight_row_bytes = args.k * static_cast<int64_t>(sizeof(float));
    part.bias = args.bias != nullptr ? args.bias + n : nullptr;
    part.y = args.y + n;
    product(part, 0, rows, scratch);
  }
}

void CpuBackend::QuantizeRow(int64_t m, const InputQuant& how, Buffer& x) {
  numerics::ScaleZero scale_zero = {how.scale, how.zero_point};
  if (how.kind == InputQuant::Kind::kDynamic) {
    float min = 0;
    float max = 0;
    kernels_.min_max(x.Row(m), x.cols, &min, &max);
    scale_zero = how.symmetric ? numerics::SymmetricScale(std::max(-min, max)) : numerics::AsymmetricScale(min, max);
  }
  int8_t* q = x.quantized.q.data() + m * x.cols;
  kernels_.quantize_row(x.Row(m), x.cols, 1.0F / scale_zero.scale, static_cast<float>(scale_zero.zero_point), q);
  x.quantized.scale[m] = scale_zero.scale;
  x.quantized.zero_point[m] = scale_zero.zero_point;
  cpu::RowSumsS8(q, 1, x.cols, &x.quantized.sum[m]);
}

void CpuBackend::Quantize(const InputQuant& how, Buffer& x) {
  QuantizedInput& quantized = x.quantized;
  if (quantized.made && quantized.how == how) {
    return;
  }
  const auto rows = static_cast<size_t>(x.rows);
  quantized.made = true;
  quantized.how = how;
  quantized.has_i4 = false;
  quantized.q.resize(rows * static_cast<size_t>(x.cols));
  quantized.scale.resize(rows);
  quantized.zero_point.resize(rows);
  quantized.sum.resize(rows);
  Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t m = begin; m < end; ++m) {
      QuantizeRow(m, how, x);
    }
  });
}

void CpuBackend::PrepareForI4(const cpu::ShapeI4& shape, QuantizedInput& x) {
  if (x.has_i4) {
    return;
  }
  const auto rows = static_cast<int64_t>(x.sum.size());
  x.i4.Resize(shape, rows);
  Parallel(rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) { x.i4.Fill(shape, x.q.data(), begin, end); });
  x.has_i4 = true;
}

void CpuBackend::RunProducts() {
  if (products_.empty()) {
    return;
  }
  product_sizes_.clear();
  for (const Product& product : products_) {
    const WeightMatrix& weight = product.linear->weights->weight;
    product_sizes_.push_back({weight.rows, weight.cols});
  }
  cpu::CutColumns(product_sizes_, pool_.size(), &shares_);
  cpu::ForShares(pool_, shares_, [&](const cpu::ColumnShare& share, int thread) {
    RunShare(share, gemm_scratch_[static_cast<size_t>(thread)]);
  });
  products_.clear();
}

void CpuBackend::RunShare(const cpu::ColumnShare& share, cpu::GemmScratch& scratch) {
  const Product& product = products_[static_cast<size_t>(share.product)];
  const LoadedLinear& linear = *product.linear;
  const QuantizedInput& x = buffers_[Index(product.in)].quantized;
  Buffer& y = buffers_[Index(product.out)];
  const LinearWeights& weights = *linear.weights;
  const WeightQuant& quant = weights.quant;
  const std::vector<int32_t>& row_sum = linear.is_i4() ? linear.i4.row_sum() : linear.s8.row_sum();
  const auto dequantize = [&](int64_t m, int64_t n, int64_t columns, const int32_t* acc) {
    kernels_.dequantize_acc({.acc = acc,
                             .n = columns,
                             .k = static_cast<int32_t>(weights.weight.cols),
                             .x_scale = x.scale[m],
                             .x_zero_point = x.zero_point[m],
                             .x_sum = x.sum[m],
                             .weight_scale = quant.scale.data() + n,
                             .weight_zero_point = quant.zero_point.empty() ? nullptr : quant.zero_point.data() + n,
                             .weight_sum = row_sum.data() + n,
                             .bias = weights.bias.empty() ? nullptr : weights.bias.data() + n,
                             .y = y.Row(m) + n});
  };
  if (linear.is_i4()) {
    linear.i4.ForProducts(gemm_i4_, x.i4, y.rows, share.begin, share.end, scratch, dequantize);
  } else {
    linear.s8.ForProducts(gemm_s8_, x.q.data(), x.sum.data(), y.rows, share.begin, share.end, scratch, dequantize);
  }
}

void CpuBackend::Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) {
  RunProducts();
  Buffer& y = Resize(out, step_rows());
  attention_.Run(layer, rows_,
                 {.q = buffers_[Index(q)].data.data(),
                  .k = buffers_[Index(k)].data.data(),
                  .v = buffers_[Index(v)].data.data(),
                  .out = y.data.data()},
                 pool_);
}

}  // namespace

Result<std::unique_ptr<Backend>> CreateCpuBackend(const ModelShape& shape, const CpuOptions& options) {
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions(options));
  return std::unique_ptr<Backend>(std::make_unique<CpuBackend>(shape, setup, options.kv_cache));
}

}  // namespace phidias
