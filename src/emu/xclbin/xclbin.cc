#include "emu/xclbin/xclbin.h"

#include <xclbin.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "emu/xclbin/sections.h"

namespace phidias::emu {
namespace {

constexpr int kDefaultMhz = 300;

struct Section {
  axlf_section_kind kind;
  const char* name;
  std::string bytes;
};

// FNV-1a over every section, with two offsets: the same content has the same uuid.
void SetUuid(const std::vector<Section>& sections, axlf_header* header) {
  uint64_t hashes[] = {0xcbf29ce484222325, 0x84222325cbf29ce4};
  for (uint64_t& hash : hashes) {
    for (const Section& section : sections) {
      for (const char byte : section.bytes) {
        hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
      }
    }
  }
  static_assert(sizeof hashes == sizeof header->uuid);
  std::memcpy(&header->uuid, hashes, sizeof hashes);
}

constexpr size_t Align(size_t size) {
  return (size + 7) / 8 * 8;
}

std::string Container(const std::vector<Section>& sections, const std::string& platform) {
  axlf top = {};
  std::memcpy(top.m_magic, "xclbin2", sizeof top.m_magic);
  top.m_signature_length = -1;
  std::memset(top.reserved, 0xff, sizeof top.reserved);
  top.m_header.m_versionMajor = 2;
  top.m_header.m_versionMinor = 13;
  std::memcpy(top.m_header.m_platformVBNV, platform.data(),
              std::min(platform.size(), sizeof top.m_header.m_platformVBNV - 1));
  top.m_header.m_numSections = static_cast<uint32_t>(sections.size());
  SetUuid(sections, &top.m_header);

  std::vector<axlf_section_header> table;
  size_t offset = Align(offsetof(axlf, m_sections) + sections.size() * sizeof(axlf_section_header));
  std::string data;
  const size_t first = offset;
  for (const Section& section : sections) {
    axlf_section_header header = {};
    header.m_sectionKind = static_cast<uint32_t>(section.kind);
    std::memcpy(header.m_sectionName, section.name,
                std::min(std::strlen(section.name), sizeof header.m_sectionName - 1));
    header.m_sectionOffset = offset;
    header.m_sectionSize = section.bytes.size();
    table.push_back(header);
    data += section.bytes;
    data.resize(Align(data.size()), '\0');
    offset = first + data.size();
  }
  top.m_header.m_length = offset;
  std::string file(reinterpret_cast<const char*>(&top), offsetof(axlf, m_sections));
  file.append(reinterpret_cast<const char*>(table.data()), table.size() * sizeof(axlf_section_header));
  file.resize(first, '\0');
  return file + data;
}

}  // namespace

Result<std::string> MakeXclbin(const fpga::LinkFile& link, std::span<const fpga::KernelSignature> kernels,
                               std::string_view kernel_library) {
  const std::vector<std::string> complaints = fpga::LintLinkFile(link, kernels);
  if (!complaints.empty()) {
    std::string text;
    for (const std::string& complaint : complaints) {
      text += (text.empty() ? "" : "; ") + complaint;
    }
    return InvalidArgument("the link file can't be built: ", text);
  }
  const Hardware hardware = Resolve(link, kernels);
  const std::vector<Section> sections = {
      {BITSTREAM, "BITSTREAM", std::string(kernel_library)},
      {MEM_TOPOLOGY, "MEM_TOPOLOGY", TopologySection(hardware.banks, {})},
      {IP_LAYOUT, "IP_LAYOUT", IpLayoutSection(hardware)},
      {CONNECTIVITY, "CONNECTIVITY", ConnectivitySection({}, hardware.wires)},
      {CLOCK_FREQ_TOPOLOGY, "CLOCK_FREQ_TOPOLOGY", ClockSection(link.clock_mhz != 0 ? link.clock_mhz : kDefaultMhz)},
      {BUILD_METADATA, "BUILD_METADATA", BuildSection(hardware)},
      {EMBEDDED_METADATA, "EMBEDDED_METADATA", MetadataSection(hardware)},
      {ASK_GROUP_CONNECTIVITY, "GROUP_CONNECTIVITY", ConnectivitySection(hardware.group_wires, hardware.wires)},
      {ASK_GROUP_TOPOLOGY, "GROUP_TOPOLOGY", TopologySection(hardware.banks, hardware.groups)},
  };
  return Container(sections, link.platform);
}

}  // namespace phidias::emu
