#pragma once

// The sections of an xclbin, each as the bytes that <xclbin.h> declares.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "backend/fpga/link_file.h"

namespace phidias::emu {

// One entry of the memory topology: a bank, or a group that a port is wired to.
struct TopologyEntry {
  std::string tag;
  bool is_ddr = false;
  bool used = false;
  uint64_t base = 0;
  uint64_t bytes = 0;
  bool is_stream = false;  // between two units; v++ lists these beside the memories ("dc_0")
  int depth = 0;           // of a stream: kept where a streaming memory has its route
};

struct Wire {
  int argument = 0;
  int unit = 0;  // in the order of Hardware::units
  int entry = 0;
};

struct HardwareUnit {
  std::string name;
  const fpga::KernelSignature* kernel = nullptr;
  uint64_t base = 0;  // of its registers
  int interrupt = 0;  // 0: nothing but streams, runs by itself (ap_ctrl_none)
};

// A link file with its names resolved.
struct Hardware {
  const fpga::Card* card = nullptr;
  std::vector<HardwareUnit> units;
  std::vector<TopologyEntry> banks;
  std::vector<TopologyEntry> groups;  // their indices follow the banks'
  std::vector<Wire> wires;            // to banks
  std::vector<Wire> group_wires;
};

// The link file has passed LintLinkFile.
Hardware Resolve(const fpga::LinkFile& link, std::span<const fpga::KernelSignature> kernels);

// Where Vitis HLS puts a kernel's arguments in its register map.
std::vector<int> RegisterOffsets(const fpga::KernelSignature& kernel);

std::string TopologySection(const std::vector<TopologyEntry>& banks, const std::vector<TopologyEntry>& groups);
std::string ConnectivitySection(const std::vector<Wire>& group_wires, const std::vector<Wire>& wires);
std::string IpLayoutSection(const Hardware& hardware);
std::string ClockSection(int clock_mhz);
std::string MetadataSection(const Hardware& hardware);  // the XML with kernels, ports, arguments
std::string BuildSection(const Hardware& hardware);     // the JSON

}  // namespace phidias::emu
