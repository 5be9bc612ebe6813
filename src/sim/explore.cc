#include "sim/explore.h"

#include "common/str.h"

namespace phidias::sim {
namespace {

Status Evaluate(const ModelShape& shape, int64_t context, const fpga::Card& card, const Parameters& parameters,
                Candidate* candidate) {
  const TiledDesign& design = candidate->design;
  RETURN_IF_ERROR(CheckTiledDesign(design, shape, shape.max_positions, card));
  candidate->resources = TiledResources(design, card);
  RETURN_IF_ERROR(CheckResources(candidate->resources, card));
  ASSIGN_OR_RETURN(const TokenTiming token, TimeTiledPass(design, shape, {.position = context}, false, parameters));
  const TiledPass prompt{.position = context / 2, .tokens = design.token_lanes, .lm_head = false};
  ASSIGN_OR_RETURN(const TokenTiming pass, TimeTiledPass(design, shape, prompt, false, parameters));
  candidate->decode = 1 / token.seconds;
  candidate->prefill = design.token_lanes / pass.seconds;
  candidate->hbm_gbs = static_cast<double>(token.hbm_bytes) / token.seconds * 1e-9;
  candidate->products_per_byte = static_cast<double>(token.products) / static_cast<double>(token.hbm_bytes);
  candidate->energy = EnergyOf(token, 1, candidate->resources, design.mhz, parameters);
  return {};
}

// a is at least as good as b in everything, and better in something. More bits of weights, lm_head or KV are better
// too.
int Bits(const TiledDesign& design) {
  return design.weight_bits + design.lm_head_bits + design.kv_bits;
}
bool Dominates(const Candidate& a, const Candidate& b) {
  const double of_a[] = {a.decode,
                         a.prefill,
                         a.energy.tokens_per_joule,
                         -a.resources.total.dsp,
                         -a.resources.total.bram36,
                         static_cast<double>(Bits(a.design))};
  const double of_b[] = {b.decode,
                         b.prefill,
                         b.energy.tokens_per_joule,
                         -b.resources.total.dsp,
                         -b.resources.total.bram36,
                         static_cast<double>(Bits(b.design))};
  bool better = false;
  for (size_t i = 0; i < std::size(of_a); ++i) {
    if (of_a[i] < of_b[i]) {
      return false;
    }
    better |= of_a[i] > of_b[i];
  }
  return better;
}

}  // namespace

std::vector<Candidate> Explore(const Space& space, const ModelShape& shape, int64_t context, const fpga::Card& card,
                               const Parameters& parameters) {
  std::vector<Candidate> all;
  const auto each = [](const std::vector<int>& values, int* field, const auto& then) {
    for (const int value : values) {
      *field = value;
      then();
    }
  };
  TiledDesign design;
  int mhz = 0;
  const auto add = [&] {
    design.mhz = mhz;
    Candidate& candidate = all.emplace_back();
    candidate.design = design;
    candidate.refused = Evaluate(shape, context, card, parameters, &candidate).message();
  };
  design.host_tables = fpga::FindMemory(card, "DDR") == nullptr;
  // What follows doesn't change what a design takes of the chip.
  const auto each_precision = [&] {
    SpreadTiles(&design);
    PlaceTiles(card, &design);
    each(space.kv_bits, &design.kv_bits,
         [&] { each(space.lm_head_bits, &design.lm_head_bits, [&] { each(space.mhz, &mhz, add); }); });
  };
  // Without 4-bit weights, without the logic for them.
  const auto each_weight = [&] {
    each(space.weight_bits, &design.weight_bits, [&] {
      design.int4 = design.weight_bits == 4;
      each_precision();
    });
  };
  each(space.tiles, &design.tiles, [&] {
    each(space.token_lanes, &design.token_lanes, [&] {
      each(space.attention_lanes, &design.attention_lanes,
           [&] { each(space.port_bits, &design.port_bits, each_weight); });
    });
  });
  for (Candidate& candidate : all) {
    candidate.on_front = candidate.refused.empty();
    for (const Candidate& other : all) {
      candidate.on_front = candidate.on_front && !(other.refused.empty() && Dominates(other, candidate));
    }
  }
  return all;
}

std::string DesignText(const TiledDesign& design) {
  return StrCat(design.tiles, " tiles, T ", design.token_lanes, ", ", design.mhz, " MHz, ports of ", design.port_bits,
                ", attention ", design.attention_lanes, ", W", design.weight_bits, ", KV", design.kv_bits, ", lm_head ",
                design.lm_head_bits);
}

}  // namespace phidias::sim
