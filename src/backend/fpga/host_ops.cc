#include "backend/fpga/host_ops.h"

#include <algorithm>

#include "common/str.h"

namespace phidias::fpga {
namespace {

constexpr std::string_view kNames[kCardOps] = {"q",       "k",         "v",         "dense", "fc1",     "fc2",
                                               "lm_head", "layernorm", "attention", "gelu",  "residual"};
constexpr int kLayerLinears = 6;

Status AddByName(std::string_view name, HostOps* ops) {
  if (name == "linear") {
    for (int op = 0; op < kLayerLinears; ++op) {
      ops->Add(static_cast<CardOp>(op));
    }
    return {};
  }
  std::string known;
  for (int op = 0; op < kCardOps; ++op) {
    if (name == kNames[op]) {
      ops->Add(static_cast<CardOp>(op));
      return {};
    }
    known += StrCat(", ", kNames[op]);
  }
  return InvalidArgument("--host-ops: there is no ", Quoted(name), "; the names are linear", known);
}

}  // namespace

std::string_view CardOpName(CardOp op) {
  return kNames[static_cast<int>(op)];
}

Result<HostOps> ParseHostOps(std::string_view text) {
  HostOps ops;
  for (size_t at = 0; at <= text.size() && !text.empty();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    RETURN_IF_ERROR(AddByName(text.substr(at, comma - at), &ops));
    at = comma + 1;
  }
  return ops;
}

std::string ToString(HostOps ops) {
  std::string text;
  for (int op = 0; op < kCardOps; ++op) {
    if (ops.Has(static_cast<CardOp>(op))) {
      text += StrCat(text.empty() ? "" : ",", kNames[op]);
    }
  }
  return text;
}

}  // namespace phidias::fpga
