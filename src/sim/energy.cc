#include "sim/energy.h"

namespace phidias::sim {

Energy EnergyOf(const TokenTiming& timing, int64_t tokens, const ResourceReport& resources, double mhz,
                const Parameters& parameters) {
  const double per_token = 1.0 / static_cast<double>(tokens);
  const double seconds = timing.seconds * per_token;
  Energy energy;
  energy.hbm = static_cast<double>(timing.hbm_bytes) * 8 * parameters.hbm_pj_per_bit * 1e-12 * per_token;
  energy.products = static_cast<double>(timing.products) * parameters.mac_pj * 1e-12 * per_token;
  energy.fabric = parameters.fabric_uw_per_lut_mhz * 1e-6 * (resources.total.lut - resources.array_lut) * mhz * seconds;
  energy.chip_static = parameters.chip_static_w * seconds;
  energy.board_idle = parameters.board_idle_w * seconds;
  const double moving = energy.hbm + energy.products + energy.fabric;
  energy.chip_watts = (moving + energy.chip_static) / seconds;
  energy.board_joules = moving + energy.board_idle;
  energy.board_watts = energy.board_joules / seconds;
  energy.tokens_per_joule = 1 / energy.board_joules;
  return energy;
}

}  // namespace phidias::sim
