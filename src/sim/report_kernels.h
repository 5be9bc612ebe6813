#pragma once

#include <cstdint>
#include <memory>

#include "backend/fpga/placement.h"
#include "backend/fpga/schedule.h"
#include "hls/design.h"
#include "sim/dataflow.h"
#include "sim/parameters.h"

// The kernels of design `report` as regions: loops, intervals, streams and ports of src/hls, sizes from hls/design.h
// and hls/layout.h.
namespace phidias::sim {

// Where the ports of a unit lie. Weight slices, keys and values are in HBM, everything else where the link file says.
struct KernelPlace {
  double mhz = 300;
  MemoryTarget weights[4];
  MemoryTarget constants{MemoryKind::kDdr, 0, 0};
  MemoryTarget vectors{MemoryKind::kPlram, 0, 0};
  MemoryTarget output{MemoryKind::kPlram, 0, 0};
  MemoryTarget keys;
  MemoryTarget values;
};

struct AttentionShape {
  int64_t n_heads = 0;
  int64_t n_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t rotary_dim = 0;
};

RegionSpec LinearRegion(const hls::LinearDesign& design, int64_t n, int64_t k, const KernelPlace& place,
                        const Parameters& parameters);
RegionSpec LmHeadRegion(int64_t n, int64_t k, int element_bytes, const KernelPlace& place,
                        const Parameters& parameters);
// Positions 0..pos.
RegionSpec AttentionRegion(const AttentionShape& shape, int64_t pos, bool by_column, const KernelPlace& place,
                           const Parameters& parameters);
RegionSpec LayerNormRegion(int64_t n, const KernelPlace& place, const Parameters& parameters);
RegionSpec GeluRegion(int64_t n, const KernelPlace& place, const Parameters& parameters);
RegionSpec ResidualRegion(int64_t n, const KernelPlace& place, const Parameters& parameters);

// The region of a node of the schedule at a position. `kv_bank`: of attention, which of the banks of its keys (and
// values) holds the layer. Error: the host runs the node.
Result<std::shared_ptr<const RegionSpec>> RegionOfNode(const fpga::ScheduleNode& node,
                                                       const fpga::HbmPlacement& placement, int64_t pos, int kv_bank,
                                                       const Parameters& parameters);

}  // namespace phidias::sim
