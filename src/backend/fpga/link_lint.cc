#include <algorithm>
#include <map>
#include <set>

#include "backend/fpga/link_file.h"

namespace phidias::fpga {
namespace {

// An AXI4 channel of a port, address and handshakes beside the data: 20 512-bit ports that read and write take 26,200
// wires.
constexpr int kAxiOverheadWires = 143;
constexpr int kStreamOverheadWires = 2;

using Kernels = std::map<std::string, const KernelSignature*>;

const KernelArgument* FindArgument(const KernelSignature& kernel, const std::string& name) {
  for (const KernelArgument& argument : kernel.arguments) {
    if (argument.name == name) {
      return &argument;
    }
  }
  return nullptr;
}

bool IsStream(ArgumentKind kind) {
  return kind == ArgumentKind::kStreamIn || kind == ArgumentKind::kStreamOut;
}

// One m_axi master: a unit's bundle.
struct Master {
  int bits = 0;
  bool reads = false;
  bool writes = false;
  BankRange banks;
  std::string argument;  // the first one that uses it
};
using Masters = std::map<std::pair<std::string, std::string>, Master>;  // by unit and bundle

class Linter {
 public:
  Linter(const LinkFile& link, std::span<const KernelSignature> kernels) : link_(link), card_(FindCard(link.platform)) {
    for (const KernelSignature& kernel : kernels) {
      kernels_[kernel.name] = &kernel;
    }
    for (const LinkUnit& unit : link.units) {
      units_.emplace(unit.unit, &unit);
    }
  }

  std::vector<std::string> Run() {
    if (card_ == nullptr) {
      Complain("platform ", Quoted(link_.platform), " is not one of a known card");
      return complaints_;
    }
    CheckUnits();
    CheckPorts();
    CheckStreams();
    CheckUnwired();
    if (complaints_.empty()) {
      CheckLimits();
    }
    return complaints_;
  }

  LinkUsage Measure(const Card& card) {
    card_ = &card;
    CheckPorts();  // collects the masters
    LinkUsage usage;
    usage.wires.assign(card.slrs - 1, 0);
    for (const auto& [key, master] : masters_) {
      usage.hbm_masters += master.banks.memory == "HBM" ? 1 : 0;
      const int wires =
          (master.reads ? master.bits + kAxiOverheadWires : 0) + (master.writes ? master.bits + kAxiOverheadWires : 0);
      AddWires(units_.at(key.first)->slr, SlrOfBank(master.banks.memory, master.banks.first), wires, &usage);
    }
    for (const LinkStream& stream : link_.streams) {
      const KernelArgument* const from = Argument(stream.from_unit, stream.from_port);
      const auto to = units_.find(stream.to_unit);
      if (from != nullptr && to != units_.end()) {
        AddWires(units_.at(stream.from_unit)->slr, to->second->slr, from->data_bits + kStreamOverheadWires, &usage);
      }
    }
    return usage;
  }

 private:
  template <class... Parts>
  void Complain(const Parts&... parts) {
    complaints_.push_back(StrCat(parts...));
  }

  // Units whose region is left to the tool are taken to lie where what they are wired to does.
  static void AddWires(int from, int to, int wires, LinkUsage* usage) {
    for (int region = std::min(from, to); from >= 0 && to >= 0 && region < std::max(from, to); ++region) {
      usage->wires.at(region) += wires;
    }
  }

  const KernelSignature* Kernel(const std::string& unit) const {
    const auto found = units_.find(unit);
    const auto kernel = found == units_.end() ? kernels_.end() : kernels_.find(found->second->kernel);
    return kernel == kernels_.end() ? nullptr : kernel->second;
  }
  const KernelArgument* Argument(const std::string& unit, const std::string& name) const {
    const KernelSignature* const kernel = Kernel(unit);
    return kernel == nullptr ? nullptr : FindArgument(*kernel, name);
  }

  void CheckUnits() {
    std::set<std::string> seen;
    for (const LinkUnit& unit : link_.units) {
      if (!seen.insert(unit.unit).second) {
        Complain("unit ", unit.unit, " is there twice");
      }
      if (!kernels_.contains(unit.kernel)) {
        Complain("unit ", unit.unit, ": there is no kernel ", unit.kernel);
      }
      if (unit.slr >= card_->slrs) {
        Complain("unit ", unit.unit, ": ", card_->name, " has no SLR", unit.slr);
      }
    }
  }

  // Whether the unit and its argument exist; complains if not. `line`: how the link file spells it.
  const KernelArgument* Lookup(const std::string& unit, const std::string& name, const std::string& line) {
    if (!units_.contains(unit)) {
      Complain(line, ": there is no unit ", unit);
      return nullptr;
    }
    const KernelSignature* const kernel = Kernel(unit);
    const KernelArgument* const argument = Argument(unit, name);
    if (kernel != nullptr && argument == nullptr) {
      Complain(line, ": kernel ", kernel->name, " has no argument ", name);
    }
    return argument;
  }

