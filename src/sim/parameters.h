#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/fpga/card.h"
#include "common/status.h"

namespace phidias::sim {

// Every number that the timing and energy models take from outside the design: physical quantities, each with its unit,
// range and source in AllParameters(). Nothing else is tunable.
struct Parameters {
  // HBM2, per pseudo channel.
  double hbm_peak_gbs = 14.375;
  double hbm_refi_ns = 3900;
  double hbm_rfc_ns = 260;
  double hbm_rc_ns = 49;
  double hbm_rcd_ns = 16;
  double hbm_rp_ns = 16;
  double hbm_cl_ns = 16;
  double hbm_faw_ns = 16;
  double hbm_turnaround_ns = 12;
  double hbm_path_ns = 100;
  double switch_hop_ns = 20;
  // Other memories.
  double ddr_gbs = 19.25;
  double ddr_latency_ns = 200;
  double plram_latency_ns = 100;
  // Kernels.
  double loop_depth_cycles = 10;
  double float_depth_cycles = 30;
  double chain_depth_cycles = 60;
  // The host.
  double start_dependent_us = 75;
  double start_queued_us = 12;
  double pcie_gbs = 12;
  double pcie_latency_us = 20;
  double host_token_us = 200;
  double host_memory_gbs = 40;
  double outside_us = 10;
  double host_read_us = 2;
  // Energy.
  double hbm_pj_per_bit = 9.4;
  double mac_pj = 3;
  double fabric_uw_per_lut_mhz = 0.06;
  double chip_static_w = 8.85;
  double board_idle_w = 37.4;
};

struct ParameterInfo {
  const char* name;
  double Parameters::*field;
  double low;    // what the sensitivity bands try
  double high;   //
  double least;  // what --set takes
  double most;   //
  const char* unit;
  const char* what;
  const char* source;  // "assumption: ..." where no published figure was found
};
std::span<const ParameterInfo> AllParameters();

// For a card: one with channels of 512 MiB takes longer to refresh them.
Parameters ParametersOf(const fpga::Card& card);

// NAME=VALUE. Errors: there is no such parameter (the message lists them), not a number, out of range.
Status SetParameter(std::string_view assignment, Parameters* parameters);

// A line for each: name, value, range, unit, what, source.
std::string ParametersText(const Parameters& parameters);

}  // namespace phidias::sim
