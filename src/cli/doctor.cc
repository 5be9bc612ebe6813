// phidias doctor: what a card needs, checked one after the other, and what to do about each fault.

#include <cstdlib>

#include "backend/fpga/packed_file.h"
#include "backend/fpga/tiled_backend.h"
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
    "  phidias doctor --device u280-emu -m MODEL --packed MODEL.packed --json\n";

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

class Doctor {
 public:
  explicit Doctor(const DoctorFlags& flags) : flags_(flags) {}

  // The checks, up to the first that the others stand on and that fails. Errors: the flags themselves.
  Status Examine() {
    if (flags_.design == fpga::kTiledDesignName) {
      return Unsupported(
          "--design tiled: doctor knows the design report alone; the card itself is checked without --design");
    }
    ASSIGN_OR_RETURN(design_, fpga::FindDesign(flags_.design));
    RETURN_IF_ERROR(OpenModel());
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

  Status OpenModel() {
    if (!flags_.model.has_value()) {
      return {};
    }
    ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags_.model));
    ASSIGN_OR_RETURN(Checkpoint checkpoint, OpenCheckpoint(path));
    checkpoint_ = std::make_unique<Checkpoint>(std::move(checkpoint));
    weights_ = CardWeightsOf(*checkpoint_);
    ASSIGN_OR_RETURN(fpga::PlacementOptions placing, fpga::CheckWeights(*weights_, {}));
    placing.positions = 1;  // caches have no part in this
    ASSIGN_OR_RETURN(placement_, fpga::PlanPlacement(weights_->shape, *design_, placing));
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
    const fpga::Card& card = *fpga::FindCard(design_->platform);
    if (device_.shell == card.shell) {
      Good("shell", device_.shell);
    } else {
      Bad("shell", Quoted(device_.shell) + " on the card, the design is for " + card.shell,
          StrCat("flash the shell of ", card.platform, " (xbmgmt program --base), or link for the card's own"));
    }
  }

  std::vector<fpga::LmHeadType> Types() const {
    if (placement_.has_value()) {
      return {placement_->lm_head};
    }
    return {fpga::LmHeadType::kF16, fpga::LmHeadType::kBF16, fpga::LmHeadType::kF32};
  }

  Result<std::string> XclbinPath() const {
    if (flags_.xclbin.has_value()) {
      return *flags_.xclbin;
    }
    if (flags_.device == kEmulated) {
      return emu::EmulatedXclbin(flags_.design + "-" + std::string(fpga::LmHeadTypeName(Types().front())));
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
    Status status;
    for (const fpga::LmHeadType type : Types()) {
      status = fpga::CompareXclbin(*info, fpga::DesignLinkFile(*design_, type), xclbin_);
      if (status.ok()) {
        return Good("design", StrCat(design_->name, ", lm_head of ", fpga::LmHeadTypeName(type)));
      }
    }
    return Bad("design", status.message(), "give the xclbin that was built for this design (and lm_head's type)");
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
    if (packed->header().design_fingerprint != fpga::DesignFingerprint(*design_)) {
      return Bad("packed", *flags_.packed + ": made for another design (or version of it) than " + design_->name,
                 "make it again: phidias pack MODEL -o FILE");
    }
    if (placement_.has_value()) {
      const Status status =
          packed->CheckBelongs(*placement_, fpga::DesignFingerprint(*design_), fpga::ModelFingerprint(*weights_));
      if (!status.ok()) {
        return Bad("packed", status.message(), "pack this model: phidias pack MODEL -o FILE");
      }
    }
    ThreadPool pool(AvailableProcessors());
    const Status status = packed->VerifyChecksums(&pool);
    return status.ok() ? Good("packed",
                              *flags_.packed + ": whole, of this design" + (placement_.has_value() ? " and model" : ""))
                       : Bad("packed", status.message(), "the file was damaged: make it again with phidias pack");
  }

  const DoctorFlags& flags_;
  const hls::DesignPoint* design_ = nullptr;
  std::unique_ptr<Checkpoint> checkpoint_;
  std::optional<fpga::CardWeights> weights_;
  std::optional<fpga::HbmPlacement> placement_;
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
