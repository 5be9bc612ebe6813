// phidias plan: which bytes of a model lie in which bank of a card.

#include "backend/fpga/card_weights.h"
#include "backend/fpga/tiled_backend.h"
#include "backend/fpga/tiled_placement.h"
#include "cli/device_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/json.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "engine/card_weights.h"
#include "model/phi.h"
#include "sim/resources.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias plan [OPTIONS] [MODEL]";
constexpr const char* kExamples =
    "Reads headers, not weights: quick on a model of any size. What doesn't fit is an error that says by how much, "
    "and\n"
    "what would.\n"
    "\n"
    "Examples:\n"
    "  phidias plan phi-2-int8\n"
    "  phidias plan phi-2-int8 -c 1024 --json\n"
    "  phidias plan phi-2-int8 --link-file hw > report.cfg\n";

constexpr int64_t kMaxContext = 1 << 20;

struct PlanFlags {
  ModelOption model;
  std::string design = "report";
  fpga::HostOps host_ops;
  int64_t context = 0;
  std::string link_file;
  bool json = false;
};

Json BankJson(const fpga::BankUse& use) {
  return {{"bank", use.bank},        {"holds", use.holds},
          {"units", use.units},      {"weight_bytes", use.weights},
          {"kv_bytes", use.kv},      {"activation_bytes", use.activations},
          {"capacity", use.capacity}};
}

Json PlanJson(const fpga::HbmPlacement& placement) {
  Json banks = Json::array();
  for (const fpga::BankUse& use : placement.banks) {
    banks.push_back(BankJson(use));
  }
  Json units = Json::array();
  for (const fpga::LinkUnit& unit : placement.link.units) {
    Json ports = Json::object();
    for (const fpga::LinkPort& port : placement.link.ports) {
      if (port.unit == unit.unit) {
        ports[port.argument] = fpga::ToString(port.banks);
      }
    }
    units.push_back({{"unit", unit.unit}, {"kernel", unit.kernel}, {"slr", unit.slr}, {"ports", ports}});
  }
  return {{"design", placement.design->name},
          {"platform", placement.link.platform},
          {"lm_head", fpga::LmHeadTypeName(placement.lm_head)},
          {"positions", placement.positions},
          {"packed_bytes", placement.packed_bytes()},
          {"weight_bytes", placement.weight_bytes()},
          {"hbm_masters", placement.usage.hbm_masters},
          {"wires", placement.usage.wires},
          {"banks", banks},
          {"units", units}};
}

// What the weights allow; those that would have to be quantised first are planned as if they were.
Result<fpga::PlacementOptions> Placing(const fpga::CardWeights& weights, fpga::HostOps host_ops) {
  Result<fpga::PlacementOptions> placing = fpga::CheckWeights(weights, host_ops);
  if (placing.ok() || placing.status().code() != StatusCode::kUnsupported) {
    return placing;
  }
  WriteStderr("planned as if it were quantised: " + placing.status().message() + "\n");
  fpga::PlacementOptions as_if;
  as_if.lm_head = weights.lm_head->weight.dtype == DType::kBF16  ? fpga::LmHeadType::kBF16
                  : weights.lm_head->weight.dtype == DType::kF32 ? fpga::LmHeadType::kF32
                                                                 : fpga::LmHeadType::kF16;
  return as_if;
}

Json TiledPlanJson(const fpga::TiledPlacement& plan) {
  return {
      {"design", fpga::kTiledDesignName},
      {"platform", plan.link.platform},
      {"tiles", plan.tiles},
      {"weight_bits", plan.sizes.int4 ? 4 : 8},
      {"lm_head_bits", 8 * plan.sizes.planes},
      {"positions", plan.positions},
      {"weight_bytes", plan.weight_bytes()},
      {"channel", {{"weights", plan.channel_weights}, {"kv", plan.channel_kv}, {"capacity", plan.channel_capacity}}},
      {"table_bytes", plan.table_bytes},
      {"hbm_masters", plan.usage.hbm_masters},
      {"wires", plan.usage.wires}};
}

Status PlanTiledDesign(const PlanFlags& flags) {
  if (!flags.host_ops.empty()) {
    return InvalidArgument("--host-ops: design tiled runs the whole model on the card");
  }
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(path));
  const bool int4 = checkpoint.weights.layers.front().q_proj.weight.dtype == DType::kI4;
  const bool wide_head = checkpoint.integer.has_value() && checkpoint.integer->lm_head_bits == 16;
  ASSIGN_OR_RETURN(const fpga::TiledPlacement plan,
                   fpga::PlanTiled(ShapeOf(checkpoint.config),
                                   {.tiles = 0, .positions = flags.context, .int4 = int4, .wide_head = wide_head}));
  if (!flags.link_file.empty()) {
    const bool hw = flags.link_file == "hw";
    return WriteStdout(fpga::WriteLinkFile(plan.link, hw ? fpga::LinkTarget::kHw : fpga::LinkTarget::kHwEmu));
  }
  return WriteStdout(flags.json ? JsonLine(TiledPlanJson(plan), 2) : fpga::TiledPlacementText(plan));
}

Status Plan(const PlanFlags& flags) {
  if (flags.design == fpga::kTiledDesignName) {
    return PlanTiledDesign(flags);
  }
  ASSIGN_OR_RETURN(const hls::DesignPoint* const design, fpga::FindDesign(flags.design));
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(path));
  const fpga::CardWeights weights = CardWeightsOf(checkpoint);
  ASSIGN_OR_RETURN(fpga::PlacementOptions placing, Placing(weights, flags.host_ops));
  placing.positions = flags.context;
  ASSIGN_OR_RETURN(const fpga::HbmPlacement placement, fpga::PlanPlacement(weights.shape, *design, placing));
  // What of the chip the design takes, as far as it is known without a synthesis.
  RETURN_IF_ERROR(sim::CheckResources(sim::ReportResources(placement), *fpga::FindCard(placement.link.platform)));
  if (!flags.link_file.empty()) {
    const bool hw = flags.link_file == "hw";
    return WriteStdout(fpga::WriteLinkFile(placement.link, hw ? fpga::LinkTarget::kHw : fpga::LinkTarget::kHwEmu));
  }
  return WriteStdout(flags.json ? JsonLine(PlanJson(placement), 2) : fpga::PlacementText(placement));
}

}  // namespace

int PlanVerb(std::span<const std::string> arguments) {
  CLI::App app("Which bytes of a model lie in which bank of a card.", "phidias plan");
  PlanFlags flags;
  AddModelOption(app, &flags.model);
  AddDesignFlag(app, &flags.design);
  AddHostOpsFlag(app, &flags.host_ops);
  AddInteger(app, "-c,--ctx-size", &flags.context, 0, kMaxContext, nullptr,
             "positions of the KV cache; 0 (default): the model's own limit");
  app.add_option("--link-file", flags.link_file, "the configuration for v++ --link instead: hw or hw_emu")
      ->type_name("TARGET")
      ->check(CLI::IsMember({"hw", "hw_emu"}));
  app.add_flag("--json", flags.json, "everything as one JSON object");
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "plan", arguments)) {
    return *code;
  }
  const Status status = Plan(flags);
  return status.ok() ? kExitOk : Fail("plan", status);
}

}  // namespace phidias::cli
