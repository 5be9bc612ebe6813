#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/fpga/card.h"
#include "sim/energy.h"
#include "sim/parameters.h"
#include "sim/resources.h"
#include "sim/tiled_design.h"

// The tiled design's space: every combination, in closed form, what fits, and the best.
namespace phidias::sim {

struct Space {
  std::vector<int> tiles = {4, 8, 16, 32};
  std::vector<int> token_lanes = {1, 2, 4};
  std::vector<int> attention_lanes = {8, 16, 32, 64};
  std::vector<int> port_bits = {256, 512};
  std::vector<int> mhz = {150, 200, 225, 240, 250};
  std::vector<int> weight_bits = {8, 4};
  std::vector<int> kv_bits = {8, 16};
  std::vector<int> lm_head_bits = {8, 16};
};

struct Candidate {
  TiledDesign design;
  std::string refused;  // the rule that it breaks; "": it fits
  double decode = 0;    // tokens/s
  double prefill = 0;   // tokens/s
  double hbm_gbs = 0;
  double products_per_byte = 0;  // of a token
  Energy energy;
  ResourceReport resources;
  bool on_front = false;  // no other that fits is as good in tokens/s, tokens/J, DSP and BRAM and better in one
};

// At `context` positions. Every design of the space, those that are refused included.
std::vector<Candidate> Explore(const Space& space, const ModelShape& shape, int64_t context, const fpga::Card& card,
                               const Parameters& parameters);

// "32 tiles, T 4, 225 MHz, ports of 512, attention 16, W8, KV8, lm_head 8".
std::string DesignText(const TiledDesign& design);

}  // namespace phidias::sim
