#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "backend/backend.h"
#include "common/status.h"

namespace phidias::fpga {

// What a card does, one by one: any of them can be left to the host (--host-ops). The first ones are the linear layers
// in the order of LinearRole.
enum class CardOp : uint8_t {
  kQ,
  kK,
  kV,
  kDense,
  kFc1,
  kFc2,
  kLmHead,
  kLayerNorm,
  kAttention,
  kGelu,
  kResidual,
};
inline constexpr int kCardOps = 11;

constexpr CardOp OpOf(LinearRole role) {
  return static_cast<CardOp>(role);
}
std::string_view CardOpName(CardOp op);  // as --host-ops spells it

// A set of CardOps.
class HostOps {
 public:
  bool Has(CardOp op) const { return (bits_ >> static_cast<int>(op) & 1) != 0; }
  void Add(CardOp op) { bits_ |= uint32_t{1} << static_cast<int>(op); }
  bool empty() const { return bits_ == 0; }

 private:
  uint32_t bits_ = 0;
};

// "lm_head,layernorm"; "linear" stands for the six of a layer, "" for none. Errors list the names.
Result<HostOps> ParseHostOps(std::string_view text);
std::string ToString(HostOps ops);

}  // namespace phidias::fpga
