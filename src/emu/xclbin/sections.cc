#include "emu/xclbin/sections.h"

#include <xclbin.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "common/str.h"

namespace phidias::emu {
namespace {

using fpga::ArgumentKind;
using fpga::KernelArgument;
using fpga::KernelSignature;

constexpr uint64_t kFirstRegisters = 0x1800000;
constexpr uint64_t kRegisterRange = 0x10000;
constexpr uint64_t kNoRegisters = ~uint64_t{0};
constexpr int kDefaultDepth = 2;  // of a stream without one: the handshake's registers

template <class T>
void Append(std::string* bytes, const T& value) {
  bytes->append(reinterpret_cast<const char*>(&value), sizeof value);
}

// A counted table: `header_bytes` holds the count and padding.
template <class Entry>
std::string Table(const std::vector<Entry>& entries, size_t header_bytes) {
  std::string bytes(header_bytes, '\0');
  const auto count = static_cast<int32_t>(entries.size());
  std::memcpy(bytes.data(), &count, sizeof count);
  for (const Entry& entry : entries) {
    Append(&bytes, entry);
  }
  return bytes;
}

template <size_t kSize>
void CopyName(unsigned char (&to)[kSize], const std::string& name) {
  std::memcpy(to, name.data(), std::min(name.size(), kSize - 1));
}

std::string HexNumber(uint64_t value) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string PortName(const KernelArgument& argument) {
  if (argument.kind == ArgumentKind::kStreamIn || argument.kind == ArgumentKind::kStreamOut) {
    return argument.name;
  }
  if (argument.kind != ArgumentKind::kMemory) {
    return "S_AXI_CONTROL";
  }
  std::string name = "M_AXI_" + argument.bundle;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c; });
  return name;
}

// The index of the group of banks first..last, made if need be.
int GroupOf(int first, int last, Hardware* hardware) {
  const std::string tag = StrCat("MBG[", first, ":", last, "]");
  auto& groups = hardware->groups;
  auto found = std::find_if(groups.begin(), groups.end(), [&](const TopologyEntry& group) { return group.tag == tag; });
  if (found == groups.end()) {
    TopologyEntry group = hardware->banks[first];
    group.tag = tag;
    group.used = true;
    group.bytes = hardware->banks[last].base + hardware->banks[last].bytes - group.base;
    found = groups.insert(groups.end(), group);
  }
  return static_cast<int>(hardware->banks.size() + (found - groups.begin()));
}

void ConnectPort(const fpga::LinkPort& port, const std::map<std::string, int>& first_bank, Hardware* hardware) {
  const auto unit = std::find_if(hardware->units.begin(), hardware->units.end(),
                                 [&](const HardwareUnit& candidate) { return candidate.name == port.unit; });
  const auto& arguments = unit->kernel->arguments;
  const auto argument = std::find_if(arguments.begin(), arguments.end(),
                                     [&](const KernelArgument& candidate) { return candidate.name == port.argument; });
  Wire wire;
  wire.unit = static_cast<int>(unit - hardware->units.begin());
  wire.argument = static_cast<int>(argument - arguments.begin());
  const int first = first_bank.at(port.banks.memory) + port.banks.first;
  const int last = first_bank.at(port.banks.memory) + port.banks.last;
  for (wire.entry = first; wire.entry <= last; ++wire.entry) {
    hardware->banks[wire.entry].used = true;
    hardware->wires.push_back(wire);
  }
  if (last > first) {
    wire.entry = GroupOf(first, last, hardware);
    hardware->group_wires.push_back(wire);
  }
}

// A stream: both of its ends are wired to one entry.
void ConnectStream(const fpga::LinkStream& stream, int entry, Hardware* hardware) {
  for (const auto& [unit_name, port] :
       {std::pair(stream.from_unit, stream.from_port), std::pair(stream.to_unit, stream.to_port)}) {
    for (size_t u = 0; u < hardware->units.size(); ++u) {
      const auto& arguments = hardware->units[u].kernel->arguments;
      for (size_t a = 0; a < arguments.size(); ++a) {
        if (hardware->units[u].name == unit_name && arguments[a].name == port) {
          hardware->wires.push_back({static_cast<int>(a), static_cast<int>(u), entry});
        }
      }
    }
  }
}

