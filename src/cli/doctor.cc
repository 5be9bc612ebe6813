// phidias doctor: what a card needs, checked one after the other, and what to do about each fault.

#include <cstdlib>

#include "backend/fpga/packer.h"
#include "backend/fpga/tiled_backend.h"
#include "backend/fpga/tiled_link.h"
#include "backend/fpga/tiled_pack.h"
#include "backend/fpga/xrt_card.h"
#include "cli/device_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/json.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "emu/emulated_card.h"
#include "engine/card_weights.h"
#include "hls/tiled_design.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias doctor [OPTIONS]";
constexpr const char* kExamples =
    "Checks in turn: XRT, its driver, the card, its shell, the xclbin and its design, whether the card takes it (it is "
    "loaded\n"
    "onto the card), and with --packed whether that file is whole and of the same design (with -m: and made from that "
    "model).\n"
    "Says what to do about each fault. What can't be checked because of an earlier fault is left out.\n"
    "\n"
    "Examples:\n"
    "  phidias doctor --xclbin report-f16.xclbin\n"
    "  phidias doctor --device u280-emu -m MODEL --packed MODEL.packed --json\n"
    "  phidias doctor --device u280-emu -m MODEL --design tiled\n";

constexpr const char* kEmulated = "u280-emu";
constexpr int64_t kMaxCards = 64;

struct DoctorFlags {
  std::string device = "u280";
  std::string design = "report";
  int64_t card = 0;
  std::optional<std::string> xclbin;
  std::optional<std::string> packed;
  std::optional<std::string> model;
  bool json = false;
};

// One check's outcome; `advice` is empty if all is well.
struct Finding {
  std::string what;
  bool ok = false;
  std::string found;
  std::string advice;
};

// An xclbin that would do.
struct Expected {
  std::string what;
  std::string xclbin;  // its name
  fpga::LinkFile link;
  uint64_t fingerprint = 0;  // of a packed file for it
};

class Doctor {
 public:
  explicit Doctor(const DoctorFlags& flags) : flags_(flags) {}

