#include "backend/fpga/placement.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

#include "hls/layout.h"
#include "hls/tiled_design.h"

namespace phidias::fpga {
namespace {

constexpr const hls::DesignPoint* kDesigns[] = {&hls::kReportDesign};

// On-chip banks of region 0, where every unit lies: HBM, DDR[0] and both of these are reached without crossing.
constexpr int kAttentionPlram = 0;  // x, LayerNorm's output, attention's vectors, fc2's output
constexpr int kMlpPlram = 1;        // fc1's output and its gelu
constexpr int kAllInRegion = 0;

constexpr LinearRole kLayerRoles[] = {LinearRole::kQ,     LinearRole::kK,   LinearRole::kV,
                                      LinearRole::kDense, LinearRole::kFc1, LinearRole::kFc2};

struct WiredUnit {
  std::string_view unit;
  int first_bank;  // of its weights in HBM
};
// 20 banks for the linear units, which run side by side; keys and values have three each (Phi-2's 2,048 positions need
// 2.5); six stay free. lm_head runs when nothing else does, and takes the banks that k leaves half empty.
constexpr WiredUnit kWeightBanks[] = {{"q", 0}, {"k", 4}, {"v", 8}, {"fc1", 12}, {"fc2", 16}, {"lm_head", 4}};
constexpr int kFirstKeyBank = 20;
constexpr int kKvBanks = 3;

int64_t AlignUp(int64_t bytes) {
  return hls::CeilDiv(bytes, kItemAlignment) * kItemAlignment;
}

struct LinearShape {
  int64_t n = 0;
  int64_t k = 0;
};
LinearShape ShapeOfLinear(const ModelShape& shape, LinearRole role) {
  const int64_t heads = shape.n_heads * shape.head_dim;
  const int64_t kv = shape.n_kv_heads * shape.head_dim;
  switch (role) {
    case LinearRole::kQ: return {heads, shape.hidden_size};
    case LinearRole::kK:
    case LinearRole::kV: return {kv, shape.hidden_size};
    case LinearRole::kDense: return {shape.hidden_size, heads};
    case LinearRole::kFc1: return {shape.intermediate_size, shape.hidden_size};
    case LinearRole::kFc2: return {shape.hidden_size, shape.intermediate_size};
    case LinearRole::kLmHead: break;
  }
  return {shape.vocab_size, shape.hidden_size};
}

std::string LmHeadKernel(LmHeadType type) {
  return "lm_head_" + std::string(LmHeadTypeName(type));
}

void Wire(std::string_view unit, const char* argument, const char* memory, int first, int last, LinkFile* link) {
  link->ports.push_back({std::string(unit), argument, {memory, first, last}});
}

void WireMatrixUnit(std::string_view unit, int first_bank, int banks, LinkFile* link) {
  for (int slice = 0; slice < banks; ++slice) {
    link->ports.push_back({std::string(unit), StrCat("w", slice), {"HBM", first_bank + slice, first_bank + slice}});
  }
  if (unit == "lm_head") {
    Wire(unit, "bias", "DDR", 0, 0, link);
    Wire(unit, "x", "PLRAM", kAttentionPlram, kAttentionPlram, link);
    Wire(unit, "logits", "DDR", 0, 0, link);
    return;
  }
  const int in = unit == "fc2" ? kMlpPlram : kAttentionPlram;
  const int out = unit == "fc1" ? kMlpPlram : kAttentionPlram;
  Wire(unit, "constants", "DDR", 0, 0, link);
  Wire(unit, "x", "PLRAM", in, in, link);
  Wire(unit, "y", "PLRAM", out, out, link);
}

void WireAttention(LinkFile* link) {
  for (const char* argument : {"q", "k", "v"}) {
    Wire("attention", argument, "PLRAM", kAttentionPlram, kAttentionPlram, link);
  }
  Wire("attention", "rotary", "DDR", 0, 0, link);
  Wire("attention", "k_cache", "HBM", kFirstKeyBank, kFirstKeyBank + kKvBanks - 1, link);
  Wire("attention", "v_cache", "HBM", kFirstKeyBank + kKvBanks, kFirstKeyBank + 2 * kKvBanks - 1, link);
  Wire("attention", "out", "PLRAM", kAttentionPlram, kAttentionPlram, link);
}

// Sizes that the kernels' on-chip buffers limit.
Status CheckKernelLimits(const ModelShape& shape) {
  struct Limit {
    const char* what;
    int64_t value;
    int64_t most;
  };
  const int64_t heads = shape.n_heads * shape.head_dim;
  const int64_t kv = shape.n_kv_heads * shape.head_dim;
  const Limit limits[] = {{"hidden_size", shape.hidden_size, hls::kMaxHidden},
                          {"n_heads * head_dim", heads, hls::kMaxInputs},
                          {"intermediate_size", shape.intermediate_size, hls::kMaxInputs},
                          {"head_dim", shape.head_dim, hls::kMaxHeadDim},
                          {"n_kv_heads * head_dim", kv, hls::kMaxKvElements}};
  for (const Limit& limit : limits) {
    if (limit.value > limit.most) {
      return ResourceExhausted(limit.what, " is ", limit.value, ", and the kernels' buffers on the chip hold ",
                               limit.most, ": ", limit.value - limit.most, " too many; run it with --device cpu");
    }
  }
  if (shape.head_dim % hls::kWordFloats != 0) {
    return Unsupported("head_dim is ", shape.head_dim, ": the attention kernel takes multiples of ", hls::kWordFloats,
                       "; leave attention to the host with --host-ops attention");
  }
  return {};
}

// Lays out what is packed: item by item, segment by segment.
class Packing {
 public:
  explicit Packing(HbmPlacement* placement) : placement_(*placement) {}

