#include "sim/prediction.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "sim/report_token.h"

namespace phidias::sim {
namespace {

class ReportModel final : public DesignModel {
 public:
  ReportModel(fpga::TokenSchedule token, fpga::HbmPlacement placement)
      : token_(std::move(token)), placement_(std::move(placement)) {}

  const char* name() const override { return placement_.design->name; }
  double mhz() const override { return placement_.design->kernel_mhz; }
  Result<TokenTiming> Decode(int64_t position, bool events, const Parameters& parameters) const override {
    ASSIGN_OR_RETURN(ReportSimulator simulator, ReportSimulator::Create(token_, placement_, parameters));
    return simulator.Run({.position = position, .events = events});
  }
  Result<TokenTiming> Prefill(int64_t position, bool events, const Parameters& parameters,
                              int64_t* tokens) const override {
    *tokens = 1;
    ASSIGN_OR_RETURN(ReportSimulator simulator, ReportSimulator::Create(token_, placement_, parameters));
    return simulator.Run({.position = position, .events = events, .logits = false, .prompt = true});
  }
  ResourceReport Resources() const override { return ReportResources(placement_); }

 private:
  fpga::TokenSchedule token_;
  fpga::HbmPlacement placement_;
};

class TiledModel final : public DesignModel {
 public:
  TiledModel(const TiledDesign& design, const ModelShape& shape, const fpga::Card& card)
      : design_(design), shape_(shape), card_(card) {}

  const char* name() const override { return "tiled"; }
  double mhz() const override { return design_.mhz; }
  Result<TokenTiming> Decode(int64_t position, bool events, const Parameters& parameters) const override {
    return TimeTiledPass(design_, shape_, {.position = position}, events, parameters);
  }
  Result<TokenTiming> Prefill(int64_t position, bool events, const Parameters& parameters,
                              int64_t* tokens) const override {
    *tokens = design_.token_lanes;
    return TimeTiledPass(design_, shape_, {.position = position, .tokens = design_.token_lanes, .lm_head = false},
                         events, parameters);
  }
  ResourceReport Resources() const override { return TiledResources(design_, card_); }

