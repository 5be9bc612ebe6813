#include <algorithm>
#include <atomic>
#include <new>
#include <utility>

#include "backend/cpu/column_shares.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/integer_attention.h"
#include "backend/cpu/matrix_i4.h"
#include "backend/cpu/matrix_s8.h"
#include "backend/cpu/parallel.h"
#include "backend/cpu/weight_memory.h"
#include "backend/integer_model.h"
#include "common/mapped_file.h"
#include "common/thread_pool.h"
#include "ref/decode_row.h"
#include "ref/integer_ops.h"
#include "ref/linear_s8.h"

namespace phidias {
namespace {

class CpuIntegerBackend final : public Backend {
 public:
  CpuIntegerBackend(const ModelShape& shape, const CpuSetup& setup, IntegerConstants constants)
      : shape_(shape),
        kernels_(setup.kernels->integer),
        gemm_s8_(*setup.gemm_s8),
        gemm_i4_(*setup.gemm_i4),
        isa_(setup.isa),
        weight_place_(setup.weights),
        constants_(std::move(constants)),
        pool_(setup.threads, cpu::EnterFloatMode, setup.cpus),
        attention_(shape, kernels_, setup.threads),
        scratch_(static_cast<size_t>(setup.threads)) {
    sources_.layers.resize(static_cast<size_t>(shape.n_layers));
  }

  std::string Describe() const override {
    return StrCat("cpu ", isa_, " integer, ", pool_.size(), pool_.size() == 1 ? " thread" : " threads");
  }

  Result<EmbeddingId> LoadEmbedding(const WeightMatrix& weight) override {
    sources_.embed_tokens = weight;
    return EmbeddingId{0};
  }
  Result<LinearId> LoadLinear(const LinearWeights& weights, LinearPlace place) override;
  Result<LayerNormId> LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) override;
  Status FinishLoading() override;

  Activation Allocate(std::string_view /*name*/, int64_t cols) override {
    buffers_.emplace_back().cols = cols;
    return Activation{static_cast<int32_t>(buffers_.size() - 1)};
  }
  Result<std::unique_ptr<KvStore>> AllocateKv(int64_t positions) override { return attention_.Allocate(positions); }

  Status BeginStep(std::span<const StepRow> rows) override;
  void Embed(EmbeddingId embedding, Activation out) override;
  void LayerNorm(LayerNormId norm, Activation in, Activation out) override;
  void Linear(LinearId linear, Activation in, Activation out) override;
  void Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) override;
  void Gelu(int64_t layer, Activation in, Activation out) override;
  void AddResidual(Activation attention, Activation mlp, Activation x) override;
  void GatherLogitRows(Activation in, Activation out) override;
  Status EndStep() override {
    RunProducts();
    return {};
  }
  int64_t saturated() const override { return saturated_.load(); }
  std::span<const float> Read(Activation activation) override;

 private:
  // What a buffer's integers stand for: real = step[col / cols_per_step] * (value - zero_point).
  struct Grid {
    std::vector<float> step;
    int64_t cols_per_step = 1;
    int32_t zero_point = 0;
  };
  // One activation. Integers are kept as int32, and as int8 too where a product reads them; logits as float.
  struct Buffer {
    int64_t cols = 0;
    int64_t rows = 0;
    std::vector<int32_t> s32;
    std::vector<int8_t> s8;
    std::vector<float> f32;  // logits, or what Read made
    Grid grid;
    bool is_float = false;
    bool is_s8 = false;
    // As the input of products, made when the first one asks: sum_k of each row, or for 4-bit weights.
    std::vector<int32_t> sum;
    bool has_sum = false;
    cpu::InputsI4 i4;
    bool has_i4 = false;
  };
  struct Scratch {
    cpu::GemmScratch gemm;
    std::vector<int32_t> head_acc;  // [2][kRowBlock, kGroupColumns]
  };

  Buffer& At(Activation activation) { return buffers_[static_cast<size_t>(activation)]; }
  int64_t step_rows() const { return static_cast<int64_t>(rows_.size()); }
  Buffer& Resize(Activation activation, int64_t rows);

  template <class Fn>
  void Parallel(int64_t count, int64_t grain, Fn&& fn) {
    cpu::ParallelFor(pool_, count, grain, std::forward<Fn>(fn));
  }

  // A layer's weights where products read them, and everything else about it.
  struct LoadedLinear {
    LinearPlace place;
    const IntegerLinear* constants = nullptr;  // null: lm_head
    cpu::MatrixS8 s8;                          // or
    cpu::MatrixI4 i4;