  void Run(const PlacementOptions& options) {
    const auto present = [&options](LinearRole role) {
      return std::find(options.absent.begin(), options.absent.end(), role) == options.absent.end();
    };
    for (int64_t layer = 0; layer < placement_.shape.n_layers; ++layer) {
      AddNorm(layer);
      for (const LinearRole role : kLayerRoles) {
        if (present(role)) {
          AddLinear(role, layer);
        }
      }
    }
    AddNorm(kFinalNorm);
    if (present(LinearRole::kLmHead)) {
      AddLmHead();
    }
    Add({.kind = ItemKind::kRotaryTable}, "attention", "rotary",
        placement_.rotary_positions() * hls::RotaryRowBytes(placement_.shape.rotary_dim));
    SortBySegment();
  }

 private:
  void Add(PlacedItem item, std::string_view unit, std::string_view argument, int64_t bytes) {
    const BankRange& banks = *PortBanks(placement_.link, unit, argument);
    const auto [found, fresh] = segment_of_.try_emplace({banks.memory, banks.first}, placement_.segments.size());
    if (fresh) {
      placement_.segments.push_back({banks.memory, banks.first, 0});
    }
    item.segment = static_cast<int>(found->second);
    item.offset = placement_.segments[found->second].bytes;
    item.bytes = std::max<int64_t>(bytes, hls::kWordBytes);  // a port's buffer is never empty
    placement_.segments[found->second].bytes += AlignUp(item.bytes);
    placement_.items.push_back(item);
  }

  void AddNorm(int64_t layer) {
    Add({.kind = ItemKind::kNormConstants, .layer = layer}, "layernorm", "constants",
        hls::NormConstantsBytes(placement_.shape.hidden_size));
  }

  void AddLinear(LinearRole role, int64_t layer) {
    const LinearShape linear = ShapeOfLinear(placement_.shape, role);
    const int banks = placement_.design->linear.banks;
    for (int slice = 0; slice < banks; ++slice) {
      Add({.kind = ItemKind::kLinearSlice, .role = role, .layer = layer, .slice = slice}, UnitOf(role),
          StrCat("w", slice), hls::LinearBankBytes(linear.n, linear.k, banks));
    }
    Add({.kind = ItemKind::kLinearConstants, .role = role, .layer = layer}, UnitOf(role), "constants",
        hls::LinearConstantsBytes(linear.n));
  }

  void AddLmHead() {
    const ModelShape& shape = placement_.shape;
    const int banks = placement_.design->lm_head_banks;
    for (int slice = 0; slice < banks; ++slice) {
      Add({.kind = ItemKind::kLmHeadSlice, .slice = slice}, "lm_head", StrCat("w", slice),
          hls::LmHeadBankBytes(shape.vocab_size, shape.hidden_size, LmHeadElementBytes(placement_.lm_head), banks,
                               slice));
    }
    Add({.kind = ItemKind::kLmHeadBias}, "lm_head", "bias", hls::VectorBytes(shape.vocab_size));
  }

