// phidias simulate: how fast a design would run a model, how much of the chip it would take, and what energy.

#include <cstdio>

#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/shape_option.h"
#include "cli/verbs.h"
#include "engine/token_schedule.h"
#include "model/phi.h"
#include "sim/prediction.h"
#include "sim/tiled_depths.h"
#include "sim/validation.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias simulate [OPTIONS] --shape SHAPE";
constexpr const char* kExamples =
    "Everything is modelled: nothing was run on a card. `low` and `high` come from the ranges of the model's "
    "parameters,\n"
    "all at their bad, or good, ends together (--parameters lists them, with their sources).\n"
    "\n"
    "Examples:\n"
    "  phidias simulate --shape phi-2 --design report --context 512\n"
    "  phidias simulate --shape phi-2 --design tiled --weights-bits 4\n"
    "  phidias simulate --shape phi-2 --design tiled --set token_lanes=2 --set mhz=225 --json\n"
    "  phidias simulate --validate\n";

struct SimulateFlags {
  std::optional<std::string> shape;
  std::string design = "report";
  std::string card = "u280";
  std::string schedule = "parallel";
  int64_t context = 512;
  std::string weight_bits = "8";
  std::vector<std::string> set;
  bool fast = false;
  bool json = false;
  bool validate = false;
  bool markdown = false;
  bool parameters = false;
  bool depths = false;
};

struct Settings {
  sim::Parameters parameters;
  sim::TiledDesign tiled;
};

Result<Settings> ReadSettings(const SimulateFlags& flags) {
  Settings settings;
  settings.parameters = sim::ParametersOf(*fpga::FindCard(flags.card));
  if (flags.design != "tiled" && flags.weight_bits != "8") {
    return InvalidArgument("--weights-bits ", flags.weight_bits, ": design ", flags.design,
                           " multiplies int8; give --design tiled");
  }
  RETURN_IF_ERROR(sim::SetTiledConstant("weight_bits=" + flags.weight_bits, &settings.tiled).status());
  for (const std::string& assignment : flags.set) {
    ASSIGN_OR_RETURN(const bool constant, sim::SetTiledConstant(assignment, &settings.tiled));
    if (!constant) {
      RETURN_IF_ERROR(sim::SetParameter(assignment, &settings.parameters));
    } else if (flags.design != "tiled") {
      return InvalidArgument("--set ", Quoted(assignment), ": a constant of the design `tiled`, and --design is ",
                             flags.design);
    }
  }
  return settings;
}

Result<fpga::HbmPlacement> Place(const ModelShape& shape, int64_t positions) {
  ASSIGN_OR_RETURN(const hls::DesignPoint* const design, fpga::FindDesign("report"));
  fpga::PlacementOptions options;
  options.positions = positions;
  return fpga::PlanPlacement(shape, *design, options);
}

Result<std::unique_ptr<sim::DesignModel>> MakeModel(const SimulateFlags& flags, const Settings& settings,
                                                    const PhiConfig& config, const fpga::Card& card) {
  const ModelShape shape = ShapeOf(config);
  if (flags.context >= shape.max_positions) {
    return InvalidArgument("--context ", flags.context, ": the model has ", shape.max_positions,
                           " positions, and the token needs one: at most ", shape.max_positions - 1);
  }
  if (flags.design == "tiled") {
    RETURN_IF_ERROR(sim::CheckTiledDesign(settings.tiled, shape, shape.max_positions, card));
    sim::TiledDesign design = settings.tiled;
    design.host_tables = fpga::FindMemory(card, "DDR") == nullptr;
    return sim::MakeTiledModel(design, shape, card);
  }
  ASSIGN_OR_RETURN(const hls::DesignPoint* const design, fpga::FindDesign(flags.design));
  if (card.platform != std::string_view(design->platform)) {
    return Unsupported("design ", design->name, " is placed for ", design->platform, ": give --card u280");
  }
  const auto order = flags.schedule == "parallel" ? fpga::ScheduleOrder::kParallel : fpga::ScheduleOrder::kSequential;
  ASSIGN_OR_RETURN(fpga::TokenSchedule token, RecordTokenSchedule(config, order, {}));
  ASSIGN_OR_RETURN(fpga::HbmPlacement placement, Place(shape, shape.max_positions));
  return sim::MakeReportModel(std::move(token), std::move(placement));
}

void PutBand(const char* name, const sim::Band& band, Json* json) {
  (*json)[name] = band.value;
  (*json)[std::string(name) + "_low"] = band.low;
  (*json)[std::string(name) + "_high"] = band.high;
}

Json ResourceJson(const sim::Resources& r) {
  return {{"lut", r.lut}, {"ff", r.ff}, {"bram36", r.bram36}, {"uram", r.uram}, {"dsp", r.dsp}};
}