  // The checks, up to the first that the others stand on and that fails. Errors: the flags themselves.
  Status Examine() {
    if (flags_.model.has_value()) {
      ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags_.model));
      ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(path));
      checkpoint_ = std::make_unique<Checkpoint>(std::move(checkpoint));
    }
    RETURN_IF_ERROR(flags_.design == fpga::kTiledDesignName ? ExpectTiled() : ExpectReport());
    if (CheckXrt() && CheckCard()) {
      CheckShell();
      if (CheckXclbin()) {
        CheckLoad();
      }
    }
    if (flags_.packed.has_value()) {
      CheckPacked();
    }
    return {};
  }

  const std::vector<Finding>& findings() const { return findings_; }
  bool well() const {
    return std::all_of(findings_.begin(), findings_.end(), [](const Finding& finding) { return finding.ok; });
  }

 private:
  bool Good(const std::string& what, const std::string& found) {
    findings_.push_back({what, true, found, ""});
    return true;
  }
  bool Bad(const std::string& what, const std::string& found, const std::string& advice) {
    findings_.push_back({what, false, found, advice});
    return false;
  }

  // What would do: of the model, or of any model that the design takes.
  Status ExpectReport() {
    ASSIGN_OR_RETURN(const hls::DesignPoint* const design, fpga::FindDesign(flags_.design));
    platform_ = design->platform;
    std::vector<fpga::LmHeadType> types = {fpga::LmHeadType::kF16, fpga::LmHeadType::kBF16, fpga::LmHeadType::kF32};
    if (checkpoint_ != nullptr) {
      const fpga::CardWeights weights = CardWeightsOf(*checkpoint_);
      ASSIGN_OR_RETURN(fpga::PlacementOptions placing, fpga::CheckWeights(weights, {}));
      placing.positions = 1;  // caches have no part in this
      ASSIGN_OR_RETURN(const fpga::HbmPlacement placement, fpga::PlanPlacement(weights.shape, *design, placing));
      types = {placement.lm_head};
      header_ = fpga::HeaderOf(weights, placement);
    }
    for (const fpga::LmHeadType type : types) {
      const std::string_view name = fpga::LmHeadTypeName(type);
      expected_.push_back({.what = StrCat(design->name, ", lm_head of ", name),
                           .xclbin = StrCat(design->name, "-", name),
                           .link = fpga::DesignLinkFile(*design, type),
                           .fingerprint = fpga::DesignFingerprint(*design)});
    }
    return {};
  }

  Status ExpectTiled() {
    platform_ = hls::tiled::kTiledPlatform;
    int64_t most = hls::tiled::kMaxTiles;
    int64_t least = 1;
    if (checkpoint_ != nullptr) {
      ASSIGN_OR_RETURN(const fpga::TiledWeights weights, TiledWeightsOf(*checkpoint_));
      ASSIGN_OR_RETURN(const fpga::TiledPlacement plan, fpga::PlanTiled(weights.shape, weights.PlanOptions(0)));
      most = least = plan.tiles;
      header_ = fpga::TiledPackedHeader(weights, plan);
    }
    for (int64_t tiles = most; tiles >= least; --tiles) {
      expected_.push_back({.what = StrCat(fpga::kTiledDesignName, ", ", tiles, tiles == 1 ? " tile" : " tiles"),
                           .xclbin = fpga::TiledXclbinName(tiles),
                           .link = fpga::TiledLinkFile(tiles),
                           .fingerprint = fpga::TiledDesignFingerprint(tiles)});
    }
    return {};
  }

  bool CheckXrt() {
    if (fpga::XrtVersion().empty()) {
      return Bad("XRT", "this program was built without it",
                 "install XRT (Debian: apt-get install libxrt-dev), then build again");
    }
    if (flags_.device == kEmulated) {
      const Status status = emu::EnableEmulatedCard();
      if (!status.ok()) {
        return Bad("XRT", status.message(), "build the target phidias_emulated_card, or set PHIDIAS_EMU_DIR");
      }
    } else if (std::getenv("XILINX_XRT") == nullptr) {
      return Bad("XRT", "built with " + fpga::XrtVersion() + ", but XILINX_XRT isn't set",
                 "source /opt/xilinx/xrt/setup.sh (it sets XILINX_XRT)");
    }
    return Good("XRT", fpga::XrtVersion());
  }

  bool CheckCard() {
    const auto devices = fpga::ListXrtDevices();
    if (!devices.ok()) {
      return Bad("card", devices.status().message(), "is XILINX_XRT XRT's folder, and XRT installed whole?");
    }
    const std::string which = StrCat("card ", flags_.card);
    if (static_cast<size_t>(flags_.card) >= devices->size()) {
      return Bad(
          "card", StrCat("XRT sees ", devices->size(), " cards, no ", which),
          "lspci -d 10ee: shows whether the machine sees it; then the driver (modprobe xocl) and xbutil examine");
    }
    device_ = (*devices)[static_cast<size_t>(flags_.card)];
    if (!device_.problem.empty()) {
      return Bad("card", which + " can't be opened: " + device_.problem,
                 "are you in the group that owns /dev/dri/renderD*? xbutil examine says what the driver thinks");
    }
    return Good("card", which + (device_.address.empty() ? "" : " at " + device_.address));
  }

  // Whether the shell belongs to the platform that the design is linked for.
  void CheckShell() {
    const fpga::Card& card = *fpga::FindCard(platform_);
    if (device_.shell == card.shell) {
      Good("shell", device_.shell);
    } else {
      Bad("shell", Quoted(device_.shell) + " on the card, the design is for " + card.shell,
          StrCat("flash the shell of ", card.platform, " (xbmgmt program --base), or link for the card's own"));
    }
  }

  Result<std::string> XclbinPath() const {
    if (flags_.xclbin.has_value()) {
      return *flags_.xclbin;
    }
    if (flags_.device == kEmulated) {
      return emu::EmulatedXclbin(expected_.front().xclbin);
    }
    return InvalidArgument("none given");
  }

  bool CheckXclbin() {
    const Result<std::string> path = XclbinPath();
    if (!path.ok()) {
      return Bad("xclbin", path.status().message(),
                 "--xclbin FILE or PHIDIAS_XCLBIN; docs/fpga.md says how to build it");
    }
    xclbin_ = *path;
    const auto info = fpga::ReadXclbin(xclbin_);
    if (!info.ok()) {
      return Bad("xclbin", info.status().message(), "copy or build it again");
    }
    Good("xclbin", xclbin_ + ", uuid " + info->uuid);
    Status first;
    for (const Expected& expected : expected_) {
      const Status status = fpga::CompareXclbin(*info, expected.link, xclbin_);
      if (status.ok()) {
        return Good("design", expected.what);
      }
      first = first.ok() ? status : first;
    }
    return Bad("design", first.message(),
               "give the xclbin that was built for this design (and the model's lm_head or number of heads)");
  }

  void CheckLoad() {
    const auto card = fpga::OpenXrtCard({.index = static_cast<int>(flags_.card), .xclbin = xclbin_});
    if (card.ok()) {
      Good("load", (*card)->Describe());
    } else {
      Bad("load", card.status().message(), "see the message; dmesg has the driver's side of it");
    }
  }

  bool CheckPacked() {
    const auto packed = fpga::PackedFile::Open(*flags_.packed);
    if (!packed.ok()) {
      return Bad("packed", packed.status().message(), "make it again: phidias pack MODEL -o FILE");
    }
    const uint64_t design = packed->header().design_fingerprint;
    if (std::none_of(expected_.begin(), expected_.end(),
                     [design](const Expected& expected) { return expected.fingerprint == design; })) {
      return Bad("packed", StrCat(*flags_.packed, ": made for another design (or version of it) than ", flags_.design),
                 "make it again: phidias pack MODEL -o FILE");
    }
    if (header_.has_value()) {
      const Status status = packed->CheckBelongs(*header_, flags_.design);
      if (!status.ok()) {
        return Bad("packed", status.message(), "pack this model: phidias pack MODEL -o FILE");
      }
    }
    ThreadPool pool(AvailableProcessors());
    const Status status = packed->VerifyChecksums(&pool);
    return status.ok()
               ? Good("packed", *flags_.packed + ": whole, of this design" + (header_.has_value() ? " and model" : ""))
               : Bad("packed", status.message(), "the file was damaged: make it again with phidias pack");
  }

  const DoctorFlags& flags_;
  std::unique_ptr<Checkpoint> checkpoint_;    // with --model
  std::optional<fpga::PackedHeader> header_;  // of its packed file
  std::string platform_;
  std::vector<Expected> expected_;
  fpga::XrtDeviceInfo device_;
  std::string xclbin_;
  std::vector<Finding> findings_;
};

