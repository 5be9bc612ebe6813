#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/fpga/link_file.h"
#include "common/status.h"
#include "hls/design.h"

// Which bytes of a model lie in which bank of the card. The wiring (a port's banks) belongs to the design: one xclbin
// serves every model. What lies where within the banks belongs to design and model together.
namespace phidias::fpga {

// Element type of lm_head's weights on the card: each has its variant of the kernel, and so its own xclbin.
enum class LmHeadType : uint8_t { kF16, kBF16, kF32 };
std::string_view LmHeadTypeName(LmHeadType type);  // "f16"
int LmHeadElementBytes(LmHeadType type);

// The design of that name. Error: no such design (the message lists them).
Result<const hls::DesignPoint*> FindDesign(std::string_view name);

// The compute unit that runs a linear layer: "q" for q_proj and dense, "fc1", "lm_head".
std::string_view UnitOf(LinearRole role);

// Units, their kernels and the banks of their ports: what Vitis links and what the host expects.
LinkFile DesignLinkFile(const hls::DesignPoint& design, LmHeadType lm_head);
// The bank (or the banks) that an argument of a unit is wired to; null if there is no such port.
const BankRange* PortBanks(const LinkFile& link, std::string_view unit, std::string_view argument);
// Every kernel of hls/design.h as the linter of link files wants it.
std::vector<KernelSignature> DesignKernels();

// A linear layer or operator that stays on the host has no place on the card.
struct PlacementOptions {
  LmHeadType lm_head = LmHeadType::kF16;
  std::vector<LinearRole> absent;  // linear layers that the card can't hold and the host runs
  int64_t positions = 0;           // of the KV cache that is planned for; 0: the model's longest context
};

enum class ItemKind : uint8_t {
  kLinearSlice,      // int8 weights, one of `banks` slices along K
  kLinearConstants,  // scales, biases, row sums
  kNormConstants,
  kLmHeadSlice,
  kLmHeadBias,
  kRotaryTable,
};

// Something that is packed once and stays: `bytes` at `offset` of a segment.
struct PlacedItem {
  ItemKind kind = ItemKind::kLinearSlice;
  LinearRole role = LinearRole::kLmHead;  // of linear layers and lm_head
  int64_t layer = 0;                      // kFinalNorm: final_layernorm
  int slice = 0;
  int segment = 0;     // of HbmPlacement::segments
  int64_t offset = 0;  // a multiple of kItemAlignment
  int64_t bytes = 0;   // whole beats of 64
};
inline constexpr int64_t kItemAlignment = 4096;  // an AXI burst never crosses it

// What is packed for one bank, in the order in which bursts read it.
struct Segment {
  std::string memory;  // "HBM", "DDR"
  int bank = 0;
  int64_t bytes = 0;  // a multiple of kItemAlignment
};

// One bank as a plan shows it.
struct BankUse {
  std::string bank;   // "HBM[12]"
  std::string holds;  // "fc1 weights"
  std::vector<std::string> units;
  int64_t weights = 0;      // bytes of packed items
  int64_t kv = 0;           // of one KV cache of PlacementOptions::positions
  int64_t activations = 0;  // of one token
  int64_t capacity = 0;
};

struct HbmPlacement {
  const hls::DesignPoint* design = nullptr;
  ModelShape shape;
  LmHeadType lm_head = LmHeadType::kF16;
  std::string xclbin;  // the name of the one that it is for: "report-f16"
  int64_t positions = 0;
  LinkFile link;
  std::vector<Segment> segments;
  std::vector<PlacedItem> items;  // by segment, then by offset
  std::vector<BankUse> banks;
  LinkUsage usage;

  // Null where there is none.
  const PlacedItem* Find(ItemKind kind, LinearRole role, int64_t layer, int slice) const;
  int64_t rotary_positions() const;  // rows of the rotary table
  int64_t packed_bytes() const;      // of all segments
  int64_t weight_bytes() const;      // of linear layers' slices and lm_head's: what a token reads from HBM at least
};

// Errors name what doesn't fit, by how many bytes or how much else, and what would.
Result<HbmPlacement> PlanPlacement(const ModelShape& shape, const hls::DesignPoint& design,
                                   const PlacementOptions& options);

// The banks, of `banks`, of each layer's keys (or values) in a cache of `positions`: whole layers, in order, where
// `free` (bytes, one per bank of the range) has room. Error: they don't fit; the message says how many positions would.
Result<std::vector<int>> PlaceKvLayers(const ModelShape& shape, const BankRange& banks, std::vector<int64_t> free,
                                       int64_t positions);
// Bytes that one layer's keys (or values) take of a bank.
int64_t KvLayerBytes(const ModelShape& shape, int64_t positions);

// Units of which two may run at the same time, by the order of a layer: q, k, v and fc1 after the layernorm, attention
// beside the MLP. lm_head runs alone.
bool MayRunTogether(std::string_view unit, std::string_view other);

std::string PlacementText(const HbmPlacement& placement);  // a table for people

}  // namespace phidias::fpga