Json ResourcesJson(const sim::ResourceReport& report) {
  Json regions = Json::array();
  for (size_t i = 0; i < report.by_slr.size(); ++i) {
    regions.push_back({{"slr", i}, {"uses", ResourceJson(report.by_slr[i])}, {"has", ResourceJson(report.budget[i])}});
  }
  Json parts = Json::array();
  for (const sim::PartUse& part : report.parts) {
    parts.push_back({{"part", part.part}, {"slr", part.slr}, {"uses", ResourceJson(part.uses)}, {"basis", part.basis}});
  }
  return {{"total", ResourceJson(report.total)},
          {"regions", regions},
          {"wires", report.wires},
          {"wire_budget", report.wire_budget},
          {"hbm_masters", report.hbm_masters},
          {"tightest", report.tightest},
          {"tightest_share", report.tightest_share},
          {"parts", parts}};
}

Json TimingJson(const sim::TokenTiming& timing) {
  Json kernels = Json::array();
  for (const sim::KernelTiming& kernel : timing.by_kernel) {
    kernels.push_back({{"kernel", kernel.kernel}, {"runs", kernel.runs}, {"seconds", kernel.seconds}});
  }
  Json stages = Json::array();
  for (const sim::StageTiming& stage : timing.stages) {
    stages.push_back({{"kernel", stage.kernel},
                      {"stage", stage.stage},
                      {"busy", stage.busy},
                      {"waits_for_input", stage.waits_for_input},
                      {"waits_for_output", stage.waits_for_output},
                      {"waits_for_memory", stage.waits_for_memory},
                      {"worst_stream", stage.worst_stream}});
  }
  Json banks = Json::array();
  for (const sim::BankTiming& bank : timing.banks) {
    banks.push_back({{"bank", bank.bank},
                     {"bytes", bank.bytes},
                     {"utilisation", bank.utilisation},
                     {"refreshing", bank.refreshing},
                     {"activating", bank.activating},
                     {"turning", bank.turning}});
  }
  return {{"kernels", kernels}, {"stages", stages}, {"banks", banks}};
}

Json PredictionJson(const sim::Prediction& p) {
  Json json = {{"design", p.design},
               {"basis", "modelled"},
               {"mode", p.events ? "events" : "closed form"},
               {"context", p.context},
               {"mhz", p.mhz}};
  PutBand("decode_tokens_per_second", p.decode, &json);
  PutBand("prefill_tokens_per_second", p.prefill, &json);
  json["hbm_gb_per_second"] = p.hbm_gbs;
  json["hbm_peak_gb_per_second"] = p.hbm_peak_gbs;
  PutBand("board_watts", p.board_watts, &json);
  json["chip_watts"] = p.energy.chip_watts;
  PutBand("tokens_per_joule", p.tokens_per_joule, &json);
  const sim::TokenTiming& t = p.token;
  json["seconds_per_token"] = {{"total", t.seconds}, {"kernels", t.kernels},
                               {"layer", t.layer},   {"starts", t.starts},
                               {"host", t.host},     {"residual", t.seconds - t.kernels - t.starts - t.host}};
  json["joules_per_token"] = {{"hbm", p.energy.hbm},
                              {"products", p.energy.products},
                              {"fabric", p.energy.fabric},
                              {"board_idle", p.energy.board_idle},
                              {"chip_static", p.energy.chip_static}};
  json["hbm_bytes_per_token"] = t.hbm_bytes;
  json["events"] = t.events;
  json["time"] = TimingJson(t);
  json["resources"] = ResourcesJson(p.resources);
  return json;
}

std::string BandText(const char* what, const sim::Band& band, const char* unit) {
  char line[160];
  std::snprintf(line, sizeof line, "%-22s %10.4g (%.4g-%.4g) %s\n", what, band.value, band.low, band.high, unit);
  return line;
}

template <class... Values>
std::string Line(const char* format, Values... values) {
  char line[256];
  std::snprintf(line, sizeof line, format, values...);
  return line;
}

std::string StagesText(const sim::TokenTiming& timing) {
  std::string out = Line("\n%-10s %-14s %9s %9s %9s %9s  %s\n", "kernel", "stage, ms", "busy", "input", "output",
                         "memory", "waits most for");
  for (const sim::StageTiming& s : timing.stages) {
    out += Line("%-10s %-14s %9.3f %9.3f %9.3f %9.3f  %s\n", s.kernel.c_str(), s.stage.c_str(), s.busy * 1e3,
                s.waits_for_input * 1e3, s.waits_for_output * 1e3, s.waits_for_memory * 1e3, s.worst_stream.c_str());
  }
  out += Line("\n%-10s %14s %9s %9s %9s %9s\n", "bank", "bytes", "used", "refresh", "rows", "turning, ms");
  for (const sim::BankTiming& b : timing.banks) {
    out += Line("%-10s %14lld %7.1f %% %9.3f %9.3f %9.3f\n", b.bank.c_str(), static_cast<long long>(b.bytes),
                100 * b.utilisation, b.refreshing * 1e3, b.activating * 1e3, b.turning * 1e3);
  }
  return out;
}