    bool is_i4() const { return constants->source->weight.dtype == DType::kI4; }
  };
  // A product that was asked for and isn't computed yet.
  struct Product {
    const LoadedLinear* linear = nullptr;
    Activation in{};
    Activation out{};
  };
  Status PlaceWeights(LoadedLinear& linear);
  Result<cpu::MatrixS8> CopyPlane(std::vector<int8_t>& plane, int64_t n, int64_t k);
  const IntegerLinear& LinearAt(LinearPlace place) const;
  Grid GridOf(LinearPlace place) const;
  void PrepareInput(const LoadedLinear& linear, Buffer& x);
  void RunProducts();
  void RunShare(const cpu::ColumnShare& share, cpu::GemmScratch& scratch);
  void Requantize(const IntegerLinear& c, int64_t n, int64_t columns, const int32_t* acc, int64_t row, Buffer& y) const;
  void LmHead(const Buffer& x, Buffer& y);
  void LmHeadGroup(int64_t n_begin, Scratch& scratch, Buffer& y);

  ModelShape shape_;
  const cpu::IntegerKernels& kernels_;
  const cpu::GemmS8& gemm_s8_;
  const cpu::GemmI4& gemm_i4_;
  std::string isa_;
  WeightPlace weight_place_;
  IntegerConstants constants_;
  IntegerSources sources_;
  std::unique_ptr<IntegerModel> model_;
  ThreadPool pool_;
  cpu::IntegerAttentionRunner attention_;
  std::vector<Scratch> scratch_;  // per thread
  cpu::WeightMemory weight_memory_;
  std::vector<LoadedLinear> linears_;
  cpu::MatrixS8 head_high_;  // lm_head's planes
  cpu::MatrixS8 head_low_;
  std::vector<int64_t> norms_;
  std::vector<Buffer> buffers_;
  // Layers' products wait here until an operation of another kind: q, k and v run together, and dense with fc1, so
  // that threads wait for each other, and for memory to begin, half as often.
  std::vector<Product> products_;
  std::vector<cpu::ProductSize> product_sizes_;
  std::vector<cpu::ColumnShare> shares_;
  std::vector<int8_t> head_planes_;  // lm_head's int16 input as two int8 planes [rows][2][hidden]
  std::vector<int32_t> head_sums_;   // their sums [rows][2]
  std::span<const StepRow> rows_;
  std::atomic<int64_t> saturated_{0};
};

Result<LinearId> CpuIntegerBackend::LoadLinear(const LinearWeights& weights, LinearPlace place) {
  if (place.role == LinearRole::kLmHead) {
    sources_.lm_head = &weights;
  } else {
    IntegerSources::Layer& layer = sources_.layers[static_cast<size_t>(place.layer)];
    switch (place.role) {
      case LinearRole::kQ: layer.q_proj = &weights; break;
      case LinearRole::kK: layer.k_proj = &weights; break;
      case LinearRole::kV: layer.v_proj = &weights; break;
      case LinearRole::kDense: layer.dense = &weights; break;
      case LinearRole::kFc1: layer.fc1 = &weights; break;
      default: layer.fc2 = &weights; break;
    }
  }
  linears_.push_back({.place = place, .constants = nullptr, .s8 = {}, .i4 = {}});
  return LinearId{static_cast<int32_t>(linears_.size() - 1)};
}

Status CpuIntegerBackend::PlaceWeights(LoadedLinear& linear) {
  const LinearWeights& source = *linear.constants->source;
  const WeightMatrix& w = source.weight;
  const bool in_file = weight_place_ == WeightPlace::kInFile;
  if (w.dtype == DType::kI4) {
    ASSIGN_OR_RETURN(linear.i4, in_file ? cpu::MatrixI4::InPlace(w, source.quant, gemm_i4_, pool_)
                                        : cpu::MatrixI4::Copy(w, source.quant, gemm_i4_, pool_, weight_memory_));
  } else {
    const auto* rows = reinterpret_cast<const int8_t*>(w.data);
    ASSIGN_OR_RETURN(linear.s8, in_file ? cpu::MatrixS8::InPlace(rows, w.rows, w.cols, pool_)
                                        : cpu::MatrixS8::Copy(rows, w.rows, w.cols, gemm_s8_, pool_, weight_memory_));
  }
  if (!in_file) {
    MappedFile::Release(w.data, static_cast<size_t>(w.rows * w.RowBytes()));
  }
  return {};
}

