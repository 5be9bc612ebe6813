#include "sim/parameters.h"

#include <charconv>
#include <cmath>
#include <cstdio>

namespace phidias::sim {
namespace {

constexpr const char* kUg1393 = "UG1393, HBM Configuration and Use";
constexpr const char* kPg276 = "PG276, Raw Throughput Evaluation";
constexpr const char* kJesd235 = "JESD235C minimum timings as a public HBM2 model for Ramulator 2 quotes them";

using P = Parameters;
constexpr ParameterInfo kParameters[] = {
    {"hbm_peak_gbs", &P::hbm_peak_gbs, 14.375, 14.4, 1, 60, "GB/s", "peak of a pseudo channel", kUg1393},
    {"hbm_refi_ns", &P::hbm_refi_ns, 3900, 3900, 500, 1e5, "ns", "from one refresh to the next", kPg276},
    {"hbm_rfc_ns", &P::hbm_rfc_ns, 260, 350, 0, 450, "ns", "a refresh, during which nothing moves",
     "Ramulator 2, HBM2: 260 for a channel of 4 Gb (the U280's, PG276), 350 for 8 Gb"},
    {"hbm_rc_ns", &P::hbm_rc_ns, 45, 52, 10, 200, "ns", "between two activations of a bank", kJesd235},
    {"hbm_rcd_ns", &P::hbm_rcd_ns, 14, 18, 1, 100, "ns", "activation to read", kJesd235},
    {"hbm_rp_ns", &P::hbm_rp_ns, 14, 18, 1, 100, "ns", "precharge", kJesd235},
    {"hbm_cl_ns", &P::hbm_cl_ns, 14, 18, 1, 100, "ns", "read to data", kJesd235},
    {"hbm_faw_ns", &P::hbm_faw_ns, 15, 30, 1, 200, "ns", "window of four activations", kJesd235},
    {"hbm_turnaround_ns", &P::hbm_turnaround_ns, 8, 20, 0, 100, "ns", "the bus turns between reads and writes",
     "Ramulator 2, HBM2: nCWL + nBL + nWTRL, nCL + nBL + 2 - nCWL"},
    {"hbm_path_ns", &P::hbm_path_ns, 70, 170, 0, 2000, "ns", "controller, switch and clock crossings, both ways",
     "design notes: latency 100 to 200 ns in all, of which the DRAM has 32"},
    {"switch_hop_ns", &P::switch_hop_ns, 5, 50, 0, 500, "ns", "one step from switch to switch, both ways",
     "assumption: no figure was found; the report design crosses at most one"},
    {"ddr_gbs", &P::ddr_gbs, 15, 19.25, 1, 100, "GB/s", "a DDR4 channel", kUg1393},
    {"ddr_latency_ns", &P::ddr_latency_ns, 100, 400, 0, 5000, "ns", "of a DDR4 read", "assumption"},
    {"plram_latency_ns", &P::plram_latency_ns, 50, 200, 0, 5000, "ns", "of a PLRAM access", "assumption"},
    {"loop_depth_cycles", &P::loop_depth_cycles, 4, 20, 0, 500, "cycles",
     "pipeline of an integer loop, emptied after each row",
     "stages: read x and w 2, multiply 3, add 1, fold and store 2 to 4"},
    {"float_depth_cycles", &P::float_depth_cycles, 15, 80, 0, 1000, "cycles", "pipeline of a loop over floats",
     "design.h: an addition is 7; chains of two to eight"},
    {"chain_depth_cycles", &P::chain_depth_cycles, 20, 150, 0, 5000, "cycles",
     "tiled: accumulator to ring: requantise, table, stream and SLR registers",
     "assumption; the design notes' bubble of 2.5 us bounds it"},
    {"start_dependent_us", &P::start_dependent_us, 50, 100, 0, 1e5, "us",
     "end of a kernel to the start of one that waits for it", "XRT issue 8687 (U55C): 50 to 100 us"},
    {"start_queued_us", &P::start_queued_us, 2.8, 23.5, 0, 1e5, "us", "each further start that is ready",
     "Vitis_Accel_Examples iops_test_xrt: 84,034 a second at 10 commands, 359,184 at 1 M; OpenCL 42,553"},
    {"pcie_gbs", &P::pcie_gbs, 8, 14, 0.1, 64, "GB/s", "transfers", "assumption: PCIe 3.0 x16 is 15.75 raw"},
    {"pcie_latency_us", &P::pcie_latency_us, 5, 50, 0, 1e5, "us", "a synchronous transfer's fixed part", "assumption"},
    {"host_token_us", &P::host_token_us, 50, 2000, 0, 1e7, "us", "embedding, sampling, bookkeeping of a token",
     "assumption: 51,200 logits are looked at"},
    {"host_memory_gbs", &P::host_memory_gbs, 10, 60, 0.1, 1000, "GB/s", "operators that are left to the host",
     "assumption"},
    {"outside_us", &P::outside_us, 2, 90, 0, 1e5, "us", "tiled: sampling and the next embedding, between two tokens",
     "assumption; the design notes allow 90"},
    {"host_read_us", &P::host_read_us, 1, 5, 0, 1000, "us",
     "tiled: a read of the host's memory by a kernel, where the tables lie there", "assumption: PCIe, there and back"},
    {"hbm_pj_per_bit", &P::hbm_pj_per_bit, 6.25, 12.5, 0.1, 100, "pJ/bit", "HBM with its controllers",
     "xbtest: up to 40 W at 400 GB/s (12.5); Vitis_Accel_Examples: about 20 W (6.25); the middle"},
    {"mac_pj", &P::mac_pj, 1.5, 8, 0, 1000, "pJ", "an int8 product with its share of registers and wires",
     "assumption; FlexLLM's power log bounds it: 22 W above idle for everything"},
    {"fabric_uw_per_lut_mhz", &P::fabric_uw_per_lut_mhz, 0.03, 0.12, 0, 10, "uW/LUT/MHz",
     "clocked logic beside the products", "assumption; bounded as mac_pj"},
    {"chip_static_w", &P::chip_static_w, 7.5, 10, 0, 200, "W", "on-chip estimate at rest",
     "fitted: the report's 11.8 W, one point"},
    {"board_idle_w", &P::board_idle_w, 37.3, 41.9, 0, 225, "W", "the board with a design loaded and idle",
     "FlexLLM's u280_power_log.csv: 37.3 to 41.9 W between runs"},
};

std::string Names() {
  std::string names;
  for (const ParameterInfo& info : kParameters) {
    names += StrCat(names.empty() ? "" : ", ", info.name);
  }
  return names;
}

}  // namespace

std::span<const ParameterInfo> AllParameters() {
  return kParameters;
}

Parameters ParametersOf(const fpga::Card& card) {
  constexpr double kRefreshOf8Gb = 350;
  Parameters parameters;
  if (fpga::FindMemory(card, "HBM")->bank_bytes > uint64_t{256} << 20) {
    parameters.hbm_rfc_ns = kRefreshOf8Gb;
  }
  return parameters;
}

Status SetParameter(std::string_view assignment, Parameters* parameters) {
  const size_t equals = assignment.find('=');
  if (equals == std::string_view::npos) {
    return InvalidArgument("--set ", Quoted(assignment), ": give NAME=VALUE");
  }
  const std::string_view name = assignment.substr(0, equals);
  const std::string_view text = assignment.substr(equals + 1);
  for (const ParameterInfo& info : kParameters) {
    if (name != info.name) {
      continue;
    }
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
      return InvalidArgument("--set ", info.name, "=", Quoted(text), ": not a number");
    }
    if (value < info.least || value > info.most) {
      return InvalidArgument("--set ", info.name, "=", value, ": out of range, from ", info.least, " to ", info.most,
                             " ", info.unit);
    }
    parameters->*info.field = value;
    return {};
  }
  return InvalidArgument("--set ", Quoted(name), ": there is no such parameter; there are: ", Names());
}

std::string ParametersText(const Parameters& parameters) {
  std::string out;
  char line[160];
  for (const ParameterInfo& info : kParameters) {
    std::snprintf(line, sizeof line, "%-22s %9.6g  %8.6g .. %-8.6g %-11s ", info.name, parameters.*info.field, info.low,
                  info.high, info.unit);
    out += line;
    out += StrCat(info.what, " [", info.source, "]\n");
  }
  return out;
}

}  // namespace phidias::sim
