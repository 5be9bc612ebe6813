#pragma once

#include <string>
#include <vector>

#include "backend/fpga/card.h"
#include "backend/fpga/placement.h"
#include "common/status.h"
#include "hls/design.h"
#include "sim/tiled_design.h"
#include "sim/tiled_resources.h"

// What a design takes of the chip, from its constants, and whether it fits.
namespace phidias::sim {

struct PartUse {
  std::string part;  // "fc1", "tile x 12"
  int slr = 0;
  Resources uses;
  std::string basis;  // "fitted to table 6", "published, table 7", "estimate"
};

struct ResourceReport {
  std::vector<PartUse> parts;
  std::vector<Resources> by_slr;
  std::vector<Resources> budget;  // by SLR, what the platform leaves
  std::vector<double> wires;      // between SLR i and i + 1
  std::vector<double> wire_budget;
  int hbm_masters = 0;
  int max_hbm_masters = 0;
  Resources total;
  // Logic of arrays whose products' energy has it already (Parameters::mac_pj: with registers and wires).
  double array_lut = 0;
  // The resource of which the largest share is taken.
  std::string tightest;  // "SLL wires SLR0-SLR1"
  double tightest_share = 0;
  double tightest_region_share = 0;  // the same without wires
};

// The linear kernel of the report's table 6: base + banks x path, from the port's width. Four designs and four numbers
// for each column: a fit that the table can't contradict.
Resources LinearResources(const hls::LinearDesign& design);

ResourceReport ReportResources(const fpga::HbmPlacement& placement);
ResourceReport TiledResources(const TiledDesign& design, const fpga::Card& card);

// Which tiles lie in which region, and the core, by budget: of the places that leave every region at least 30 % of
// everything, the one with the fewest wires; where there is none, the one whose tightest resource is least taken; among
// equals, the one whose second fullest region has the least logic. More
// than nine tenths of the wires between two regions are never taken.
void PlaceTiles(const fpga::Card& card, TiledDesign* design);
inline constexpr double kShareAimedAt = 0.7;
inline constexpr double kMostWires = 0.9;

// Error: the design exceeds a region's LUT, FF, BRAM, URAM or DSP, the wires between two regions or the HBM masters;
// the message names which, by how much, and what the limit is.
Status CheckResources(const ResourceReport& report, const fpga::Card& card);

}  // namespace phidias::sim