 private:
  TiledDesign design_;
  ModelShape shape_;
  const fpga::Card& card_;
};

using Figure = std::function<Result<double>(const Parameters&)>;

// The figure with every parameter at the end of its range that makes it smaller, and larger.
Result<Band> BandOf(const Figure& figure, double value, const Parameters& parameters) {
  ASSIGN_OR_RETURN(const double middle, figure(parameters));
  Parameters worst = parameters;
  Parameters best = parameters;
  for (const ParameterInfo& info : AllParameters()) {
    const double set = parameters.*info.field;
    // A value that was set outside the range stays: it is what is asked about.
    if (set < info.low || set > info.high) {
      continue;
    }
    for (const double end : {info.low, info.high}) {
      Parameters changed = parameters;
      changed.*info.field = end;
      ASSIGN_OR_RETURN(const double result, figure(changed));
      if (result < middle) {
        worst.*info.field = end;
      } else if (result > middle) {
        best.*info.field = end;
      }
    }
  }
  ASSIGN_OR_RETURN(const double low, figure(worst));
  ASSIGN_OR_RETURN(const double high, figure(best));
  return Band{value, value * std::min(low / middle, 1.0), value * std::max(high / middle, 1.0)};
}

Status AddBands(const DesignModel& model, const Parameters& parameters, Prediction* prediction) {
  const int64_t context = prediction->context;
  const ResourceReport& resources = prediction->resources;
  const Figure decode = [&](const Parameters& p) -> Result<double> {
    ASSIGN_OR_RETURN(const TokenTiming timing, model.Decode(context, false, p));
    return 1 / timing.seconds;
  };
  const Figure prefill = [&](const Parameters& p) -> Result<double> {
    int64_t tokens = 1;
    ASSIGN_OR_RETURN(const TokenTiming timing, model.Prefill(context / 2, false, p, &tokens));
    return static_cast<double>(tokens) / timing.seconds;
  };
  const Figure per_joule = [&](const Parameters& p) -> Result<double> {
    ASSIGN_OR_RETURN(const TokenTiming timing, model.Decode(context, false, p));
    return EnergyOf(timing, 1, resources, model.mhz(), p).tokens_per_joule;
  };
  const Figure watts = [&](const Parameters& p) -> Result<double> {
    ASSIGN_OR_RETURN(const TokenTiming timing, model.Decode(context, false, p));
    return EnergyOf(timing, 1, resources, model.mhz(), p).board_watts;
  };
  ASSIGN_OR_RETURN(prediction->decode, BandOf(decode, prediction->decode.value, parameters));
  ASSIGN_OR_RETURN(prediction->prefill, BandOf(prefill, prediction->prefill.value, parameters));
  ASSIGN_OR_RETURN(prediction->tokens_per_joule, BandOf(per_joule, prediction->energy.tokens_per_joule, parameters));
  ASSIGN_OR_RETURN(prediction->board_watts, BandOf(watts, prediction->energy.board_watts, parameters));
  return {};
}

}  // namespace

std::unique_ptr<DesignModel> MakeReportModel(fpga::TokenSchedule token, fpga::HbmPlacement placement) {
  return std::make_unique<ReportModel>(std::move(token), std::move(placement));
}

std::unique_ptr<DesignModel> MakeTiledModel(const TiledDesign& design, const ModelShape& shape,
                                            const fpga::Card& card) {
  return std::make_unique<TiledModel>(design, shape, card);
}

Result<bool> SetTiledConstant(std::string_view assignment, TiledDesign* design) {
  const size_t equals = assignment.find('=');
  const std::string_view name = assignment.substr(0, equals);
  const std::string_view text = equals == std::string_view::npos ? "" : assignment.substr(equals + 1);
  struct Constant {
    const char* name;
    int least;
    int most;
  };
  constexpr Constant kConstants[] = {{"tiles", 1, 64},           {"token_lanes", 1, 4},     {"mhz", 50, 450},
                                     {"kv_bits", 8, 16},         {"lm_head_bits", 8, 16},   {"weight_bits", 4, 8},
                                     {"attention_lanes", 1, 64}, {"weight_fifo", 1, 65536}, {"kv_fifo", 1, 65536},
                                     {"port_bits", 256, 512}};
  for (const Constant& constant : kConstants) {
    if (name != constant.name) {
      continue;
    }
    int value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || value < constant.least || value > constant.most) {
      return InvalidArgument("--set ", constant.name, "=", Quoted(text), ": a whole number from ", constant.least,
                             " to ", constant.most, " is right");
    }
    if (name == "tiles") {
      design->tiles = value;
      SpreadTiles(design);
    } else if (name == "mhz") {
      design->mhz = value;
    } else if (name == "weight_fifo" || name == "kv_fifo") {
      (name == "kv_fifo" ? design->kv_fifo : design->weight_fifo) = value;
    } else {
      (name == "token_lanes"    ? design->token_lanes
       : name == "kv_bits"      ? design->kv_bits
       : name == "lm_head_bits" ? design->lm_head_bits
       : name == "port_bits"    ? design->port_bits
       : name == "weight_bits"  ? design->weight_bits
                                : design->attention_lanes) = value;
    }
    return true;
  }
  return false;
}

Result<Prediction> Predict(const DesignModel& model, int64_t context, bool events, const Parameters& parameters,
                           const fpga::Card& card) {
  Prediction prediction;
  prediction.design = model.name();
  prediction.context = context;
  prediction.events = events;
  prediction.mhz = model.mhz();
  prediction.resources = model.Resources();
  RETURN_IF_ERROR(CheckResources(prediction.resources, card).WithContext(StrCat("design ", model.name())));
  ASSIGN_OR_RETURN(prediction.token, model.Decode(context, events, parameters));
  int64_t tokens = 1;
  ASSIGN_OR_RETURN(const TokenTiming prompt, model.Prefill(context / 2, events, parameters, &tokens));
  prediction.decode.value = 1 / prediction.token.seconds;
  prediction.prefill.value = static_cast<double>(tokens) / prompt.seconds;
  prediction.energy = EnergyOf(prediction.token, 1, prediction.resources, model.mhz(), parameters);
  prediction.hbm_gbs = static_cast<double>(prediction.token.hbm_bytes) / prediction.token.seconds * 1e-9;
  prediction.hbm_peak_gbs = parameters.hbm_peak_gbs * fpga::FindMemory(card, "HBM")->banks;
  RETURN_IF_ERROR(AddBands(model, parameters, &prediction));
  return prediction;
}

}  // namespace phidias::sim
