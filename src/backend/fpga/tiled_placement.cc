#include "backend/fpga/tiled_placement.h"

#include <utility>

#include "backend/fpga/card.h"
#include "backend/fpga/placement.h"
#include "backend/fpga/tiled_link.h"
#include "backend/fpga/tiled_packer.h"
#include "common/str.h"

namespace phidias::fpga {
namespace {

Status CheckRoom(const TiledPlacement& placement, const Card& card) {
  const int64_t needed = placement.channel_weights + placement.channel_kv;
  if (needed > placement.channel_capacity) {
    return ResourceExhausted("design tiled: a channel would hold ", placement.channel_weights, " bytes of weights and ",
                             placement.channel_kv, " of a KV cache of ", placement.positions, " positions, ",
                             needed - placement.channel_capacity, " more than HBM[0] has; use a smaller context (-c)");
  }
  const BankRange tables = TiledTableBank(card);
  const auto room = static_cast<int64_t>(FindMemory(card, tables.memory)->bank_bytes);
  if (placement.table_bytes > room) {
    return ResourceExhausted("design tiled: the tables would take ", placement.table_bytes, " bytes of ",
                             ToString(tables), ", ", placement.table_bytes - room, " more than it has");
  }
  return {};
}

}  // namespace

Result<TiledPlacement> PlanTiled(const ModelShape& shape, const TiledPlanOptions& options) {
  TiledPlacement placement;
  placement.shape = shape;
  placement.tiles = options.tiles;
  const Card* const found = FindCard(options.card);
  if (found == nullptr) {
    return InvalidArgument("design tiled: there is no card ", Quoted(options.card));
  }
  const Card& card = *found;
  placement.card = card.name;
  const CardMemory& hbm = *FindMemory(card, "HBM");
  if (placement.tiles == 0) {
    ASSIGN_OR_RETURN(placement.tiles, ChooseTiles(shape, hbm.banks, options.int4));
  }
  RETURN_IF_ERROR(CheckTiledShape(shape, placement.tiles, options.int4));
  placement.positions = options.positions > 0 ? options.positions : shape.max_positions;
  placement.sizes = TiledSizes(shape, placement.tiles, {.int4 = options.int4, .wide_head = options.wide_head});
  placement.link = TiledLinkFile(placement.tiles, card);
  placement.xclbin = TiledXclbinName(placement.tiles);
  placement.channel_weights = int64_t{hls::tiled::ChannelWords(placement.sizes)} * hls::kWordBytes;
  placement.channel_kv = TiledKvWords(placement.sizes, placement.positions) * hls::kWordBytes;
  placement.channel_capacity = static_cast<int64_t>(hbm.bank_bytes);
  placement.table_bytes = TiledTableWords(shape) * hls::kWordBytes;
  RETURN_IF_ERROR(CheckRoom(placement, card));
  const std::vector<KernelSignature> kernels = DesignKernels();
  for (const std::string& complaint : LintLinkFile(placement.link, kernels)) {
    return Unsupported("design tiled, ", placement.tiles, " tiles: ", complaint);
  }
  placement.usage = MeasureLinkFile(placement.link, kernels, card);
  return placement;
}

std::string TiledPlacementText(const TiledPlacement& placement) {
  const auto percent = [](int64_t part, int64_t whole) { return StrCat(part * 100 / whole, " %"); };
  const Card& card = *FindCard(placement.card);
  std::string tables = ToString(TiledTableBank(card));
  tables.resize(11, ' ');
  std::string out = StrCat("design tiled, ", placement.tiles, " tiles, weights in ", placement.sizes.int4 ? 4 : 8,
                           " bits, lm_head in ", 8 * placement.sizes.planes, " bits, ", placement.positions,
                           " positions\n\n", "HBM[0:", placement.tiles - 1, "]  each ", placement.channel_weights,
                           " bytes of weights, ", placement.channel_kv, " of a KV cache, ",
                           percent(placement.channel_weights + placement.channel_kv, placement.channel_capacity),
                           " of a bank\n", tables, placement.table_bytes, " bytes: embedding, rotary table, norms\n",
                           "HOST[0]    the command ring and the logits\n\n",
                           "HBM masters: ", placement.usage.hbm_masters, " of ", card.max_hbm_masters, "\n");
  for (size_t i = 0; i < placement.usage.wires.size(); ++i) {
    out += StrCat("wires between SLR", i, " and SLR", i + 1, ": ", placement.usage.wires[i], " of ", card.wires[i],
                  " (", percent(placement.usage.wires[i], card.wires[i]), ")\n");
  }
  return out;
}

}  // namespace phidias::fpga
