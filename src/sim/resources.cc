#include "sim/resources.h"

#include <algorithm>

#include "common/str.h"

namespace phidias::sim {
namespace {

constexpr const char* kFit6 = "fitted to table 6";
constexpr const char* kTable7 = "published, table 7";
constexpr const char* kEstimate = "estimate";

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
constexpr double kLutOfLutramDirection = 800;  // 512 bits x 64 in distributed RAM
constexpr double kUramOfStream = 8;            // 512 bits of up to 4,096 words
constexpr double kUramWords = 4096;
constexpr double kBramBytes = 4096;   // of a BRAM36 as a byte memory
constexpr double kStreamWires = 514;  // an AXI stream of 512 bits: data, valid, ready
// Of a tile beside its array: requantise, GELU table, rotary, layernorm, ring station, control.
constexpr Resources kTileRest = {5200, 7800, 4, 0, 8};
constexpr Resources kSequencer = {9000, 12000, 24, 0, 12};
constexpr double kLutOfMac = 32;  // unpacking, borrow and accumulators of a DSP that holds two products
constexpr double kFfOfMac = 70;

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

// A tile without its reader.
Resources TileResources(const TiledDesign& design, const ModelShape& shape) {
  const double tokens = design.token_lanes;
  const double dsp = tokens > 1 ? design.lanes * tokens / 2 : design.lanes;  // two tokens share a weight's DSP
  Resources tile = kTileRest;
  tile.dsp += dsp + design.attention_lanes;
  tile.lut += kLutOfMac * (dsp + design.attention_lanes);
  tile.ff += kFfOfMac * (dsp + design.attention_lanes);
  const int64_t uram_depths = (design.weight_fifo + 4095) / static_cast<int64_t>(kUramWords);
  tile.uram += kUramOfStream * static_cast<double>(uram_depths);
  tile.uram += kUramOfStream;  // keys and values
  // The longest input of every token, four bytes a cycle: a BRAM36 is 4 KiB.
  tile.bram36 += tokens * static_cast<double>(shape.intermediate_size) / kBramBytes;
  return tile;
}

}  // namespace

ResourceReport TiledResources(const TiledDesign& design, const ModelShape& shape, const fpga::Card& card) {
  ResourceReport report;
  Resources reader = kPort512;
  reader.bram36 = kBramOfDirection;
  reader.lut += kLutOfLutramDirection;  // the direction that writes new keys and values: short bursts
  report.parts.push_back({StrCat("reader and writer x ", design.tiles), 0, reader * design.tiles, kEstimate});
  for (int slr = 0; slr < card.slrs; ++slr) {
    report.parts.push_back({StrCat("tile x ", design.slr_tiles[slr]), slr,
                            TileResources(design, shape) * design.slr_tiles[slr], kEstimate});
  }
  report.parts.push_back({"sequencer", 0, kSequencer, kEstimate});
  // Streams of weights, keys and values to the tiles of higher regions, and the ring there and back; new keys and
  // values come back on the ring.
  const double above_0 = design.slr_tiles[1] + design.slr_tiles[2];
  const double above_1 = design.slr_tiles[2];
  report.wires = {(above_0 + (above_0 > 0 ? 2 : 0)) * kStreamWires, (above_1 + (above_1 > 0 ? 2 : 0)) * kStreamWires};
  report.hbm_masters = design.tiles;
  Finish(card, &report);
  return report;
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
