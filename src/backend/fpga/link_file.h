#pragma once

// What v++ --link is told: which compute units there are, which memory banks each of their ports is wired to, and in
// which region of the chip each lies. The same description makes the real card's link files (WriteLinkFile), the
// emulated card's xclbin, and what the host expects of a loaded xclbin.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/fpga/card.h"
#include "common/status.h"

namespace phidias::fpga {

// Banks first..last of one of the card's memories: HBM[4:7], DDR[0].
struct BankRange {
  std::string memory;
  int first = 0;
  int last = 0;

  bool operator==(const BankRange&) const = default;
};
std::string ToString(const BankRange& banks);

struct LinkUnit {
  std::string unit;    // "fc1"
  std::string kernel;  // "linear_s8_b4w512"
  int slr = -1;        // -1: left to the tool

  bool operator==(const LinkUnit&) const = default;
};

// One memory argument of a unit.
struct LinkPort {
  std::string unit;
  std::string argument;
  BankRange banks;

  bool operator==(const LinkPort&) const = default;
};

// An AXI stream from one unit's output to another one's input.
struct LinkStream {
  std::string from_unit;
  std::string from_port;
  std::string to_unit;
  std::string to_port;
  int depth = 0;  // 0: the tool's

  bool operator==(const LinkStream&) const = default;
};

struct LinkFile {
  std::string platform;  // a Card's
  int clock_mhz = 0;     // 0: the platform's own
  std::vector<LinkUnit> units;
  std::vector<LinkPort> ports;
  std::vector<LinkStream> streams;

  bool operator==(const LinkFile&) const = default;
};

// The same wiring for another card. Ports on a memory that it doesn't have (a U55C has no DDR) go to the HBM banks
// behind those in use, one each, as long as the card has masters to spare; the others share PLRAM[4], which then has to
// be made larger than it is by default (hls/vitis/plram.tcl). Errors: the card lacks the banks.
Result<LinkFile> RetargetLinkFile(LinkFile link, const Card& card);

enum class LinkTarget { kHw, kHwEmu };

// The text of a v++ configuration file.
std::string WriteLinkFile(const LinkFile& link, LinkTarget target);
// Reads what WriteLinkFile writes, and any v++ configuration with nk=, sp=, sc= and slr= in [connectivity]; other
// sections are passed over. Errors name `path` and the line.
Result<LinkFile> ParseLinkFile(std::string_view text, const std::string& path);

// How a kernel's top function looks from outside.
enum class ArgumentKind { kScalar, kMemory, kStreamIn, kStreamOut };
struct KernelArgument {
  std::string name;
  ArgumentKind kind = ArgumentKind::kScalar;
  std::string type;     // for people and the xclbin's metadata: "ap_uint<512>*", "float"
  int bytes = 0;        // in the register map: a scalar's size, 8 for memory
  int data_bits = 0;    // the port's width: memory and streams
  bool writes = false;  // memory that the kernel writes
  std::string bundle;   // memory: the m_axi bundle that it shares with others
};
struct KernelSignature {
  std::string name;
  std::vector<KernelArgument> arguments;
};

// Everything that is wrong with a link file, one complaint each; empty if v++ should take it.
//   names      units, kernels and arguments that don't exist, are there twice, or are left unwired
//   memories   banks that the card doesn't have; arguments of one bundle on different banks
//   masters    more HBM masters than the card has ports
//   streams    ends that aren't streams, are used twice, or differ in width
//   wires      more wires between two regions than there are, by the units' slr
std::vector<std::string> LintLinkFile(const LinkFile& link, std::span<const KernelSignature> kernels);

// What of a card's limits a link file uses: the numbers behind two of LintLinkFile's rules.
struct LinkUsage {
  int hbm_masters = 0;
  std::vector<int> wires;  // between region i and i + 1
};
LinkUsage MeasureLinkFile(const LinkFile& link, std::span<const KernelSignature> kernels, const Card& card);

}  // namespace phidias::fpga