// lm_head's planes were just made, so they always move; each leaves its first place at once.
Result<cpu::MatrixS8> CpuIntegerBackend::CopyPlane(std::vector<int8_t>& plane, int64_t n, int64_t k) {
  ASSIGN_OR_RETURN(cpu::MatrixS8 copy, cpu::MatrixS8::Copy(plane.data(), n, k, gemm_s8_, pool_, weight_memory_));
  std::vector<int8_t>().swap(plane);
  return copy;
}

Status CpuIntegerBackend::FinishLoading() {
  ASSIGN_OR_RETURN(model_, BuildIntegerModel(shape_, sources_, constants_, pool_));
  for (LoadedLinear& linear : linears_) {
    if (linear.place.role != LinearRole::kLmHead) {
      linear.constants = &LinearAt(linear.place);
      RETURN_IF_ERROR(PlaceWeights(linear));
    }
  }
  IntegerHead& head = model_->lm_head;
  for (const auto& [plane, place] : {std::pair(&head.high, &head_high_), std::pair(&head.low, &head_low_)}) {
    if (!plane->empty()) {
      ASSIGN_OR_RETURN(*place, CopyPlane(*plane, head.n, head.k));
    }
  }
  return {};
}

Result<LayerNormId> CpuIntegerBackend::LoadLayerNorm(const LayerNormWeights& weights, int64_t layer) {
  if (layer == kFinalNorm) {
    sources_.final_layernorm = &weights;
  } else {
    sources_.layers[static_cast<size_t>(layer)].input_layernorm = &weights;
  }
  norms_.push_back(layer);
  return LayerNormId{static_cast<int32_t>(norms_.size() - 1)};
}

CpuIntegerBackend::Buffer& CpuIntegerBackend::Resize(Activation activation, int64_t rows) {
  Buffer& buffer = At(activation);
  buffer.rows = rows;
  buffer.is_s8 = false;
  buffer.is_float = false;
  buffer.has_sum = false;
  buffer.has_i4 = false;
  const auto needed = static_cast<size_t>(rows * buffer.cols);
  if (buffer.s32.size() < needed) {
    buffer.s32.resize(needed);
    buffer.s8.resize(needed);
  }
  return buffer;
}

Status CpuIntegerBackend::BeginStep(std::span<const StepRow> rows) {
  rows_ = rows;
  products_.clear();
  for (const StepRow& row : rows) {
    if (row.token < 0 || row.token >= shape_.vocab_size) {
      return InvalidArgument("token id ", row.token, " is outside the vocabulary of ", shape_.vocab_size);
    }
    if (row.kv == nullptr || row.pos < 0 || row.pos >= row.kv->capacity() || row.pos >= shape_.max_positions) {
      return ResourceExhausted("position ", row.pos, " is outside the context");
    }
  }
  return {};
}

void CpuIntegerBackend::Embed(EmbeddingId /*embedding*/, Activation out) {
  const WeightMatrix& weight = model_->embed_tokens;
  Buffer& y = Resize(out, step_rows());
  y.grid = {{static_cast<float>(1.0 / (1 << model_->residual_shift))}, y.cols, 0};
  std::vector<float> row(static_cast<size_t>(y.cols));
  for (int64_t m = 0; m < y.rows; ++m) {
    ref::DecodeRow(weight.dtype, weight.Row(rows_[m].token), y.cols, row.data());
    for (int64_t i = 0; i < y.cols; ++i) {
      y.s32[m * y.cols + i] = numerics::EmbedElement(row[i], model_->residual_shift);
    }
  }
}

void CpuIntegerBackend::LayerNorm(LayerNormId norm, Activation in, Activation out) {
  RunProducts();
  const int64_t layer = norms_[static_cast<size_t>(norm)];
  const bool final_norm = layer == kFinalNorm;
  const IntegerNorm& c = final_norm ? model_->final_layernorm : model_->layers[layer].input_layernorm;
  const ref::NormConstants constants = {.gain = c.gain.data(),
                                        .offset = c.offset.data(),
                                        .gain_shift = c.gain_shift,
                                        .eps_term = c.eps_term,
                                        .low = final_norm ? -32767 : -128,
                                        .high = final_norm ? 32767 : 127};
  const Buffer& x = At(in);
  Buffer& y = Resize(out, x.rows);
  Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    for (int64_t m = begin; m < end; ++m) {
      int32_t* row = y.s32.data() + m * y.cols;
      kernels_.layer_norm(x.s32.data() + m * x.cols, x.cols, constants, row);
      std::transform(row, row + y.cols, y.s8.data() + m * y.cols, [](int32_t v) { return static_cast<int8_t>(v); });
    }
  });
  if (final_norm) {
    y.grid = {{model_->final_norm_scale}, y.cols, 0};
  } else {
    const InputQuant& input = sources_.layers[layer].q_proj->input;
    y.grid = {{input.scale}, y.cols, input.zero_point};
  }
}

