// A placement as a table for people.

#include <cstdio>
#include <string>

#include "backend/fpga/card.h"
#include "backend/fpga/placement.h"
#include "common/str.h"

namespace phidias::fpga {

std::string PlacementText(const HbmPlacement& placement) {
  std::string out = StrCat("design ", placement.design->name, ", lm_head ", LmHeadTypeName(placement.lm_head), ", ",
                           placement.positions, " positions\n\n");
  char line[256];
  std::snprintf(line, sizeof line, "%-9s %13s %13s %13s %13s  %5s  %-24s %s\n", "bank", "weights", "KV cache",
                "activations", "free", "full", "units", "holds");
  out += line;
  for (const BankUse& use : placement.banks) {
    std::string units;
    for (const std::string& unit : use.units) {
      units += (units.empty() ? "" : " ") + unit;
    }
    const bool shared_by_all = use.units.size() > 4;
    const int64_t used = use.weights + use.kv + use.activations;
    std::snprintf(line, sizeof line, "%-9s %13lld %13lld %13lld %13lld %5.1f %%  %-24s ", use.bank.c_str(),
                  static_cast<long long>(use.weights), static_cast<long long>(use.kv),
                  static_cast<long long>(use.activations), static_cast<long long>(use.capacity - used),
                  100.0 * static_cast<double>(used) / static_cast<double>(use.capacity),
                  shared_by_all ? StrCat(use.units.size(), " units").c_str() : units.c_str());
    out += line + use.holds + "\n";
  }
  const Card& card = *FindCard(placement.link.platform);
  out += StrCat("\npacked      ", placement.packed_bytes(), " bytes, of which a token reads at least ",
                placement.weight_bytes(), " (weights)\n", "HBM masters ", placement.usage.hbm_masters, " of ",
                card.max_hbm_masters, "\n");
  for (size_t i = 0; i < placement.usage.wires.size(); ++i) {
    out += StrCat("wires       SLR", i, "-SLR", i + 1, ": ", placement.usage.wires[i], " of ", card.wires[i], "\n");
  }
  return out + "embedding   in the host's memory: one row a token crosses to PLRAM\n";
}

}  // namespace phidias::fpga
