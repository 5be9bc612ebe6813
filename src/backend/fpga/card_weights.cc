#include "backend/fpga/card_weights.h"

#include <algorithm>
#include <optional>

#include "backend/fingerprint.h"

namespace phidias::fpga {
namespace {

constexpr int64_t kLayoutVersion = 1;  // of the bytes within an item; raised with hls/layout.h

constexpr LinearRole kLayerRoles[] = {LinearRole::kQ,     LinearRole::kK,   LinearRole::kV,
                                      LinearRole::kDense, LinearRole::kFc1, LinearRole::kFc2};

// Why the card can't run a layer's linear, and what would help; empty if it can.
std::string WhyNotOnCard(const LinearWeights& linear) {
  const auto nonzero = [](int32_t zero_point) { return zero_point != 0; };
  if (linear.weight.dtype != DType::kI8) {
    return StrCat("its weight is ", DTypeName(linear.weight.dtype),
                  ", and the kernels multiply int8: quantise the model with `phidias quantize`");
  }
  if (linear.input.kind == InputQuant::Kind::kDynamic) {
    return "its input's scale is dynamic, and the kernels take static ones: quantise with `phidias quantize "
           "--activations static`";
  }
  if (linear.input.kind == InputQuant::Kind::kNone) {
    return "its input isn't quantised, and the kernels multiply int8 by int8: quantise with `phidias quantize "
           "--activations static`";
  }
  if (std::any_of(linear.quant.zero_point.begin(), linear.quant.zero_point.end(), nonzero)) {
    return "its weight has zero points, and the kernels take symmetric weights: quantise with `phidias quantize "
           "--weights symmetric`";
  }
  return {};
}

std::optional<LmHeadType> LmHeadTypeOf(DType dtype) {
  switch (dtype) {
    case DType::kF16: return LmHeadType::kF16;
    case DType::kBF16: return LmHeadType::kBF16;
    case DType::kF32: return LmHeadType::kF32;
    default: return std::nullopt;
  }
}

std::string WhyNoLmHead(const LinearWeights& lm_head) {
  if (!LmHeadTypeOf(lm_head.weight.dtype).has_value()) {
    return StrCat("its weight is ", DTypeName(lm_head.weight.dtype), ", and the kernel takes F16, BF16 or F32");
  }
  if (lm_head.input.kind != InputQuant::Kind::kNone) {
    return "its input is quantised, and the kernel takes float32";
  }
  return {};
}

Status Refuse(const LinearWeights& linear, const std::string& why, CardOp op) {
  return Unsupported(linear.name, ": the design can't run it: ", why, "; or leave it to the host with --host-ops ",
                     CardOpName(op), ", or run with --device cpu");
}

// The operators that the host can take over don't know 4-bit weights either.
Status CheckNotInt4(const LinearWeights& linear) {
  if (linear.weight.dtype != DType::kI4) {
    return {};
  }
  return Unsupported(linear.name,
                     ": its weight has 4 bits, and the card's kernels multiply int8: run with --device cpu, ",
                     "or quantise the float model to int8 with `phidias quantize`");
}

}  // namespace

Result<PlacementOptions> CheckWeights(const CardWeights& weights, HostOps host_ops) {
  PlacementOptions options;
  for (const LinearRole role : kLayerRoles) {
    for (const CardWeights::Layer& layer : weights.layers) {
      const LinearWeights& linear = *layer.linears[static_cast<size_t>(role)];
      RETURN_IF_ERROR(CheckNotInt4(linear));
      const std::string why = WhyNotOnCard(linear);
      if (why.empty()) {
        continue;
      }
      if (!host_ops.Has(OpOf(role))) {
        return Refuse(linear, why, OpOf(role));
      }
      options.absent.push_back(role);
      break;
    }
  }
  RETURN_IF_ERROR(CheckNotInt4(*weights.lm_head));
  const std::string why = WhyNoLmHead(*weights.lm_head);
  if (!why.empty()) {
    if (!host_ops.Has(CardOp::kLmHead)) {
      return Refuse(*weights.lm_head, why, CardOp::kLmHead);
    }
    options.absent.push_back(LinearRole::kLmHead);
  }
  options.lm_head = LmHeadTypeOf(weights.lm_head->weight.dtype).value_or(LmHeadType::kF16);
  return options;
}

uint64_t ModelFingerprint(const CardWeights& weights) {
  Fingerprint fingerprint;
  AddShape(weights.shape, &fingerprint);
  for (const CardWeights::Layer& layer : weights.layers) {
    AddWeights(*layer.norm, &fingerprint);
    for (const LinearWeights* linear : layer.linears) {
      AddWeights(*linear, &fingerprint);
    }
  }
  AddWeights(*weights.final_norm, &fingerprint);
  AddWeights(*weights.lm_head, &fingerprint);
  return fingerprint.value();
}

uint64_t DesignFingerprint(const hls::DesignPoint& design) {
  Fingerprint fingerprint;
  fingerprint.Add(kLayoutVersion);
  fingerprint.Add(std::string_view(design.name));
  for (const int64_t number :
       {int64_t{hls::kWordBits}, int64_t{hls::kGroupRows}, int64_t{design.linear.banks},
        int64_t{design.linear.port_bits}, int64_t{design.lm_head_banks}, design.hbm_bank_bytes}) {
    fingerprint.Add(number);
  }
  fingerprint.Add(WriteLinkFile(DesignLinkFile(design, LmHeadType::kF16), LinkTarget::kHw));
  return fingerprint.value();
}

}  // namespace phidias::fpga
