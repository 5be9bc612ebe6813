#include "backend/fpga/link_file.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>

namespace phidias::fpga {
namespace {

constexpr int kMaxUnits = 60;  // of one kernel, as v++ has it

std::string_view Trim(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r");
  if (first == std::string_view::npos) {
    return {};
  }
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

// Cuts `text` at the first `separator`: the part before it, `text` becomes what is behind. Without one, all of it.
std::string_view Cut(std::string_view* text, char separator) {
  const size_t at = text->find(separator);
  const std::string_view head = text->substr(0, at);
  *text = at == std::string_view::npos ? std::string_view() : text->substr(at + 1);
  return head;
}

bool IsName(std::string_view text) {
  const auto is_letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  return !text.empty() && is_letter(text[0]) &&
         std::all_of(text.begin(), text.end(), [&](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

std::optional<int> ParseCount(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0 || value > 1000000) {
    return std::nullopt;
  }
  return value;
}

// "HBM[0:3]", "DDR[1]".
std::optional<BankRange> ParseBanks(std::string_view text) {
  BankRange banks;
  banks.memory = Cut(&text, '[');
  if (!IsName(banks.memory) || !text.ends_with(']')) {
    return std::nullopt;
  }
  text.remove_suffix(1);
  const auto first = ParseCount(Cut(&text, ':'));
  const auto last = text.empty() ? first : ParseCount(text);
  if (!first || !last || *last < *first) {
    return std::nullopt;
  }
  banks.first = *first;
  banks.last = *last;
  return banks;
}

// The readers of one line's value each; false: not what v++ takes.

// kernel:2:first.second, or kernel:2 (then they are kernel_1 and kernel_2).
bool ReadUnits(std::string_view value, LinkFile* link) {
  const std::string kernel(Cut(&value, ':'));
  const auto count = ParseCount(Cut(&value, ':'));
  if (!IsName(kernel) || !count || *count < 1) {
    return false;
  }
  int made = 0;
  while (!value.empty()) {
    const size_t at = value.find_first_of(".,");
    const std::string unit(value.substr(0, at));
    value = at == std::string_view::npos ? std::string_view() : value.substr(at + 1);
    if (!IsName(unit)) {
      return false;
    }
    link->units.push_back({unit, kernel, -1});
    ++made;
  }
  if (made == 0 && *count <= kMaxUnits) {
    for (; made < *count; ++made) {
      link->units.push_back({StrCat(kernel, "_", made + 1), kernel, -1});
    }
  }
  return made == *count;
}

// unit.argument:HBM[0:3]
bool ReadPort(std::string_view value, LinkFile* link) {
  LinkPort port;
  port.unit = Cut(&value, '.');
  port.argument = Cut(&value, ':');
  const auto banks = ParseBanks(value);
  if (!IsName(port.unit) || !IsName(port.argument) || !banks) {
    return false;
  }
  port.banks = *banks;
  link->ports.push_back(std::move(port));
  return true;
}

// unit.port:unit.port[:depth]
bool ReadStream(std::string_view value, LinkFile* link) {
  LinkStream stream;
  stream.from_unit = Cut(&value, '.');
  stream.from_port = Cut(&value, ':');
  stream.to_unit = Cut(&value, '.');
  stream.to_port = Cut(&value, ':');
  for (const std::string* name : {&stream.from_unit, &stream.from_port, &stream.to_unit, &stream.to_port}) {
    if (!IsName(*name)) {
      return false;
    }
  }
  if (!value.empty()) {
    const auto depth = ParseCount(value);
    if (!depth) {
      return false;
    }
    stream.depth = *depth;
  }
  link->streams.push_back(std::move(stream));
  return true;
}

// unit:SLR1
bool ReadRegion(std::string_view value, std::map<std::string, int>* regions) {
  const std::string unit(Cut(&value, ':'));
  if (!IsName(unit) || !value.starts_with("SLR")) {
    return false;
  }
  const auto slr = ParseCount(value.substr(3));
  return slr && regions->emplace(unit, *slr).second;
}

struct Reader {
  LinkFile link;
  std::map<std::string, int> regions;
  std::string section;

  bool Read(std::string_view line) {
    if (line.front() == '[') {
      section = line;
      return line.back() == ']';
    }
    std::string_view value = line;
    const std::string_view key = Trim(Cut(&value, '='));
    value = Trim(value);
    if (section.empty() && key == "platform") {
      link.platform = value;
    }
    if (section == "[clock]" && key == "defaultFreqHz") {
      const auto megahertz = value.ends_with("000000") ? ParseCount(value.substr(0, value.size() - 6)) : std::nullopt;
      link.clock_mhz = megahertz.value_or(0);
      return megahertz.has_value();
    }
    if (section != "[connectivity]") {
      return true;
    }
    if (key == "nk") {
      return ReadUnits(value, &link);
    }
    if (key == "sp") {
      return ReadPort(value, &link);
    }
    if (key == "sc" || key == "stream_connect") {
      return ReadStream(value, &link);
    }
    return key == "slr" && ReadRegion(value, &regions);
  }
};

}  // namespace

std::string ToString(const BankRange& banks) {
  return banks.first == banks.last ? BankTag(banks.memory, banks.first)
                                   : StrCat(banks.memory, "[", banks.first, ":", banks.last, "]");
}

Result<LinkFile> RetargetLinkFile(LinkFile link, const Card& card) {
  constexpr int kSharedPlram = 4;
  const CardMemory* const hbm = FindMemory(card, "HBM");
  int masters = 0;  // every argument has a bundle of its own
  int next_bank = 0;
  for (const LinkPort& port : link.ports) {
    if (port.banks.memory == "HBM") {
      ++masters;
      next_bank = std::max(next_bank, port.banks.last + 1);
    }
  }
  link.platform = card.platform;
  for (LinkPort& port : link.ports) {
    const CardMemory* const memory = FindMemory(card, port.banks.memory);
    if (memory != nullptr && port.banks.last < memory->banks) {
      continue;
    }
    if (memory != nullptr) {
      return Unsupported(card.name, " has no ", ToString(port.banks), " for ", port.unit, ".", port.argument);
    }
    if (hbm != nullptr && masters < card.max_hbm_masters && next_bank < hbm->banks) {
      port.banks = {"HBM", next_bank, next_bank};
      ++masters;
      ++next_bank;
    } else {
      port.banks = {"PLRAM", kSharedPlram, kSharedPlram};
    }
  }
  return link;
}

std::string WriteLinkFile(const LinkFile& link, LinkTarget target) {
  std::string text = "# Made from the placement that the host uses (phidias_link); don't edit.\n";
  text += "platform=" + link.platform + "\n";
  text += target == LinkTarget::kHw ? "target=hw\n" : "target=hw_emu\ndebug=1\n";
  text += "save-temps=1\n";
  if (link.clock_mhz != 0 && target == LinkTarget::kHw) {
    text += StrCat("\n[clock]\ndefaultFreqHz=", link.clock_mhz, "000000\n");
  }
  text += "\n[connectivity]\n";
  std::vector<std::string> kernels;  // in the order of their first unit
  std::map<std::string, std::vector<std::string>> units;
  for (const LinkUnit& unit : link.units) {
    if (units[unit.kernel].empty()) {
      kernels.push_back(unit.kernel);
    }
    units[unit.kernel].push_back(unit.unit);
  }
  for (const std::string& kernel : kernels) {
    text += StrCat("nk=", kernel, ":", units[kernel].size(), ":");
    for (size_t i = 0; i < units[kernel].size(); ++i) {
      text += (i == 0 ? "" : ".") + units[kernel][i];
    }
    text += "\n";
  }
  for (const LinkPort& port : link.ports) {
    text += "sp=" + port.unit + "." + port.argument + ":" + ToString(port.banks) + "\n";
  }
  for (const LinkStream& stream : link.streams) {
    text += StrCat("sc=", stream.from_unit, ".", stream.from_port, ":", stream.to_unit, ".", stream.to_port,
                   stream.depth > 0 ? StrCat(":", stream.depth) : "", "\n");
  }
  for (const LinkUnit& unit : link.units) {
    text += unit.slr >= 0 ? StrCat("slr=", unit.unit, ":SLR", unit.slr, "\n") : "";
  }
  return text;
}

Result<LinkFile> ParseLinkFile(std::string_view text, const std::string& path) {
  Reader reader;
  for (int number = 1; !text.empty(); ++number) {
    std::string_view line = Cut(&text, '\n');
    line = Trim(Cut(&line, '#'));
    if (!line.empty() && !reader.Read(line)) {
      return DataError(path, ":", number, ": cannot read ", Quoted(line),
                       ": expected nk=KERNEL:COUNT:UNIT.UNIT, sp=UNIT.ARGUMENT:MEMORY[FIRST:LAST], "
                       "sc=UNIT.PORT:UNIT.PORT:DEPTH or slr=UNIT:SLRn");
    }
  }
  for (LinkUnit& unit : reader.link.units) {
    const auto region = reader.regions.find(unit.unit);
    if (region != reader.regions.end()) {
      unit.slr = region->second;
      reader.regions.erase(region);
    }
  }
  if (!reader.regions.empty()) {
    return DataError(path, ": slr= names ", Quoted(reader.regions.begin()->first), ", which no nk= line makes");
  }
  return std::move(reader.link);
}

}  // namespace phidias::fpga