  void CheckPorts() {
    masters_.clear();
    wired_.clear();
    for (const LinkPort& port : link_.ports) {
      const std::string line = StrCat("sp=", port.unit, ".", port.argument, ":", ToString(port.banks));
      const KernelArgument* const argument = Lookup(port.unit, port.argument, line);
      if (argument == nullptr) {
        continue;
      }
      if (argument->kind != ArgumentKind::kMemory) {
        Complain(line, ": ", port.argument, " is not a memory argument");
      } else if (!wired_.emplace(port.unit, port.argument).second) {
        Complain(line, ": ", port.unit, ".", port.argument, " is wired twice");
      } else if (CheckBanks(port.banks, line)) {
        AddMaster(port, *argument, line);
      }
    }
  }

  bool CheckBanks(const BankRange& banks, const std::string& line) {
    const CardMemory* const memory = FindMemory(*card_, banks.memory);
    if (memory == nullptr) {
      Complain(line, ": ", card_->name, " has no ", banks.memory);
      return false;
    }
    if (banks.last >= memory->banks) {
      Complain(line, ": ", card_->name, " has ", banks.memory, "[0] to ", BankTag(banks.memory, memory->banks - 1));
      return false;
    }
    return true;
  }

  void AddMaster(const LinkPort& port, const KernelArgument& argument, const std::string& line) {
    const auto [place, fresh] = masters_.try_emplace({port.unit, argument.bundle});
    Master& master = place->second;
    if (fresh) {
      master.banks = port.banks;
      master.argument = argument.name;
    } else if (master.banks != port.banks) {
      Complain(line, ": shares bundle ", argument.bundle, " with ", master.argument, ", which is wired to ",
               ToString(master.banks));
    }
    master.bits = std::max(master.bits, argument.data_bits);
    master.writes |= argument.writes;
    master.reads |= !argument.writes;
  }

  void CheckStreams() {
    for (const LinkStream& stream : link_.streams) {
      const std::string line =
          StrCat("sc=", stream.from_unit, ".", stream.from_port, ":", stream.to_unit, ".", stream.to_port);
      const KernelArgument* const from = Lookup(stream.from_unit, stream.from_port, line);
      const KernelArgument* const to = Lookup(stream.to_unit, stream.to_port, line);
      if (from == nullptr || to == nullptr) {
        continue;
      }
      if (from->kind != ArgumentKind::kStreamOut || to->kind != ArgumentKind::kStreamIn) {
        Complain(line, ": goes from an output stream to an input stream");
      } else if (from->data_bits != to->data_bits) {
        Complain(line, ": ", from->data_bits, " bits wide at one end and ", to->data_bits, " at the other");
      }
      for (const auto& [unit, port] :
           {std::pair(stream.from_unit, stream.from_port), std::pair(stream.to_unit, stream.to_port)}) {
        if (!wired_.emplace(unit, port).second) {
          Complain(line, ": ", unit, ".", port, " is wired twice");
        }
      }
    }
  }

  void CheckUnwired() {
    for (const LinkUnit& unit : link_.units) {
      const KernelSignature* const kernel = Kernel(unit.unit);
      for (size_t i = 0; kernel != nullptr && i < kernel->arguments.size(); ++i) {
        const KernelArgument& argument = kernel->arguments[i];
        if (argument.kind != ArgumentKind::kScalar && !wired_.contains({unit.unit, argument.name})) {
          Complain("unit ", unit.unit, ": ", argument.name, " is wired to nothing (",
                   IsStream(argument.kind) ? "sc=" : "sp=", ")");
        }
      }
    }
  }

  void CheckLimits() {
    const LinkUsage usage = Measure(*card_);
    if (usage.hbm_masters > card_->max_hbm_masters) {
      Complain(usage.hbm_masters, " HBM masters (a unit's bundles count one each), and ", card_->name,
               " has ports for ", card_->max_hbm_masters);
    }
    for (size_t i = 0; i < usage.wires.size(); ++i) {
      if (usage.wires[i] > card_->wires[i]) {
        Complain(usage.wires[i], " wires between SLR", i, " and SLR", i + 1, ", and ", card_->name, " has ",
                 card_->wires[i]);
      }
    }
  }

  const LinkFile& link_;
  const Card* card_;
  Kernels kernels_;
  std::map<std::string, const LinkUnit*> units_;
  std::set<std::pair<std::string, std::string>> wired_;  // unit and argument
  Masters masters_;
  std::vector<std::string> complaints_;
};

}  // namespace

std::vector<std::string> LintLinkFile(const LinkFile& link, std::span<const KernelSignature> kernels) {
  return Linter(link, kernels).Run();
}

LinkUsage MeasureLinkFile(const LinkFile& link, std::span<const KernelSignature> kernels, const Card& card) {
  return Linter(link, kernels).Measure(card);
}

}  // namespace phidias::fpga
