#pragma once

#include <cstdint>

// The constants of the FPGA design `report`: one place for the kernels, the host's placement and packing, the link file
// and the timing model. C++14 without a library, as the kernels are. How bytes lie in memory: hls/layout.h. The
// kernels' tops: hls/kernels.h.
namespace phidias {
namespace hls {

// --- words ---

static constexpr int kWordBits = 512;  // of every m_axi port and stream that isn't an ablation: a beat
static constexpr int kWordBytes = kWordBits / 8;
static constexpr int kWordFloats = kWordBytes / 4;
static constexpr int kMaxBurst = 64;            // beats: 4 KiB, the most that AXI allows
static constexpr int kOutstandingReads = 16;    // bursts in flight a port; literal in the tops' pragmas
static constexpr int kGroupRows = kWordFloats;  // outputs that leave a kernel in one beat

// --- sizes that on-chip buffers are made for; a host refuses a model that exceeds one ---

static constexpr int kMaxInputs = 16384;     // K of linear_s8: numerics/quantize.h bounds the int32 sums to this
static constexpr int kMaxHidden = 8192;      // K of lm_head, elements of a layernorm
static constexpr int kMinHeadDim = 32;       // fewer would come round too soon for the adders (attention.cc)
static constexpr int kMaxHeadDim = 128;      // a multiple of kWordFloats
static constexpr int kMaxPositions = 2048;   // scores of one head
static constexpr int kMaxKvElements = 8192;  // n_kv_heads * head_dim

// --- latencies that decide how sums are interleaved (Vitis HLS 2023.1, UltraScale+, about 300 MHz) ---

static constexpr int kFaddLatency = 7;  // cycles from one float addition to the next that needs its result

// --- stream depths, in elements ---

static constexpr int kMemoryFifoDepth = 512;  // behind a reader: 512 x 512 bit, 8 BRAM36, eight bursts
static constexpr int kStageFifoDepth = 32;    // between arithmetic stages: distributed RAM

// One linear_s8 kernel: the report's table 6.
struct LinearDesign {
  int banks;           // HBM ports that the weights are split over, along K
  int port_bits;       // 8 or 512
  int units_per_bank;  // multiply-add units behind each port
  int interval;        // cycles from one step of a unit to the next (II)
};

static constexpr LinearDesign kLinearB1W8 = {1, 8, 1, 2};
static constexpr LinearDesign kLinearB4W8 = {4, 8, 1, 2};
static constexpr LinearDesign kLinearB1W512 = {1, 512, 2, 1};
static constexpr LinearDesign kLinearB4W512 = {4, 512, 2, 1};

static constexpr int kLmHeadBanks = 4;
static constexpr int kAttentionUnits = 4;  // multiply-add units for the scores, and as many for the weighted values
static constexpr int kScorePositions = 2;  // positions whose scores are summed side by side
static constexpr int kColumnInterval = 2;  // cycles a step of the weighted values takes when V is read by column
static constexpr int kGeluUnits = 2;

// --- kernels and their arguments ---

enum class ArgKind : uint8_t {
  kRead,       // m_axi, only read
  kWrite,      // m_axi, only written
  kUpdate,     // m_axi, read and written
  kScalar,     // s_axilite register
  kStreamIn,   // axis, from another compute unit
  kStreamOut,  // axis, to another compute unit
};

// One argument of a top, in the order of its parameters. tools/check_hls.py compares these rows with the sources.
struct KernelArg {
  const char* name;
  const char* type;    // "ap_uint<512>*", "int8_t*", "int32_t", "float"
  const char* bundle;  // m_axi bundle; "" for a scalar
  ArgKind kind;
};

struct KernelDesign {
  const char* name;
  const char* source;  // the file that holds the top, within src/hls
  const KernelArg* args;
  int arg_count;
};

static constexpr KernelArg kLinearS8B4W512Args[] = {
    {"w0", "ap_uint<512>*", "gmem_w0", ArgKind::kRead},
    {"w1", "ap_uint<512>*", "gmem_w1", ArgKind::kRead},
    {"w2", "ap_uint<512>*", "gmem_w2", ArgKind::kRead},
    {"w3", "ap_uint<512>*", "gmem_w3", ArgKind::kRead},
    {"constants", "ap_uint<512>*", "gmem_c", ArgKind::kRead},
    {"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead},
    {"y", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"n", "int32_t", "", ArgKind::kScalar},
    {"k", "int32_t", "", ArgKind::kScalar},
    {"inv_scale", "float", "", ArgKind::kScalar},
    {"scale", "float", "", ArgKind::kScalar},
    {"zero_point", "int32_t", "", ArgKind::kScalar},
};
static constexpr KernelArg kLinearS8B1W512Args[] = {
    {"w0", "ap_uint<512>*", "gmem_w0", ArgKind::kRead},
    {"constants", "ap_uint<512>*", "gmem_c", ArgKind::kRead},
    {"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead},
    {"y", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"n", "int32_t", "", ArgKind::kScalar},
    {"k", "int32_t", "", ArgKind::kScalar},
    {"inv_scale", "float", "", ArgKind::kScalar},
    {"scale", "float", "", ArgKind::kScalar},
    {"zero_point", "int32_t", "", ArgKind::kScalar},
};
static constexpr KernelArg kLinearS8B4W8Args[] = {
    {"w0", "int8_t*", "gmem_w0", ArgKind::kRead},
    {"w1", "int8_t*", "gmem_w1", ArgKind::kRead},
    {"w2", "int8_t*", "gmem_w2", ArgKind::kRead},
    {"w3", "int8_t*", "gmem_w3", ArgKind::kRead},
    {"constants", "ap_uint<512>*", "gmem_c", ArgKind::kRead},
    {"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead},
    {"y", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"n", "int32_t", "", ArgKind::kScalar},
    {"k", "int32_t", "", ArgKind::kScalar},
    {"inv_scale", "float", "", ArgKind::kScalar},
    {"scale", "float", "", ArgKind::kScalar},
    {"zero_point", "int32_t", "", ArgKind::kScalar},
};
static constexpr KernelArg kLinearS8B1W8Args[] = {
    {"w0", "int8_t*", "gmem_w0", ArgKind::kRead},     {"constants", "ap_uint<512>*", "gmem_c", ArgKind::kRead},
    {"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead}, {"y", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"n", "int32_t", "", ArgKind::kScalar},           {"k", "int32_t", "", ArgKind::kScalar},
    {"inv_scale", "float", "", ArgKind::kScalar},     {"scale", "float", "", ArgKind::kScalar},
    {"zero_point", "int32_t", "", ArgKind::kScalar},
};
static constexpr KernelArg kLmHeadArgs[] = {
    {"w0", "ap_uint<512>*", "gmem_w0", ArgKind::kRead},
    {"w1", "ap_uint<512>*", "gmem_w1", ArgKind::kRead},
    {"w2", "ap_uint<512>*", "gmem_w2", ArgKind::kRead},
    {"w3", "ap_uint<512>*", "gmem_w3", ArgKind::kRead},
    {"bias", "ap_uint<512>*", "gmem_c", ArgKind::kRead},
    {"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead},
    {"logits", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"n", "int32_t", "", ArgKind::kScalar},
    {"k", "int32_t", "", ArgKind::kScalar},
};
static constexpr KernelArg kAttentionArgs[] = {
    {"q", "ap_uint<512>*", "gmem_q", ArgKind::kRead},
    {"k", "ap_uint<512>*", "gmem_k", ArgKind::kRead},
    {"v", "ap_uint<512>*", "gmem_v", ArgKind::kRead},
    {"rotary", "ap_uint<512>*", "gmem_r", ArgKind::kRead},
    {"k_cache", "ap_uint<512>*", "gmem_kc", ArgKind::kUpdate},
    {"v_cache", "ap_uint<512>*", "gmem_vc", ArgKind::kUpdate},
    {"out", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"pos", "int32_t", "", ArgKind::kScalar},
    {"capacity", "int32_t", "", ArgKind::kScalar},
    {"n_heads", "int32_t", "", ArgKind::kScalar},
    {"n_kv_heads", "int32_t", "", ArgKind::kScalar},
    {"head_dim", "int32_t", "", ArgKind::kScalar},
    {"rotary_dim", "int32_t", "", ArgKind::kScalar},
    {"scale", "float", "", ArgKind::kScalar},
};
static constexpr KernelArg kLayerNormArgs[] = {
    {"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead},
    {"constants", "ap_uint<512>*", "gmem_c", ArgKind::kRead},
    {"y", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"n", "int32_t", "", ArgKind::kScalar},
    {"eps", "float", "", ArgKind::kScalar},
};
static constexpr KernelArg kGeluArgs[] = {
    {"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead},
    {"y", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"n", "int32_t", "", ArgKind::kScalar},
};
static constexpr KernelArg kResidualArgs[] = {
    {"att", "ap_uint<512>*", "gmem_a", ArgKind::kRead},
    {"mlp", "ap_uint<512>*", "gmem_m", ArgKind::kRead},
    {"x", "ap_uint<512>*", "gmem_x", ArgKind::kRead},
    {"y", "ap_uint<512>*", "gmem_y", ArgKind::kWrite},
    {"n", "int32_t", "", ArgKind::kScalar},
};

template <int kCount>
constexpr KernelDesign MakeKernel(const char* name, const char* source, const KernelArg (&args)[kCount]) {
  return {name, source, args, kCount};
}

// Every top that hls/kernels.h declares.
static constexpr KernelDesign kKernels[] = {
    MakeKernel("linear_s8_b1w8", "linear_s8.cc", kLinearS8B1W8Args),
    MakeKernel("linear_s8_b4w8", "linear_s8.cc", kLinearS8B4W8Args),
    MakeKernel("linear_s8_b1w512", "linear_s8.cc", kLinearS8B1W512Args),
    MakeKernel("linear_s8_b4w512", "linear_s8.cc", kLinearS8B4W512Args),
    MakeKernel("lm_head_f16", "lm_head.cc", kLmHeadArgs),
    MakeKernel("lm_head_bf16", "lm_head.cc", kLmHeadArgs),
    MakeKernel("lm_head_f32", "lm_head.cc", kLmHeadArgs),
    MakeKernel("attention", "attention.cc", kAttentionArgs),
    MakeKernel("attention_by_column", "attention.cc", kAttentionArgs),
    MakeKernel("layernorm", "layernorm.cc", kLayerNormArgs),
    MakeKernel("gelu", "gelu.cc", kGeluArgs),
    MakeKernel("residual", "residual.cc", kResidualArgs),
};
static constexpr int kKernelCount = static_cast<int>(sizeof(kKernels) / sizeof(kKernels[0]));

// --- the design ---

// A compute unit: an instance of a kernel on the card.
struct ComputeUnit {
  const char* name;
  const char* kernel;
};

struct DesignPoint {
  const char* name;
  const char* platform;  // Vitis platform that the link file is for
  int kernel_mhz;
  LinearDesign linear;
  int lm_head_banks;
  int hbm_banks;           // pseudo channels
  int64_t hbm_bank_bytes;  //
  int hbm_masters;         // most m_axi masters that HBM takes
  int64_t max_positions;   // of the attention kernel
  const ComputeUnit* units;
  int unit_count;
};

// `lm_head` stands for the variant of the checkpoint's weight type: lm_head_f16, lm_head_bf16 or lm_head_f32.
static constexpr ComputeUnit kReportUnits[] = {
    {"q", "linear_s8_b4w512"},   {"k", "linear_s8_b4w512"},   {"v", "linear_s8_b4w512"},
    {"fc1", "linear_s8_b4w512"}, {"fc2", "linear_s8_b4w512"}, {"lm_head", "lm_head_f16"},
    {"attention", "attention"},  {"layernorm", "layernorm"},  {"gelu", "gelu"},
    {"residual", "residual"},
};

static constexpr DesignPoint kReportDesign = {
    "report",
    "xilinx_u280_gen3x16_xdma_1_202211_1",
    300,
    kLinearB4W512,
    kLmHeadBanks,
    32,
    int64_t{256} << 20,
    32,
    kMaxPositions,
    kReportUnits,
    static_cast<int>(sizeof(kReportUnits) / sizeof(kReportUnits[0])),
};

}  // namespace hls
}  // namespace phidias