const IntegerLinear& CpuIntegerBackend::LinearAt(LinearPlace place) const {
  const IntegerLayer& layer = model_->layers[static_cast<size_t>(place.layer)];
  switch (place.role) {
    case LinearRole::kQ: return layer.q_proj;
    case LinearRole::kK: return layer.k_proj;
    case LinearRole::kV: return layer.v_proj;
    case LinearRole::kDense: return layer.dense;
    case LinearRole::kFc1: return layer.fc1;
    default: return layer.fc2;
  }
}

CpuIntegerBackend::Grid CpuIntegerBackend::GridOf(LinearPlace place) const {
  const IntegerLayerConstants& constants = constants_.layers[static_cast<size_t>(place.layer)];
  const auto heads = [&](const std::vector<float>& scale, float factor) {
    Grid grid{scale, shape_.head_dim, 0};
    for (float& step : grid.step) {
      step *= factor;
    }
    return grid;
  };
  const float guard = 1.0F / static_cast<float>(1 << numerics::kRotaryGuardBits);
  switch (place.role) {
    case LinearRole::kQ: return heads(constants.q_scale, guard);
    case LinearRole::kK: return heads(constants.k_scale, guard);
    case LinearRole::kV: return heads(constants.v_scale, 1.0F);
    case LinearRole::kFc1: return {{constants.fc1_scale}, shape_.intermediate_size, constants.fc1_zero_point};
    default: return {{1.0F / static_cast<float>(1 << model_->residual_shift)}, shape_.hidden_size, 0};
  }
}

void CpuIntegerBackend::Linear(LinearId id, Activation in, Activation out) {
  const LoadedLinear& linear = linears_[static_cast<size_t>(id)];
  const auto touched = [&](const Product& product) {
    return product.out == in || product.out == out || product.in == out;
  };
  if (linear.constants == nullptr || std::any_of(products_.begin(), products_.end(), touched)) {
    RunProducts();
  }
  Buffer& x = At(in);
  Buffer& y = Resize(out, x.rows);
  if (linear.constants == nullptr) {
    LmHead(x, y);
    return;
  }
  y.grid = GridOf(linear.place);
  PrepareInput(linear, x);
  products_.push_back({&linear, in, out});
}

void CpuIntegerBackend::PrepareInput(const LoadedLinear& linear, Buffer& x) {
  if (linear.is_i4() && !x.has_i4) {
    x.i4.Resize(linear.i4.shape(), x.rows);
    Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
      x.i4.Fill(linear.i4.shape(), x.s8.data(), begin, end);
    });
    x.has_i4 = true;
  } else if (!linear.is_i4() && !x.has_sum) {
    x.sum.resize(static_cast<size_t>(x.rows));
    cpu::RowSumsS8(x.s8.data(), x.rows, x.cols, x.sum.data());
    x.has_sum = true;
  }
}

void CpuIntegerBackend::RunProducts() {
  if (products_.empty()) {
    return;
  }
  product_sizes_.clear();
  for (const Product& product : products_) {
    product_sizes_.push_back({product.linear->constants->n, product.linear->constants->k});
  }
  cpu::CutColumns(product_sizes_, pool_.size(), &shares_);
  cpu::ForShares(pool_, shares_, [&](const cpu::ColumnShare& share, int thread) {
    RunShare(share, scratch_[static_cast<size_t>(thread)].gemm);
  });
  products_.clear();
}