  // Segments by memory and bank (DDR before HBM), items within.
  void SortBySegment() {
    std::vector<int> order;
    std::vector<Segment> segments;
    order.resize(placement_.segments.size());
    for (const auto& [key, index] : segment_of_) {
      order[index] = static_cast<int>(segments.size());
      segments.push_back(placement_.segments[index]);
    }
    placement_.segments = std::move(segments);
    for (PlacedItem& item : placement_.items) {
      item.segment = order[static_cast<size_t>(item.segment)];
    }
    std::sort(placement_.items.begin(), placement_.items.end(), [](const PlacedItem& a, const PlacedItem& b) {
      return std::tie(a.segment, a.offset) < std::tie(b.segment, b.offset);
    });
  }

  HbmPlacement& placement_;
  std::map<std::pair<std::string, int>, size_t> segment_of_;  // memory and bank
};

const char* HoldsOf(const PlacedItem& item) {
  switch (item.kind) {
    case ItemKind::kLinearSlice:
      switch (item.role) {
        case LinearRole::kQ: return "q";
        case LinearRole::kK: return "k";
        case LinearRole::kV: return "v";
        case LinearRole::kDense: return "dense";
        case LinearRole::kFc1: return "fc1";
        case LinearRole::kFc2: return "fc2";
        case LinearRole::kLmHead: break;
      }
      return "";
    case ItemKind::kLinearConstants: return "scales";
    case ItemKind::kNormConstants: return "norms";
    case ItemKind::kLmHeadSlice: return "lm_head";
    case ItemKind::kLmHeadBias: return "biases";
    case ItemKind::kRotaryTable: return "rotary table";
  }
  return "";
}

void AppendWord(std::string_view word, std::string* list) {
  if ((", " + *list + ",").find(StrCat(", ", word, ",")) == std::string::npos) {
    *list += StrCat(list->empty() ? "" : ", ", word);
  }
}

// Fills HbmPlacement::banks and checks that each bank holds what it is to hold.
class BankTable {
 public:
  explicit BankTable(HbmPlacement* placement) : placement_(*placement), card_(*FindCard(placement->design->platform)) {}

  Status Run() {
    for (const LinkPort& port : placement_.link.ports) {
      for (int bank = port.banks.first; bank <= port.banks.last; ++bank) {
        std::vector<std::string>& units = Use(port.banks.memory, bank).units;
        if (std::find(units.begin(), units.end(), port.unit) == units.end()) {
          units.push_back(port.unit);
        }
      }
    }
    for (const PlacedItem& item : placement_.items) {
      const Segment& segment = placement_.segments[static_cast<size_t>(item.segment)];
      BankUse& use = Use(segment.memory, segment.bank);
      use.weights += AlignUp(item.bytes);
      AppendWord(HoldsOf(item), &use.holds);
    }
    AddActivations();
    RETURN_IF_ERROR(AddKv("k_cache", "keys"));
    RETURN_IF_ERROR(AddKv("v_cache", "values"));
    for (auto& [key, use] : uses_) {
      RETURN_IF_ERROR(CheckCapacity(use));
      RETURN_IF_ERROR(CheckSharing(use));
      placement_.banks.push_back(std::move(use));
    }
    return {};
  }

 private:
  BankUse& Use(const std::string& memory, int bank) {
    BankUse& use = uses_[{memory, bank}];
    use.bank = BankTag(memory, bank);
    use.capacity = static_cast<int64_t>(FindMemory(card_, memory)->bank_bytes);
    return use;
  }

  void AddActivations() {
    const ModelShape& s = placement_.shape;
    const int64_t hidden = AlignUp(hls::VectorBytes(s.hidden_size));
    const int64_t heads = AlignUp(hls::VectorBytes(s.n_heads * s.head_dim));
    const int64_t kv = AlignUp(hls::VectorBytes(s.n_kv_heads * s.head_dim));
    BankUse& attention = Use("PLRAM", kAttentionPlram);
    attention.activations = 5 * hidden + 2 * heads + 2 * kv;
    attention.holds = "x, h, q, k, v, att, att_out, mlp_out, last";
    BankUse& mlp = Use("PLRAM", kMlpPlram);
    mlp.activations = 2 * AlignUp(hls::VectorBytes(s.intermediate_size));
    mlp.holds = "ff, gelu";
    BankUse& ddr = Use("DDR", 0);
    ddr.activations = AlignUp(hls::VectorBytes(s.vocab_size));
    AppendWord("logits", &ddr.holds);
  }

