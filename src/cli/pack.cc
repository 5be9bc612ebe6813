// phidias pack: a model's weights as a card's memory takes them.

#include "backend/fpga/packer.h"
#include "backend/fpga/tiled_backend.h"
#include "backend/fpga/tiled_pack.h"
#include "cli/device_flags.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/interrupt.h"
#include "cli/model_option.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "cli/verbs.h"
#include "engine/card_weights.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias pack [OPTIONS] [MODEL] -o FILE";
constexpr const char* kExamples =
    "Writes what `run --device u280 --packed FILE` maps and uploads: one segment per memory bank, in the order in "
    "which\n"
    "the kernels read it. The same model and design give the same bytes. Without --packed, run makes such a file "
    "once,\n"
    "in its cache (PHIDIAS_CACHE, default ~/.cache/phidias).\n"
    "\n"
    "Examples:\n"
    "  phidias pack phi-2-int8 -o phi-2.packed\n"
    "  phidias pack phi-2-dynamic --host-ops linear -o phi-2.packed\n"
    "  phidias pack phi-2-integer --design tiled -o phi-2.tiled.packed\n";

struct PackFlags {
  ModelOption model;
  std::string design = "report";
  fpga::HostOps host_ops;
  std::optional<std::string> output;
  CpuOptions cpu;
  bool quiet = false;
};

// What both designs' packing shares: threads, progress, an end on request, and the last word.
class Packing {
 public:
  Packing(const PackFlags& flags, int threads)
      : flags_(flags),
        pool_(threads),
        bar_("packing", "bytes", !flags.quiet),
        options_{.cancel = CatchInterrupts(),
                 .progress = [this](int64_t done, int64_t total) { bar_.Update(done, total); }} {}

  ThreadPool* pool() { return &pool_; }
  const fpga::PackOptions& options() const { return options_; }
  Status Finish(const Checkpoint& checkpoint, const std::vector<fpga::Segment>& segments) {
    bar_.Clear();
    RETURN_IF_ERROR(checkpoint.store.CheckFiles());
    if (!flags_.quiet) {
      int64_t bytes = 0;
      for (const fpga::Segment& segment : segments) {
        bytes += segment.bytes;
      }
      WriteStderr(
          StrCat(*flags_.output, ": design ", flags_.design, ", ", segments.size(), " banks, ", bytes, " bytes\n"));
    }
    return {};
  }

 private:
  const PackFlags& flags_;
  ThreadPool pool_;
  ProgressBar bar_;
  fpga::PackOptions options_;
};

Status PackTiled(const PackFlags& flags, const Checkpoint& checkpoint, Packing* packing) {
  if (!flags.host_ops.empty()) {
    return InvalidArgument("--host-ops: design tiled runs the whole model on the card");
  }
  ASSIGN_OR_RETURN(const fpga::TiledWeights weights, TiledWeightsOf(checkpoint));
  ASSIGN_OR_RETURN(const fpga::TiledPlacement plan, fpga::PlanTiled(weights.shape, weights.PlanOptions(0)));
  RETURN_IF_ERROR(fpga::PackTiledModel(weights, plan, *flags.output, packing->pool(), packing->options()));
  return packing->Finish(checkpoint, fpga::TiledPackedHeader(weights, plan).segments);
}

Status PackReport(const PackFlags& flags, const hls::DesignPoint& design, const Checkpoint& checkpoint,
                  Packing* packing) {
  const fpga::CardWeights weights = CardWeightsOf(checkpoint);
  ASSIGN_OR_RETURN(fpga::PlacementOptions placing, fpga::CheckWeights(weights, flags.host_ops));
  placing.positions = 1;  // caches aren't packed
  ASSIGN_OR_RETURN(const fpga::HbmPlacement placement, fpga::PlanPlacement(weights.shape, design, placing));
  RETURN_IF_ERROR(fpga::PackModel(weights, placement, *flags.output, packing->pool(), packing->options()));
  return packing->Finish(checkpoint, placement.segments);
}

Status Pack(const PackFlags& flags) {
  const bool tiled = flags.design == fpga::kTiledDesignName;
  const hls::DesignPoint* design = nullptr;
  if (!tiled) {
    ASSIGN_OR_RETURN(design, fpga::FindDesign(flags.design));
  }
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions(flags.cpu));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(path));
  Packing packing(flags, setup.threads);
  return tiled ? PackTiled(flags, checkpoint, &packing) : PackReport(flags, *design, checkpoint, &packing);
}

}  // namespace

int PackVerb(std::span<const std::string> arguments) {
  CLI::App app("A model's weights as a card's memory takes them.", "phidias pack");
  PackFlags flags;
  AddModelOption(app, &flags.model);
  AddText(app, "-o,--output", &flags.output, "the file to write; it appears when it is complete")
      ->type_name("FILE")
      ->required();
  AddDesignFlag(app, &flags.design);
  AddHostOpsFlag(app, &flags.host_ops);
  AddCpuFlags(app, &flags.cpu);
  app.add_flag("-q,--quiet", flags.quiet, "nothing on stderr but errors");
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "pack", arguments)) {
    return *code;
  }
  const Status status = Pack(flags);
  return status.ok() ? kExitOk : Fail("pack", status);
}

}  // namespace phidias::cli