void CpuIntegerBackend::RunShare(const cpu::ColumnShare& share, cpu::GemmScratch& scratch) {
  const Product& product = products_[static_cast<size_t>(share.product)];
  const LoadedLinear& linear = *product.linear;
  const Buffer& x = At(product.in);
  Buffer& y = At(product.out);
  const auto requantize = [&](int64_t m, int64_t n, int64_t columns, const int32_t* acc) {
    Requantize(*linear.constants, n, columns, acc, m, y);
  };
  if (linear.is_i4()) {
    linear.i4.ForProducts(gemm_i4_, x.i4, x.rows, share.begin, share.end, scratch, requantize);
  } else {
    linear.s8.ForProducts(gemm_s8_, x.s8.data(), x.sum.data(), x.rows, share.begin, share.end, scratch, requantize);
  }
}

// Sums of columns [n, n + columns) to a row of integers.
void CpuIntegerBackend::Requantize(const IntegerLinear& c, int64_t n, int64_t columns, const int32_t* acc, int64_t row,
                                   Buffer& y) const {
  const ref::RequantizeConstants constants = {.bias = c.bias.data() + n,
                                              .multiplier = c.multiplier.data() + n,
                                              .shift = c.shift.data() + n,
                                              .zero_point = c.zero_point,
                                              .low = c.low,
                                              .high = c.high};
  int32_t* const out = y.s32.data() + row * y.cols + n;
  kernels_.requantize_row(acc, columns, constants, out);
  std::transform(out, out + columns, y.s8.data() + row * y.cols + n, [](int32_t v) { return static_cast<int8_t>(v); });
}

void CpuIntegerBackend::LmHead(const Buffer& x, Buffer& y) {
  y.is_float = true;
  const auto elements = static_cast<size_t>(x.rows * x.cols);
  y.f32.resize(std::max(y.f32.size(), static_cast<size_t>(y.rows * y.cols)));
  head_planes_.resize(std::max(head_planes_.size(), 2 * elements));
  for (int64_t m = 0; m < x.rows; ++m) {
    const int32_t* const row = x.s32.data() + m * x.cols;
    int8_t* const planes = head_planes_.data() + 2 * m * x.cols;
    for (int64_t i = 0; i < x.cols; ++i) {
      planes[i] = static_cast<int8_t>(numerics::HighPlane(row[i]));
      planes[x.cols + i] = static_cast<int8_t>(numerics::LowPlane(row[i]));
    }
  }
  head_sums_.resize(static_cast<size_t>(2 * x.rows));
  cpu::RowSumsS8(head_planes_.data(), 2 * x.rows, x.cols, head_sums_.data());
  product_sizes_.assign(1, {y.cols, x.cols});
  cpu::CutColumns(product_sizes_, pool_.size(), &shares_);
  cpu::ForShares(pool_, shares_, [&](const cpu::ColumnShare& share, int thread) {
    for (int64_t n = share.begin; n < share.end; n += cpu::kGroupColumns) {
      LmHeadGroup(n, scratch_[static_cast<size_t>(thread)], y);
    }
  });
}

// x = 256 * xh + xl + 128 and w = 256 * wh + wl + 128 (or w = wh): the product of sums in int8 products, exact in
// int64. Both planes of x are rows of one product, so that weights are read once.
void CpuIntegerBackend::LmHeadGroup(int64_t n_begin, Scratch& scratch, Buffer& y) {
  const IntegerHead& head = model_->lm_head;
  const bool two_planes = head_low_.n() > 0;
  constexpr int64_t kBlock = cpu::kRowBlock * cpu::kGroupColumns;
  scratch.head_acc.resize(static_cast<size_t>(2 * kBlock));
  const cpu::GroupS8 high = head_high_.Group(gemm_s8_, n_begin, 2 * y.rows, scratch.gemm.packed);
  const cpu::GroupS8 low =
      two_planes ? head_low_.Group(gemm_s8_, n_begin, 2 * y.rows, scratch.gemm.packed2) : cpu::GroupS8{};
  const int64_t columns = high.columns;
  for (int64_t m0 = 0; m0 < y.rows; m0 += cpu::kRowBlock / 2) {
    const int64_t rows = std::min(cpu::kRowBlock / 2, y.rows - m0);
    const int32_t* const sums = head_sums_.data() + 2 * m0;
    const auto product = [&](const cpu::GroupS8& group, int32_t* acc) {
      cpu::MultiplyS8(gemm_s8_, group, head_planes_.data() + 2 * m0 * head.k, sums, 2 * rows, acc);
      return acc;
    };
    const int32_t* const by_high = product(high, scratch.head_acc.data());
    const int32_t* const by_low = two_planes ? product(low, scratch.head_acc.data() + kBlock) : nullptr;
    for (int64_t m = 0; m < rows; ++m) {
      const int64_t x_sum = int64_t{256} * sums[2 * m] + sums[2 * m + 1] + int64_t{128} * head.k;
      for (int64_t i = 0; i < columns; ++i) {
        const int64_t n = n_begin + i;
        const int64_t at = 2 * m * cpu::kGroupColumns + i;  // by x's upper plane; by the lower one kGroupColumns later
        int64_t acc = int64_t{256} * by_high[at] + by_high[at + cpu::kGroupColumns] + int64_t{128} * head.high_sum[n];
        if (two_planes) {
          acc = 256 * acc + int64_t{256} * by_low[at] + by_low[at + cpu::kGroupColumns] +
                int64_t{128} * head.low_sum[n] + 128 * x_sum;
        }
        y.f32[(m0 + m) * y.cols + n] = numerics::Logit(acc, head.bias[n], head.scale[n]);
      }
    }
  }
}