  Status AddKv(const char* argument, const char* what) {
    const BankRange& banks = *PortBanks(placement_.link, "attention", argument);
    const auto bank_bytes = static_cast<int64_t>(FindMemory(card_, banks.memory)->bank_bytes);
    const std::vector<int64_t> free(static_cast<size_t>(banks.last - banks.first + 1), bank_bytes);
    const auto layers = PlaceKvLayers(placement_.shape, banks, free, placement_.positions);
    RETURN_IF_ERROR(layers.status());
    for (const int bank : *layers) {
      BankUse& use = Use(banks.memory, bank);
      use.kv += KvLayerBytes(placement_.shape, placement_.positions);
      use.holds = what;
    }
    return {};
  }

  Status CheckCapacity(const BankUse& use) const {
    const int64_t used = use.weights + use.kv + use.activations;
    if (used <= use.capacity) {
      return {};
    }
    const int64_t over = used - use.capacity;
    if (use.bank.starts_with("PLRAM")) {
      return ResourceExhausted(use.bank, " (", use.holds, "): one token's activations take ", used, " bytes, it holds ",
                               use.capacity, ": ", over, " too many; a model with ", use.capacity * 100 / used,
                               " % of this width would fit; run this one with --device cpu");
    }
    const int64_t fitting = placement_.shape.n_layers * use.capacity / used;
    return ResourceExhausted(use.bank, " (", use.holds, "): ", used, " bytes, it holds ", use.capacity, ": ", over,
                             " too many; about ", fitting, " of the ", placement_.shape.n_layers,
                             " layers would fit, or all of them in banks of ", HumanBytes(static_cast<uint64_t>(used)),
                             "; run it with --device cpu");
  }

  // A bank serves one unit at a time; two that may run together would halve each other's reads.
  static Status CheckSharing(const BankUse& use) {
    if (!use.bank.starts_with("HBM")) {
      return {};
    }
    for (const std::string& a : use.units) {
      for (const std::string& b : use.units) {
        if (a < b && MayRunTogether(a, b)) {
          return Status(StatusCode::kInternal,
                        StrCat(use.bank, ": the units ", a, " and ", b, " may run together and share it"));
        }
      }
    }
    return {};
  }