std::string PredictionText(const sim::Prediction& p) {
  const sim::TokenTiming& t = p.token;
  std::string out = Line("design %s, %g MHz, context %lld, modelled (%s)\n\n", p.design.c_str(), p.mhz,
                         static_cast<long long>(p.context), p.events ? "events" : "closed form");
  out += BandText("decode", p.decode, "tokens/s");
  out += BandText("prefill", p.prefill, "tokens/s");
  out +=
      Line("%-22s %10.4g of %.4g GB/s (%.1f %%)\n", "HBM", p.hbm_gbs, p.hbm_peak_gbs, 100 * p.hbm_gbs / p.hbm_peak_gbs);
  out += BandText("board power", p.board_watts, "W");
  out += Line("%-22s %10.4g W\n", "on-chip estimate", p.energy.chip_watts);
  out += BandText("energy, board", p.tokens_per_joule, "tokens/J");
  out += Line("%-22s %10.6f s: kernels %.6f, starts %.6f, host %.6f; a layer %.6f\n", "token", t.seconds, t.kernels,
              t.starts, t.host, t.layer);
  out += Line("%-22s %s, %.1f %%\n\n", "tightest resource", p.resources.tightest.c_str(),
              100 * p.resources.tightest_share);
  for (size_t i = 0; i < p.resources.by_slr.size(); ++i) {
    const sim::Resources& uses = p.resources.by_slr[i];
    const sim::Resources& has = p.resources.budget[i];
    out += Line("SLR%zu  LUT %.0f of %.0f, FF %.0f of %.0f, BRAM %.0f of %.0f, URAM %.0f of %.0f, DSP %.0f of %.0f\n",
                i, uses.lut, has.lut, uses.ff, has.ff, uses.bram36, has.bram36, uses.uram, has.uram, uses.dsp, has.dsp);
  }
  for (size_t i = 0; i < p.resources.wires.size(); ++i) {
    out += Line("wires SLR%zu-SLR%zu  %.0f of %.0f\n", i, i + 1, p.resources.wires[i], p.resources.wire_budget[i]);
  }
  out += "\n";
  for (const sim::KernelTiming& kernel : t.by_kernel) {
    out += Line("%-10s %4lld runs %12.3f ms\n", kernel.kernel.c_str(), static_cast<long long>(kernel.runs),
                kernel.seconds * 1e3);
  }
  return out + (p.events ? StagesText(t) : "");
}

Status WriteDepths(const SimulateFlags& flags, const Settings& settings, const ModelShape& shape,
                   const fpga::Card& card) {
  if (flags.design != "tiled") {
    return InvalidArgument("--depths: of the design `tiled`, and --design is ", flags.design);
  }
  RETURN_IF_ERROR(sim::CheckTiledDesign(settings.tiled, shape, shape.max_positions, card));
  ASSIGN_OR_RETURN(const std::vector<sim::StreamDepth> depths,
                   sim::FindDepths(settings.tiled, shape, settings.parameters));
  Json json = Json::array();
  std::string text = Line("%-10s %-18s %7s %7s\n", "stream", "constant", "found", "built");
  for (const sim::StreamDepth& d : depths) {
    json.push_back(
        {{"stream", d.stream}, {"constant", d.constant}, {"found", d.found}, {"built", d.built}, {"basis", d.basis}});
    text += Line("%-10s %-18s %7lld %7lld  %s\n", d.stream.c_str(), d.constant.c_str(), static_cast<long long>(d.found),
                 static_cast<long long>(d.built), d.basis.c_str());
  }
  return WriteStdout(flags.json ? JsonLine(json, 2) : text);
}

Result<std::vector<sim::ValidationRow>> ValidationRows(const sim::Parameters& parameters) {
  ASSIGN_OR_RETURN(const Shape shape, ReadShape("phi-2"));
  fpga::HostOps host_head;
  host_head.Add(fpga::CardOp::kLmHead);
  const auto record = [&shape](fpga::ScheduleOrder order, fpga::HostOps host_ops) {
    return RecordTokenSchedule(shape.config, order, host_ops);
  };
  sim::WholeModelTokens tokens;
  ASSIGN_OR_RETURN(tokens.parallel, record(fpga::ScheduleOrder::kParallel, {}));
  ASSIGN_OR_RETURN(tokens.sequential, record(fpga::ScheduleOrder::kSequential, {}));
  ASSIGN_OR_RETURN(tokens.parallel_host_head, record(fpga::ScheduleOrder::kParallel, host_head));
  ASSIGN_OR_RETURN(tokens.sequential_host_head, record(fpga::ScheduleOrder::kSequential, host_head));
  ASSIGN_OR_RETURN(const fpga::HbmPlacement placement, Place(ShapeOf(shape.config), 0));
  return sim::Validate(tokens, placement, parameters);
}

