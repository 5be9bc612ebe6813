#pragma once

#include <string>
#include <vector>

#include "backend/fpga/card.h"
#include "backend/fpga/placement.h"
#include "common/status.h"
#include "hls/design.h"
#include "sim/tiled_design.h"

// What a design takes of the chip, from its constants, and whether it fits.
namespace phidias::sim {

struct Resources {
  double lut = 0;
  double ff = 0;
  double bram36 = 0;
  double uram = 0;
  double dsp = 0;

  Resources& operator+=(const Resources& other);
  Resources operator*(double count) const;
};

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
  // The resource of which the largest share is taken.
  std::string tightest;  // "SLL wires SLR0-SLR1"
  double tightest_share = 0;
};

// The linear kernel of the report's table 6: base + banks x path, from the port's width. Four designs and four numbers
// for each column: a fit that the table can't contradict.
Resources LinearResources(const hls::LinearDesign& design);

ResourceReport ReportResources(const fpga::HbmPlacement& placement);
ResourceReport TiledResources(const TiledDesign& design, const ModelShape& shape, const fpga::Card& card);

// Error: the design exceeds a region's LUT, FF, BRAM, URAM or DSP, the wires between two regions or the HBM masters;
// the message names which, by how much, and what the limit is.
Status CheckResources(const ResourceReport& report, const fpga::Card& card);

}  // namespace phidias::sim