  HbmPlacement& placement_;
  const Card& card_;
  std::map<std::pair<std::string, int>, BankUse> uses_;
};

Status CheckWiring(HbmPlacement* placement) {
  const std::vector<KernelSignature> kernels = DesignKernels();
  const std::vector<std::string> complaints = LintLinkFile(placement->link, kernels);
  if (!complaints.empty()) {
    return Status(StatusCode::kInternal,
                  StrCat("the wiring of design ", placement->design->name, ": ", complaints.front()));
  }
  placement->usage = MeasureLinkFile(placement->link, kernels, *FindCard(placement->link.platform));
  return {};
}

}  // namespace

std::string_view LmHeadTypeName(LmHeadType type) {
  switch (type) {
    case LmHeadType::kF16: return "f16";
    case LmHeadType::kBF16: return "bf16";
    case LmHeadType::kF32: break;
  }
  return "f32";
}

int LmHeadElementBytes(LmHeadType type) {
  return type == LmHeadType::kF32 ? 4 : 2;
}

Result<const hls::DesignPoint*> FindDesign(std::string_view name) {
  std::string known;
  for (const hls::DesignPoint* design : kDesigns) {
    if (name == design->name) {
      return design;
    }
    known += StrCat(known.empty() ? "" : ", ", design->name);
  }
  return InvalidArgument("--design ", Quoted(name), ": there is no such design; the designs are: ", known,
                         ", and tiled, which run, plan and simulate know");
}

std::string_view UnitOf(LinearRole role) {
  switch (role) {
    case LinearRole::kQ:
    case LinearRole::kDense: return "q";  // dense waits for attention, and attention for q: never both
    case LinearRole::kK: return "k";
    case LinearRole::kV: return "v";
    case LinearRole::kFc1: return "fc1";
    case LinearRole::kFc2: return "fc2";
    case LinearRole::kLmHead: break;
  }
  return "lm_head";
}

LinkFile DesignLinkFile(const hls::DesignPoint& design, LmHeadType lm_head) {
  LinkFile link;
  link.platform = design.platform;
  link.clock_mhz = design.kernel_mhz;
  for (int i = 0; i < design.unit_count; ++i) {
    const std::string unit = design.units[i].name;
    link.units.push_back({unit, unit == "lm_head" ? LmHeadKernel(lm_head) : design.units[i].kernel, kAllInRegion});
  }
  for (const WiredUnit& wired : kWeightBanks) {
    const int banks = wired.unit == "lm_head" ? design.lm_head_banks : design.linear.banks;
    WireMatrixUnit(wired.unit, wired.first_bank, banks, &link);
  }
  WireAttention(&link);
  Wire("layernorm", "x", "PLRAM", kAttentionPlram, kAttentionPlram, &link);
  Wire("layernorm", "constants", "DDR", 0, 0, &link);
  Wire("layernorm", "y", "PLRAM", kAttentionPlram, kAttentionPlram, &link);
  for (const char* argument : {"x", "y"}) {
    Wire("gelu", argument, "PLRAM", kMlpPlram, kMlpPlram, &link);
  }
  for (const char* argument : {"att", "mlp", "x", "y"}) {
    Wire("residual", argument, "PLRAM", kAttentionPlram, kAttentionPlram, &link);
  }
  return link;
}

const BankRange* PortBanks(const LinkFile& link, std::string_view unit, std::string_view argument) {
  for (const LinkPort& port : link.ports) {
    if (port.unit == unit && port.argument == argument) {
      return &port.banks;
    }
  }
  return nullptr;
}

namespace {

ArgumentKind KindOf(hls::ArgKind kind) {
  switch (kind) {
    case hls::ArgKind::kScalar: return ArgumentKind::kScalar;
    case hls::ArgKind::kStreamIn: return ArgumentKind::kStreamIn;
    case hls::ArgKind::kStreamOut: return ArgumentKind::kStreamOut;
    default: return ArgumentKind::kMemory;
  }
}

// Width of a memory port or a stream of that C++ type.
int BitsOf(std::string_view type) {
  if (type.starts_with("int8_t")) {
    return 8;
  }
  if (type.starts_with("uint32_t")) {
    return 32;
  }
  if (type.find("HeaderBeat") != std::string_view::npos) {
    return hls::tiled::kHeaderBits;
  }
  return type.find("NarrowBeat") != std::string_view::npos ? hls::tiled::kNarrowBits : hls::kWordBits;
}

KernelSignature SignatureOf(const hls::KernelDesign& kernel) {
  KernelSignature signature;
  signature.name = kernel.name;
  for (int i = 0; i < kernel.arg_count; ++i) {
    const hls::KernelArg& arg = kernel.args[i];
    const ArgumentKind kind = KindOf(arg.kind);
    signature.arguments.push_back({.name = arg.name,
                                   .kind = kind,
                                   .type = arg.type,
                                   .bytes = kind == ArgumentKind::kMemory ? 8 : (kind == ArgumentKind::kScalar ? 4 : 0),
                                   .data_bits = BitsOf(arg.type),
                                   .writes = arg.kind == hls::ArgKind::kWrite || arg.kind == hls::ArgKind::kUpdate,
                                   .bundle = arg.bundle});
  }
  return signature;
}

}  // namespace

std::vector<KernelSignature> DesignKernels() {
  std::vector<KernelSignature> kernels;
  for (const hls::KernelDesign& kernel : hls::kKernels) {
    kernels.push_back(SignatureOf(kernel));
  }
  for (const hls::KernelDesign& kernel : hls::tiled::kTiledKernels) {
    kernels.push_back(SignatureOf(kernel));
  }
  return kernels;
}

bool MayRunTogether(std::string_view unit, std::string_view other) {
  if (unit == other || unit == "lm_head" || other == "lm_head") {
    return false;
  }
  // The layernorm comes before everything in a layer and the residual after it; the rest are two branches.
  const auto alone = [](std::string_view name) { return name == "layernorm" || name == "residual"; };
  if (alone(unit) || alone(other)) {
    return false;
  }
  const auto in_mlp = [](std::string_view name) { return name == "fc1" || name == "gelu" || name == "fc2"; };
  if (in_mlp(unit) && in_mlp(other)) {
    return false;
  }
  const auto before_attention = [](std::string_view name) { return name == "q" || name == "k" || name == "v"; };
  const bool attention_and_its_input =
      (unit == "attention" && before_attention(other)) || (other == "attention" && before_attention(unit));
  return !attention_and_its_input;
}

int64_t KvLayerBytes(const ModelShape& shape, int64_t positions) {
  return AlignUp(hls::KvCacheBytes(shape.n_kv_heads, shape.head_dim, positions));
}

Result<std::vector<int>> PlaceKvLayers(const ModelShape& shape, const BankRange& banks, std::vector<int64_t> free,
                                       int64_t positions) {
  const auto layers_that_fit = [&shape, &free](int64_t of_positions) {
    int64_t layers = 0;
    for (const int64_t bytes : free) {
      layers += bytes / KvLayerBytes(shape, of_positions);
    }
    return layers;
  };
  const int64_t layer_bytes = KvLayerBytes(shape, positions);
  if (layers_that_fit(positions) < shape.n_layers) {
    int64_t most = 0;  // positions that fit; `too_many` don't
    for (int64_t too_many = positions; too_many - most > 1;) {
      const int64_t middle = most + (too_many - most) / 2;
      (layers_that_fit(middle) < shape.n_layers ? too_many : most) = middle;
    }
    const int64_t missing = shape.n_layers - layers_that_fit(positions);
    return ResourceExhausted("a KV cache of ", positions, " positions: ", shape.n_layers, " layers of ", layer_bytes,
                             " bytes each for keys, and as many for values; ", ToString(banks), " has room for ",
                             shape.n_layers - missing, " of them, ", missing * layer_bytes, " bytes are missing; ",
                             most == 0 ? std::string("no context fits beside the caches that are there")
                                       : StrCat("at most ", most, " positions fit (-c ", most, ")"));
  }
  std::vector<int> bank_of;
  for (size_t bank = 0; std::ssize(bank_of) < shape.n_layers;) {
    if (free[bank] < layer_bytes) {
      ++bank;
      continue;
    }
    free[bank] -= layer_bytes;
    bank_of.push_back(banks.first + static_cast<int>(bank));
  }
  return bank_of;
}

const PlacedItem* HbmPlacement::Find(ItemKind kind, LinearRole role, int64_t layer, int slice) const {
  for (const PlacedItem& item : items) {
    if (item.kind == kind && item.role == role && item.layer == layer && item.slice == slice) {
      return &item;
    }
  }
  return nullptr;
}

int64_t HbmPlacement::rotary_positions() const {
  return std::min(shape.max_positions, design->max_positions);
}

int64_t HbmPlacement::packed_bytes() const {
  int64_t bytes = 0;
  for (const Segment& segment : segments) {
    bytes += segment.bytes;
  }
  return bytes;
}

int64_t HbmPlacement::weight_bytes() const {
  int64_t bytes = 0;
  for (const PlacedItem& item : items) {
    const bool weights = item.kind == ItemKind::kLinearSlice || item.kind == ItemKind::kLmHeadSlice;
    bytes += weights ? item.bytes : 0;
  }
  return bytes;
}

Result<HbmPlacement> PlanPlacement(const ModelShape& shape, const hls::DesignPoint& design,
                                   const PlacementOptions& options) {
  HbmPlacement placement;
  placement.design = &design;
  placement.shape = shape;
  placement.lm_head = options.lm_head;
  placement.xclbin = StrCat(design.name, "-", LmHeadTypeName(options.lm_head));
  placement.positions = options.positions > 0 ? options.positions : shape.max_positions;
  placement.link = DesignLinkFile(design, options.lm_head);
  RETURN_IF_ERROR(CheckKernelLimits(shape));
  if (placement.positions > design.max_positions) {
    return ResourceExhausted("a KV cache of ", placement.positions, " positions: the attention kernel takes ",
                             design.max_positions, ", ", placement.positions - design.max_positions,
                             " fewer; give a smaller context (-c ", design.max_positions, ")");
  }
  RETURN_IF_ERROR(CheckWiring(&placement));
  Packing(&placement).Run(options);
  RETURN_IF_ERROR(BankTable(&placement).Run());
  return placement;
}

}  // namespace phidias::fpga