bool IsStream(const KernelArgument& argument) {
  return argument.kind == ArgumentKind::kStreamIn || argument.kind == ArgumentKind::kStreamOut;
}

// Nothing to set and nobody to start it.
bool RunsByItself(const KernelSignature& kernel) {
  return std::all_of(kernel.arguments.begin(), kernel.arguments.end(), IsStream);
}

// As XRT's metadata has it.
int Qualifier(const KernelArgument& argument) {
  return IsStream(argument) ? 4 : (argument.kind == ArgumentKind::kMemory ? 1 : 0);
}

std::string XmlText(const std::string& text) {
  std::string out;
  for (const char c : text) {
    out += c == '<' ? "&lt;" : (c == '>' ? "&gt;" : (c == '&' ? "&amp;" : std::string(1, c)));
  }
  return out;
}

std::string KernelXml(const KernelSignature& kernel, const Hardware& hardware) {
  std::string xml = StrCat("<kernel name=\"", kernel.name, "\" language=\"c\" vlnv=\"xilinx.com:hls:", kernel.name,
                           ":1.0\" type=\"pl\" interrupt=\"", RunsByItself(kernel) ? "false" : "true",
                           "\" hwControlProtocol=\"", RunsByItself(kernel) ? "ap_ctrl_none" : "ap_ctrl_chain", "\">\n");
  std::map<std::string, int> ports;
  for (const KernelArgument& argument : kernel.arguments) {
    if (argument.kind == ArgumentKind::kMemory) {
      int& bits = ports[PortName(argument)];
      bits = std::max(bits, argument.data_bits);
    }
  }
  for (const auto& [port, bits] : ports) {
    xml += StrCat("<port name=\"", port, "\" mode=\"master\" range=\"0xFFFFFFFFFFFFFFFF\" dataWidth=\"", bits,
                  "\" portType=\"addressable\" base=\"0x0\"/>\n");
  }
  for (const KernelArgument& argument : kernel.arguments) {
    if (IsStream(argument)) {
      xml += StrCat("<port name=\"", argument.name, "\" mode=\"",
                    argument.kind == ArgumentKind::kStreamOut ? "write_only" : "read_only", "\" dataWidth=\"",
                    argument.data_bits, "\" portType=\"stream\"/>\n");
    }
  }
  xml +=
      RunsByItself(kernel)
          ? ""
          : "<port name=\"S_AXI_CONTROL\" mode=\"slave\" range=\"0x10000\" dataWidth=\"32\" portType=\"addressable\" "
            "base=\"0x0\"/>\n";
  const std::vector<int> offsets = RegisterOffsets(kernel);
  for (size_t i = 0; i < kernel.arguments.size(); ++i) {
    const KernelArgument& argument = kernel.arguments[i];
    const std::string size = HexNumber(argument.bytes);
    xml += StrCat("<arg name=\"", argument.name, "\" addressQualifier=\"", Qualifier(argument), "\" id=\"", i,
                  "\" port=\"", PortName(argument), "\" size=\"", size, "\" offset=\"", HexNumber(offsets[i]),
                  "\" hostOffset=\"0x0\" hostSize=\"", size, "\" type=\"", XmlText(argument.type),
                  "\" memSize=\"0\" origName=\"", argument.name, "\"/>\n");
  }
  for (const HardwareUnit& unit : hardware.units) {
    if (unit.kernel == &kernel && unit.interrupt == 0) {
      xml += StrCat("<instance name=\"", unit.name, "\"/>\n");
    } else if (unit.kernel == &kernel) {
      xml += StrCat("<instance name=\"", unit.name, "\"><addrRemap base=\"", HexNumber(unit.base), "\" range=\"",
                    HexNumber(kRegisterRange), "\" port=\"S_AXI_CONTROL\"/></instance>\n");
    }
  }
  return xml + "</kernel>\n";
}