Json ValidationJson(const std::vector<sim::ValidationRow>& rows) {
  Json json = Json::array();
  for (const sim::ValidationRow& row : rows) {
    json.push_back({{"group", row.group},
                    {"what", row.what},
                    {"unit", row.unit},
                    {"published", row.published},
                    {"model", row.model},
                    {"model_low", row.low},
                    {"model_high", row.high},
                    {"basis", sim::BasisName(row.basis)},
                    {"holds", row.holds()},
                    {"source", row.source},
                    {"note", row.note}});
  }
  return json;
}

Status Simulate(const SimulateFlags& flags) {
  ASSIGN_OR_RETURN(const Settings settings, ReadSettings(flags));
  if (flags.parameters) {
    return WriteStdout(sim::ParametersText(settings.parameters));
  }
  if (flags.validate) {
    ASSIGN_OR_RETURN(const std::vector<sim::ValidationRow> rows, ValidationRows(settings.parameters));
    return WriteStdout(flags.json       ? JsonLine(ValidationJson(rows), 2)
                       : flags.markdown ? sim::ValidationMarkdown(rows)
                                        : sim::ValidationText(rows));
  }
  if (!flags.shape.has_value()) {
    return InvalidArgument("--shape is missing: ", "phi-2, phi-1.5, phi-1, or a config.json");
  }
  ASSIGN_OR_RETURN(const Shape shape, ReadShape(*flags.shape));
  const fpga::Card& card = *fpga::FindCard(flags.card);
  if (flags.depths) {
    return WriteDepths(flags, settings, ShapeOf(shape.config), card);
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<sim::DesignModel> model, MakeModel(flags, settings, shape.config, card));
  ASSIGN_OR_RETURN(const sim::Prediction prediction,
                   sim::Predict(*model, flags.context, !flags.fast, settings.parameters, card));
  return WriteStdout(flags.json ? JsonLine(PredictionJson(prediction), 2) : PredictionText(prediction));
}

}  // namespace

int SimulateVerb(std::span<const std::string> arguments) {
  CLI::App app("How fast a design would run a model on a card: modelled, not measured.", "phidias simulate");
  SimulateFlags flags;
  AddText(app, "--shape", &flags.shape, kShapeHelp);
  app.add_option("--design", flags.design, "report (default) or tiled")->type_name("NAME");
  app.add_option("--card", flags.card, "u280 (default) or u55c")
      ->type_name("CARD")
      ->check(CLI::IsMember({"u280", "u55c"}));
  app.add_option("--schedule", flags.schedule, "of report: parallel (default) or sequential")
      ->type_name("ORDER")
      ->check(CLI::IsMember({"parallel", "sequential"}));
  app.add_option("--weights-bits", flags.weight_bits, "of tiled: the layers' weights in 8 bits (default) or 4")
      ->type_name("BITS")
      ->check(CLI::IsMember({"4", "8"}));
  AddInteger(app, "--context", &flags.context, 0, 1 << 20, nullptr,
             "positions before the token (512); a prompt's figure is at half\nof them");
  AddRepeated(
      app, "--set", "NAME=VALUE",
      "a parameter of the model, or a constant of the tiled design: tiles,\n"
      "token_lanes, mhz, kv_bits, lm_head_bits, attention_lanes,\nweight_fifo, kv_fifo, port_bits",
      [&flags] { flags.set.clear(); },
      [&flags](const std::string& text) -> Status {
        flags.set.push_back(text);
        return {};
      });
  app.add_flag("--fast", flags.fast, "in closed form, without events: milliseconds, within 5 %");
  app.add_flag("--depths", flags.depths, "depths of the tiled design's streams: found by events, and built");
  app.add_flag("--validate", flags.validate, "the model against published figures");
  app.add_flag("--markdown", flags.markdown, "--validate as a table for documents");
  app.add_flag("--parameters", flags.parameters, "the model's parameters, their ranges and sources");
  app.add_flag("--json", flags.json, "everything as JSON");
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "simulate", arguments)) {
    return *code;
  }
  const Status status = Simulate(flags);
  return status.ok() ? kExitOk : Fail("simulate", status);
}

}  // namespace phidias::cli
