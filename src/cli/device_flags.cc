#include "cli/device_flags.h"

#include <cstdlib>
#include <utility>

#include "backend/fpga/xrt_card.h"
#include "cli/flags.h"
#include "cli/output.h"
#include "emu/emulated_card.h"

namespace phidias::cli {
namespace {

constexpr const char* kEmulated = "u280-emu";
constexpr int64_t kMaxCards = 64;
constexpr int64_t kMaxTimeout = 86400;

// The xclbin: what the user named; of the emulated card, the one that the placement is for.
Result<std::string> XclbinOf(const DeviceFlags& flags, const std::string& name) {
  if (flags.xclbin.has_value()) {
    return *flags.xclbin;
  }
  if (flags.device == kEmulated) {
    return emu::EmulatedXclbin(name);
  }
  return InvalidArgument("--device ", flags.device,
                         ": give the card's xclbin with --xclbin FILE or in PHIDIAS_XCLBIN (", name,
                         ".xclbin; docs/fpga.md says how it is built)");
}

Result<std::unique_ptr<fpga::CardDevice>> OpenCardOf(const DeviceFlags& flags, const fpga::HbmPlacement& placement) {
  if (flags.device == kEmulated) {
    RETURN_IF_ERROR(emu::EnableEmulatedCard());
  }
  ASSIGN_OR_RETURN(const std::string xclbin, XclbinOf(flags, placement.xclbin));
  return fpga::OpenXrtCard({.index = static_cast<int>(flags.card), .xclbin = xclbin, .expected = &placement.link});
}

// A flag that means nothing without a card.
Status CheckCpuFlags(const DeviceFlags& flags) {
  const std::pair<bool, const char*> given[] = {
      {flags.packed.has_value(), "--packed"},
      {flags.xclbin.has_value() && std::getenv("PHIDIAS_XCLBIN") == nullptr, "--xclbin"},
      {!flags.host_ops.empty(), "--host-ops"},
      {flags.card_trace.has_value(), "--card-trace"}};
  for (const auto& [is_given, name] : given) {
    if (is_given) {
      return InvalidArgument(name, " is for a card: give --device u280 or --device ", kEmulated);
    }
  }
  return {};
}

}  // namespace

void AddDesignFlag(CLI::App& app, std::string* design) {
  app.add_option("--design", *design, "the card's design: report (default), or tiled\n(the integer arithmetic)")
      ->type_name("NAME")
      ->group("Card");
}

void AddHostOpsFlag(CLI::App& app, fpga::HostOps* host_ops) {
  app.add_option_function<std::string>(
         "--host-ops",
         [host_ops](const std::string& text) {
           Result<fpga::HostOps> ops = fpga::ParseHostOps(text);
           if (!ops.ok()) {
             throw CLI::ValidationError(ops.status().message());
           }
           *host_ops = *ops;
         },
         "what the CPU does instead of the card: lm_head, layernorm,\nattention, gelu, residual, linear, or q, k, v, "
         "dense, fc1, fc2")
      ->type_name("LIST")
      ->envname("PHIDIAS_HOST_OPS")
      ->group("Card");
}

void AddDeviceFlags(CLI::App& app, DeviceFlags* flags) {
  app.add_option("--device", flags->device,
                 "cpu (default), u280, or u280-emu: the emulated card;\nall give the same bits")
      ->type_name("NAME")
      ->envname("PHIDIAS_DEVICE")
      ->check(CLI::IsMember({"cpu", "u280", kEmulated}))
      ->group("Card");
  AddDesignFlag(app, &flags->design);
  AddText(app, "--xclbin", &flags->xclbin, "the design as built for the card (the emulated one has its own)")
      ->type_name("FILE")
      ->envname("PHIDIAS_XCLBIN")
      ->group("Card");
  AddInteger(app, "--card", &flags->card, 0, kMaxCards, "PHIDIAS_CARD", "which of several cards (0)")->group("Card");
  AddText(app, "--packed", &flags->packed, "the packed model (phidias pack); without: made once, in the cache")
      ->type_name("FILE")
      ->group("Card");
  app.add_option("--schedule", flags->schedule,
                 "parallel (default): Q, K and V at once, attention beside the MLP;\n"
                 "or sequential")
      ->type_name("ORDER")
      ->envname("PHIDIAS_SCHEDULE")
      ->check(CLI::IsMember({"parallel", "sequential"}))
      ->group("Card");
  AddHostOpsFlag(app, &flags->host_ops);
  app.add_option("--fallback", flags->fallback, "cpu: go on there when the card fails, and say so; none (default)")
      ->type_name("WHERE")
      ->envname("PHIDIAS_FALLBACK")
      ->check(CLI::IsMember({"cpu", "none"}))
      ->group("Card");
  AddInteger(app, "--card-timeout", &flags->timeout, 1, kMaxTimeout, "PHIDIAS_CARD_TIMEOUT",
             "seconds without any kernel ending before the card is given up (60)")
      ->group("Card");
  AddText(app, "--card-trace", &flags->card_trace, "when which kernel ran, for chrome://tracing (emulated card)")
      ->type_name("FILE")
      ->group("Card");
}

Status ChooseDevice(const DeviceFlags& flags, const std::atomic<bool>* cancel, LoadOptions* options) {
  if (flags.device == "cpu") {
    return CheckCpuFlags(flags);
  }
  if (flags.card_trace.has_value()) {
    if (flags.device != kEmulated) {
      return InvalidArgument("--card-trace: only the emulated card writes one; of a real card use xrt.ini's");
    }
    setenv("PHIDIAS_EMU_TRACE", flags.card_trace->c_str(), 1);
  }
  CardRequest& request = options->card.emplace();
  request.fallback = flags.fallback == "cpu";
  request.options.design = flags.design;
  request.options.order =
      flags.schedule == "sequential" ? fpga::ScheduleOrder::kSequential : fpga::ScheduleOrder::kParallel;
  request.options.host_ops = flags.host_ops;
  request.options.cpu = options->cpu;
  request.options.packed = flags.packed.value_or("");
  request.options.timeout = std::chrono::seconds(flags.timeout);
  request.options.cancel = cancel;
  request.options.notice = [](const std::string& text) { WriteStderr(text + "\n"); };
  request.open = [flags](const fpga::HbmPlacement& placement) { return OpenCardOf(flags, placement); };
  return {};
}

Json CardJson(const LoadedModel& model) {
  if (model.card == nullptr) {
    return {};
  }
  const fpga::CardUse use = model.card->Use();
  Json json = {{"runs", use.runs},
               {"weight_bytes", use.weight_bytes},
               {"generated", use.generated},
               {"packed", use.packed},
               {"fallback", use.fallback.empty() ? Json() : Json(use.fallback)}};
  const std::string report = emu::EmulatedCardReport();
  if (!report.empty()) {
    json["emulation"] = Json::parse(report, nullptr, false);
  }
  return json;
}

}  // namespace phidias::cli