// Every kernel that a unit is made of, once, in the units' order.
std::vector<const KernelSignature*> UsedKernels(const Hardware& hardware) {
  std::vector<const KernelSignature*> kernels;
  for (const HardwareUnit& unit : hardware.units) {
    if (std::find(kernels.begin(), kernels.end(), unit.kernel) == kernels.end()) {
      kernels.push_back(unit.kernel);
    }
  }
  return kernels;
}

}  // namespace

std::vector<int> RegisterOffsets(const KernelSignature& kernel) {
  std::vector<int> offsets;
  int offset = 0x10;  // behind the control registers
  for (const KernelArgument& argument : kernel.arguments) {
    if (IsStream(argument)) {
      offsets.push_back(0);
      continue;
    }
    offsets.push_back(offset);
    offset += (argument.bytes + 3) / 4 * 4 + 4;  // whole words, and one reserved
  }
  return offsets;
}

Hardware Resolve(const fpga::LinkFile& link, std::span<const KernelSignature> kernels) {
  Hardware hardware;
  hardware.card = fpga::FindCard(link.platform);
  std::map<std::string, int> first_bank;
  for (const fpga::CardMemory& memory : hardware.card->memories) {
    first_bank[memory.name] = static_cast<int>(hardware.banks.size());
    for (int i = 0; i < memory.banks; ++i) {
      hardware.banks.push_back({fpga::BankTag(memory.name, i), std::string(memory.name) == "DDR", false,
                                memory.first_address + i * memory.address_step, memory.bank_bytes});
    }
  }
  int controlled = 0;
  for (const fpga::LinkUnit& unit : link.units) {
    const auto kernel = std::find_if(kernels.begin(), kernels.end(),
                                     [&](const KernelSignature& candidate) { return candidate.name == unit.kernel; });
    if (RunsByItself(*kernel)) {
      hardware.units.push_back({unit.unit, &*kernel, kNoRegisters, 0});
      continue;
    }
    ++controlled;
    hardware.units.push_back({unit.unit, &*kernel, kFirstRegisters + (controlled - 1) * kRegisterRange, controlled});
  }
  const auto first_stream = static_cast<int>(hardware.banks.size());
  for (const fpga::LinkStream& stream : link.streams) {
    const auto number = static_cast<int>(hardware.banks.size()) - first_stream;
    hardware.banks.push_back(
        {.tag = StrCat("dc_", number), .is_stream = true, .depth = std::max(stream.depth, kDefaultDepth)});
    ConnectStream(stream, first_stream + number, &hardware);
  }
  for (const fpga::LinkPort& port : link.ports) {
    ConnectPort(port, first_bank, &hardware);
  }
  return hardware;
}

std::string TopologySection(const std::vector<TopologyEntry>& banks, const std::vector<TopologyEntry>& groups) {
  std::vector<mem_data> entries;
  for (const std::vector<TopologyEntry>* part : {&banks, &groups}) {
    for (const TopologyEntry& entry : *part) {
      mem_data data = {};
      data.m_type = entry.is_ddr ? MEM_DDR4 : MEM_DRAM;
      data.m_used = entry.used ? 1 : 0;
      data.m_size = entry.bytes >> 10;
      data.m_base_address = entry.base;
      if (entry.is_stream) {
        data.m_type = MEM_STREAMING_CONNECTION;
        data.route_id = static_cast<uint64_t>(entry.depth);
        data.flow_id = 0;
      }
      CopyName(data.m_tag, entry.tag);
      entries.push_back(data);
    }
  }
  return Table(entries, offsetof(mem_topology, m_mem_data));
}

