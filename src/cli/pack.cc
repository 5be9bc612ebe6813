// phidias pack: a model's weights as a card's memory takes them.

#include "backend/fpga/packer.h"
#include "backend/fpga/tiled_backend.h"
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
    "  phidias pack phi-2-dynamic --host-ops linear -o phi-2.packed\n";

struct PackFlags {
  ModelOption model;
  std::string design = "report";
  fpga::HostOps host_ops;
  std::optional<std::string> output;
  CpuOptions cpu;
  bool quiet = false;
};

Status Pack(const PackFlags& flags) {
  if (flags.design == fpga::kTiledDesignName) {
    return Unsupported(
        "--design tiled: this design has no packed file; `run --design tiled` packs the model as it loads it");
  }
  ASSIGN_OR_RETURN(const hls::DesignPoint* const design, fpga::FindDesign(flags.design));
  ASSIGN_OR_RETURN(const std::string path, ChooseModel(flags.model));
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions(flags.cpu));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint, OpenCheckpoint(path));
  const fpga::CardWeights weights = CardWeightsOf(checkpoint);
  ASSIGN_OR_RETURN(fpga::PlacementOptions placing, fpga::CheckWeights(weights, flags.host_ops));
  placing.positions = 1;  // caches aren't packed
  ASSIGN_OR_RETURN(const fpga::HbmPlacement placement, fpga::PlanPlacement(weights.shape, *design, placing));
  ThreadPool pool(setup.threads);
  ProgressBar bar("packing", "bytes", !flags.quiet);
  fpga::PackOptions options;
  options.cancel = CatchInterrupts();
  options.progress = [&bar](int64_t done, int64_t total) { bar.Update(done, total); };
  RETURN_IF_ERROR(fpga::PackModel(weights, placement, *flags.output, &pool, options));
  bar.Clear();
  RETURN_IF_ERROR(checkpoint.store.CheckFiles());
  if (!flags.quiet) {
    WriteStderr(StrCat(*flags.output, ": design ", design->name, ", ", placement.segments.size(), " banks, ",
                       placement.packed_bytes(), " bytes\n"));
  }
  return {};
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
