#include "sim/resources.h"

#include <algorithm>
#include <array>
#include <limits>

#include "common/str.h"

namespace phidias::sim {
namespace {

constexpr const char* kFit6 = "fitted to table 6";
constexpr const char* kTable7 = "published, table 7";
constexpr const char* kEstimate = "estimate";
constexpr const char* kCounted = "counted in the kernels' sources";

// Of table 6, solved exactly: the kernel around its paths, and a path (port, stream, units).
constexpr Resources kBase8 = {3557, 6224, 18, 0, 7};
constexpr Resources kPath8 = {1731, 2693, 11, 0, 1};
constexpr Resources kBase512 = {5135, 7861, 35.3, 0, 4.3};
constexpr Resources kPath512 = {1920, 2178, 8.67, 0, 4.67};
// Of table 7, the row that reads V in memory order.
constexpr Resources kAttention = {16914, 16442, 38, 0, 67};
// A float multiplication and addition, fully pipelined: 3 + 2 DSP48E2 and their logic.
constexpr Resources kFloatMac = {430, 700, 0, 0, 5};
// A port of 512 bits with its bursts: design notes, 15 BRAM18 a direction.
constexpr double kBramOfDirection = 7.5;
constexpr Resources kPort512 = {1500, 2200, 0, 0, 0};
constexpr int kStreamOverhead = 2;  // valid and ready of an AXI stream

// What a user has in each region (RapidStream's device files for the U280's platform, in FlexLLM's repository); the
// U55C is the same chip.
constexpr Resources kBudget[3] = {
    {388800, 777600, 600, 320, 2664}, {364800, 729600, 576, 320, 2784}, {382080, 764160, 600, 320, 2856}};

struct Column {
  const char* name;
  double Resources::*field;
};
constexpr Column kColumns[] = {{"LUT", &Resources::lut},
                               {"FF", &Resources::ff},
                               {"BRAM36", &Resources::bram36},
                               {"URAM", &Resources::uram},
                               {"DSP", &Resources::dsp}};

void Note(double share, const std::string& what, ResourceReport* report) {
  if (share > report->tightest_share) {
    report->tightest_share = share;
    report->tightest = what;
  }
}

void Finish(const fpga::Card& card, ResourceReport* report) {
  report->by_slr.resize(static_cast<size_t>(card.slrs));
  for (const PartUse& part : report->parts) {
    report->by_slr[static_cast<size_t>(part.slr)] += part.uses;
    report->total += part.uses;
  }
  for (int slr = 0; slr < card.slrs; ++slr) {
    report->budget.push_back(kBudget[slr]);
    report->budget.back().dsp = card.dsp.at(static_cast<size_t>(slr));
    for (const Column& column : kColumns) {
      Note(report->by_slr[static_cast<size_t>(slr)].*column.field / (report->budget.back().*column.field),
           StrCat(column.name, " of SLR", slr), report);
    }
  }
  report->tightest_region_share = report->tightest_share;
  for (size_t i = 0; i < report->wires.size(); ++i) {
    report->wire_budget.push_back(card.wires.at(i));
    Note(report->wires[i] / report->wire_budget[i], StrCat("wires SLR", i, "-SLR", i + 1), report);
  }
  report->max_hbm_masters = card.max_hbm_masters;
}

Resources Sum(Resources a, const Resources& b) {
  a += b;
  return a;
}

}  // namespace

Resources& Resources::operator+=(const Resources& other) {
  for (const Column& column : kColumns) {
    this->*column.field += other.*column.field;
  }
  return *this;
}

Resources Resources::operator*(double count) const {
  Resources result = *this;
  for (const Column& column : kColumns) {
    result.*column.field *= count;
  }
  return result;
}

Resources LinearResources(const hls::LinearDesign& design) {
  const bool wide = design.port_bits > 8;
  return Sum(wide ? kBase512 : kBase8, (wide ? kPath512 : kPath8) * design.banks);
}

ResourceReport ReportResources(const fpga::HbmPlacement& placement) {
  const fpga::Card& card = *fpga::FindCard(placement.link.platform);
  ResourceReport report;
  for (const fpga::LinkUnit& unit : placement.link.units) {
    const int slr = std::max(unit.slr, 0);
    const hls::DesignPoint& design = *placement.design;
    if (unit.kernel.starts_with("linear")) {
      report.parts.push_back({unit.unit, slr, LinearResources(design.linear), kFit6});
    } else if (unit.kernel.starts_with("attention")) {
      report.parts.push_back({unit.unit, slr, kAttention, kTable7});
    } else if (unit.kernel.starts_with("lm_head")) {
      // 16 products a bank and cycle.
      report.parts.push_back(
          {unit.unit, slr, Sum(LinearResources(design.linear), kFloatMac * (16.0 * design.lm_head_banks)), kEstimate});
    } else {
      // Ports for their vectors, and a handful of float units: gelu's exponentials take most.
      const double macs = unit.kernel == "gelu" ? 10.0 * hls::kGeluUnits : 4;
      report.parts.push_back(
          {unit.unit, slr, Sum(Sum(kPort512, {0, 0, kBramOfDirection, 0, 0}) * 3, kFloatMac * macs), kEstimate});
    }
  }
  for (const int wires : placement.usage.wires) {
    report.wires.push_back(wires);
  }
  report.hbm_masters = placement.usage.hbm_masters;
  Finish(card, &report);
  return report;
}

namespace {

// Of one of each kernel.
struct TiledParts {
  Resources tile;
  Resources core;
  Resources memory;
  Resources sequencer;
  double array_lut = 0;  // of a tile's MAC array
};

TiledParts PartsOf(const TiledDesign& design) {
  TiledParts parts = {SumOf(TileUses(design)), SumOf(CoreUses(design)), SumOf(MemoryUnitUses(design)),
                      SumOf(SequencerUses())};
  for (const StageUse& use : TileUses(design)) {
    parts.array_lut += use.stage == "Multiply" ? use.uses.lut : 0;
  }
  return parts;
}

// Between two regions, as the link file's linter counts them: words to the tiles behind, KV groups back, the ring from
// the core over the tiles in the order of their regions and back, and what core and sequencer send each other.
std::vector<double> TiledWires(const TiledDesign& design, int slrs) {
  const double words = design.port_bits + kStreamOverhead;
  const double groups = hls::tiled::kNarrowBits + kStreamOverhead;
  const double ring = hls::kWordBits + kStreamOverhead;
  std::vector<int> stations = {design.core_slr};
  for (int slr = 0; slr < slrs; ++slr) {
    if (design.slr_tiles[slr] > 0) {
      stations.push_back(slr);
    }
  }
  stations.push_back(design.core_slr);
  std::vector<double> wires;
  for (int border = 0; border < slrs - 1; ++border) {
    int behind = 0;
    for (int slr = border + 1; slr < slrs; ++slr) {
      behind += design.slr_tiles[slr];
    }
    int crossings = design.core_slr > border ? 2 : 0;
    for (size_t i = 0; i + 1 < stations.size(); ++i) {
      crossings += (stations[i] <= border) != (stations[i + 1] <= border) ? 1 : 0;
    }
    wires.push_back(behind * (words + groups) + crossings * ring);
  }
  return wires;
}

ResourceReport ReportOfParts(const TiledParts& parts, const TiledDesign& design, const fpga::Card& card) {
  ResourceReport report;
  report.parts.push_back({StrCat("memory unit x ", design.tiles), 0, parts.memory * design.tiles, kCounted});
  report.parts.push_back({"sequencer", 0, parts.sequencer, kCounted});
  report.parts.push_back({"core", design.core_slr, parts.core, kCounted});
  for (int slr = 0; slr < card.slrs; ++slr) {
    report.parts.push_back(
        {StrCat("tile x ", design.slr_tiles[slr]), slr, parts.tile * design.slr_tiles[slr], kCounted});
  }
  report.wires = TiledWires(design, card.slrs);
  report.hbm_masters = design.tiles;
  report.array_lut = parts.array_lut * design.tiles;
  Finish(card, &report);
  return report;
}

}  // namespace

ResourceReport TiledResources(const TiledDesign& design, const fpga::Card& card) {
  return ReportOfParts(PartsOf(design), design, card);
}

namespace {

// Of two places, the one that compares as less is better: by the tightest region, then by wires, then by the logic of
// the second fullest region.
std::array<double, 3> PlaceCost(const ResourceReport& report) {
  std::vector<double> logic;
  for (size_t slr = 0; slr < report.by_slr.size(); ++slr) {
    logic.push_back(report.by_slr[slr].lut / report.budget[slr].lut);
  }
  std::sort(logic.rbegin(), logic.rend());
  const double wires = std::max(report.wires[0] / report.wire_budget[0], report.wires[1] / report.wire_budget[1]);
  return {std::max(kShareAimedAt, report.tightest_region_share), wires, logic[1]};
}

}  // namespace

void PlaceTiles(const fpga::Card& card, TiledDesign* design) {
  const TiledParts parts = PartsOf(*design);
  TiledDesign best = *design;
  std::array<double, 3> best_cost = {std::numeric_limits<double>::infinity(), 0, 0};
  TiledDesign at = *design;
  for (at.core_slr = 0; at.core_slr < card.slrs; ++at.core_slr) {
    for (at.slr_tiles[0] = 0; at.slr_tiles[0] <= design->tiles; ++at.slr_tiles[0]) {
      for (at.slr_tiles[1] = 0; at.slr_tiles[0] + at.slr_tiles[1] <= design->tiles; ++at.slr_tiles[1]) {
        at.slr_tiles[2] = design->tiles - at.slr_tiles[0] - at.slr_tiles[1];
        const ResourceReport report = ReportOfParts(parts, at, card);
        const std::array<double, 3> cost = PlaceCost(report);
        if (cost[1] <= kMostWires && cost < best_cost) {
          best = at;
          best_cost = cost;
        }
      }
    }
  }
  *design = best;
}

Status CheckResources(const ResourceReport& report, const fpga::Card& card) {
  if (report.hbm_masters > report.max_hbm_masters) {
    return ResourceExhausted(report.hbm_masters, " HBM masters, and ", card.name, " has ports for ",
                             report.max_hbm_masters, ": ", report.hbm_masters - report.max_hbm_masters, " too many");
  }
  for (size_t slr = 0; slr < report.by_slr.size(); ++slr) {
    for (const Column& column : kColumns) {
      const double uses = report.by_slr[slr].*column.field;
      const double has = report.budget[slr].*column.field;
      if (uses > has) {
        return ResourceExhausted("SLR", slr, " would need ", uses, " ", column.name, ", and ", card.name,
                                 " leaves a user ", has, " there: ", uses - has, " too many");
      }
    }
  }
  for (size_t i = 0; i < report.wires.size(); ++i) {
    if (report.wires[i] > report.wire_budget[i]) {
      return ResourceExhausted(report.wires[i], " wires between SLR", i, " and SLR", i + 1, ", and ", card.name,
                               " has ", report.wire_budget[i], ": ", report.wires[i] - report.wire_budget[i],
                               " too many");
    }
  }
  return {};
}

}  // namespace phidias::sim