void CpuIntegerBackend::Attention(int64_t layer, Activation q, Activation k, Activation v, Activation out) {
  RunProducts();
  Buffer& y = Resize(out, step_rows());
  y.is_s8 = true;
  const InputQuant& input = sources_.layers[layer].dense->input;
  y.grid = {{input.scale}, y.cols, input.zero_point};
  attention_.Run(*model_, layer, rows_,
                 {.q = At(q).s32.data(), .k = At(k).s32.data(), .v = At(v).s8.data(), .out = y.s8.data()}, pool_);
}

void CpuIntegerBackend::Gelu(int64_t index, Activation in, Activation out) {
  RunProducts();
  const Buffer& x = At(in);
  Buffer& y = Resize(out, x.rows);
  y.is_s8 = true;
  const IntegerLayer& layer = model_->layers[static_cast<size_t>(index)];
  const InputQuant& input = sources_.layers[static_cast<size_t>(index)].fc2->input;
  y.grid = {{input.scale}, y.cols, input.zero_point};
  Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    const int64_t at = begin * x.cols;
    kernels_.gelu(layer.gelu_table, x.s32.data() + at, (end - begin) * x.cols, y.s8.data() + at);
  });
}

void CpuIntegerBackend::AddResidual(Activation attention, Activation mlp, Activation x_id) {
  RunProducts();
  const Buffer& a = At(attention);
  const Buffer& f = At(mlp);
  Buffer& x = At(x_id);
  Parallel(x.rows, 1, [&](int64_t begin, int64_t end, int /*thread*/) {
    const int64_t at = begin * x.cols;
    saturated_ +=
        kernels_.add_residual(a.s32.data() + at, f.s32.data() + at, (end - begin) * x.cols, x.s32.data() + at);
  });
}

void CpuIntegerBackend::GatherLogitRows(Activation in, Activation out) {
  RunProducts();
  const auto wanted = std::count_if(rows_.begin(), rows_.end(), [](const StepRow& row) { return row.wants_logits; });
  Buffer& y = Resize(out, wanted);
  const Buffer& x = At(in);
  int64_t to = 0;
  for (int64_t m = 0; m < step_rows(); ++m) {
    if (rows_[m].wants_logits) {
      std::copy_n(x.s32.data() + m * x.cols, x.cols, y.s32.data() + x.cols * to++);
    }
  }
  y.grid = x.grid;
}

std::span<const float> CpuIntegerBackend::Read(Activation activation) {
  RunProducts();
  Buffer& buffer = At(activation);
  const auto elements = static_cast<size_t>(buffer.rows * buffer.cols);
  if (!buffer.is_float) {
    buffer.f32.resize(std::max(buffer.f32.size(), elements));
    for (size_t i = 0; i < elements; ++i) {
      const auto col = static_cast<int64_t>(i) % buffer.cols;
      const int32_t value = buffer.is_s8 ? buffer.s8[i] : buffer.s32[i];
      buffer.f32[i] = static_cast<float>(value - buffer.grid.zero_point) *
                      buffer.grid.step[static_cast<size_t>(col / buffer.grid.cols_per_step)];
    }
  }
  return {buffer.f32.data(), elements};
}

}  // namespace

Result<std::unique_ptr<Backend>> CreateIntegerCpuBackend(const ModelShape& shape, const CpuOptions& options,
                                                         const IntegerConstants& constants) {
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions(options));
  return std::unique_ptr<Backend>(std::make_unique<CpuIntegerBackend>(shape, setup, constants));
}

}  // namespace phidias