std::string Text(const Doctor& doctor) {
  std::string text;
  for (const Finding& finding : doctor.findings()) {
    std::string what = finding.what;
    what.resize(8, ' ');
    text += (finding.ok ? "ok    " : "FAULT ") + what + finding.found + "\n";
    text += finding.advice.empty() ? "" : "              do: " + finding.advice + "\n";
  }
  return text;
}

Json Report(const Doctor& doctor) {
  Json checks = Json::array();
  for (const Finding& finding : doctor.findings()) {
    Json check = {{"check", finding.what}, {"ok", finding.ok}, {"found", finding.found}};
    if (!finding.ok) {
      check["advice"] = finding.advice;
    }
    checks.push_back(check);
  }
  return {{"ok", doctor.well()}, {"checks", checks}};
}

Status Examine(const DoctorFlags& flags) {
  Doctor doctor(flags);
  RETURN_IF_ERROR(doctor.Examine());
  RETURN_IF_ERROR(WriteStdout(flags.json ? JsonLine(Report(doctor), 2) : Text(doctor)));
  return doctor.well() ? Status() : NotFound(flags.device, " can't be used as it is: see the fault above");
}

}  // namespace

int DoctorVerb(std::span<const std::string> arguments) {
  CLI::App app("What a card needs, checked, and what to do about each fault.", "phidias doctor");
  DoctorFlags flags;
  app.add_option("--device", flags.device, "u280 (default) or u280-emu: the emulated card")
      ->type_name("NAME")
      ->check(CLI::IsMember({"u280", kEmulated}));
  AddDesignFlag(app, &flags.design);
  AddInteger(app, "--card", &flags.card, 0, kMaxCards, "PHIDIAS_CARD", "which of several cards (0)");
  AddText(app, "--xclbin", &flags.xclbin, "the design as built for the card")
      ->type_name("FILE")
      ->envname("PHIDIAS_XCLBIN");
  AddText(app, "--packed", &flags.packed, "a packed model to check, too")->type_name("FILE");
  AddText(app, "-m,--model", &flags.model, "the model that it should be of")->type_name("PATH");
  app.add_flag("--json", flags.json, "as one JSON object");
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "doctor", arguments)) {
    return *code;
  }
  const Status status = Examine(flags);
  return status.ok() ? kExitOk : Fail("doctor", status);
}

}  // namespace phidias::cli