std::string ConnectivitySection(const std::vector<Wire>& group_wires, const std::vector<Wire>& wires) {
  std::vector<connection> entries;
  for (const std::vector<Wire>* part : {&group_wires, &wires}) {
    for (const Wire& wire : *part) {
      entries.push_back({wire.argument, wire.unit, wire.entry});
    }
  }
  return Table(entries, offsetof(connectivity, m_connection));
}

std::string IpLayoutSection(const Hardware& hardware) {
  std::vector<ip_data> entries;
  for (const HardwareUnit& unit : hardware.units) {
    ip_data data = {};
    data.m_type = IP_KERNEL;
    data.properties = unit.interrupt == 0
                          ? static_cast<uint32_t>(AP_CTRL_NONE) << IP_CONTROL_SHIFT
                          : IP_INT_ENABLE_MASK | static_cast<uint32_t>(unit.interrupt) << IP_INTERRUPT_ID_SHIFT |
                                static_cast<uint32_t>(AP_CTRL_CHAIN) << IP_CONTROL_SHIFT;
    data.m_base_address = unit.base;
    CopyName(data.m_name, unit.kernel->name + ":" + unit.name);
    entries.push_back(data);
  }
  return Table(entries, offsetof(ip_layout, m_ip_data));
}

std::string ClockSection(int clock_mhz) {
  std::string bytes;
  const std::tuple<const char*, int, CLOCK_TYPE> clocks[] = {
      {"DATA_CLK", clock_mhz, CT_DATA}, {"KERNEL_CLK", 500, CT_KERNEL}, {"hbm_aclk", 450, CT_SYSTEM}};
  Append(&bytes, static_cast<int16_t>(std::size(clocks)));
  for (const auto& [name, megahertz, type] : clocks) {
    clock_freq entry = {};
    entry.m_freq_Mhz = static_cast<u_int16_t>(megahertz);
    entry.m_type = static_cast<u_int8_t>(type);
    std::memcpy(entry.m_name, name, std::strlen(name));
    Append(&bytes, entry);
  }
  return bytes;
}

std::string MetadataSection(const Hardware& hardware) {
  std::string xml = StrCat(
      "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<project name=\"phidias\">\n<platform vendor=\"xilinx\" boardid=\"",
      hardware.card->board, "\" name=\"gen3x16_xdma\" featureRomTime=\"0\">\n<device name=\"fpga0\" fpgaDevice=\"",
      hardware.card->fpga,
      "\" addrWidth=\"0\">\n<core name=\"OCL_REGION_0\" target=\"bitstream\" type=\"clc_region\" clockFreq=\"0MHz\" "
      "numComputeUnits=\"60\">\n<kernelClocks><clock port=\"KERNEL_CLK\" frequency=\"500MHz\"/><clock "
      "port=\"DATA_CLK\" frequency=\"300MHz\"/></kernelClocks>\n");
  for (const KernelSignature* kernel : UsedKernels(hardware)) {
    xml += KernelXml(*kernel, hardware);
  }
  return xml + "</core></device></platform></project>\n";
}

std::string BuildSection(const Hardware& hardware) {
  std::string kernels;
  for (const KernelSignature* kernel : UsedKernels(hardware)) {
    kernels += StrCat(kernels.empty() ? "" : ",", "{\"name\":\"", kernel->name, "\",\"controlled\":\"",
                      RunsByItself(*kernel) ? "false" : "true", "\"}");
  }
  return StrCat(
      "{\"build_metadata\":{\"schema_version\":{\"major\":\"1\",\"minor\":\"0\",\"patch\":\"0\"},\"xclbin\":{"
      "\"generated_by\":{\"name\":\"phidias\",\"version\":\"1\",\"cl\":\"0\",\"time_stamp\":\"0\"},\"user_regions\":[{"
      "\"name\":\"OCL_REGION_0\",\"type\":\"clc_region\",\"kernels\":[",
      kernels, "]}]},\"dsa\":{\"board_id\":\"", hardware.card->board,
      "\",\"name\":\"gen3x16_xdma\",\"vendor\":\"xilinx\"}}}");
}

}  // namespace phidias::emu
