#include "quant/checkpoint_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "common/file.h"
#include "model/int4_constants_file.h"
#include "model/integer_constants_file.h"
#include "quant/model_files.h"
#include "quant/output_dir.h"
#include "quant/shard_writer.h"

namespace phidias {
namespace {

using Json = nlohmann::ordered_json;

std::vector<Int4Constants> FourBitLayers(const QuantPlan& plan) {
  std::vector<Int4Constants> layers;
  for (const LinearPlan* linear : plan.Linears()) {
    if (linear->FourBits()) {
      layers.push_back({linear->name, &linear->quant});
    }
  }
  return layers;
}

class Writer {
 public:
  Writer(const Checkpoint& source, const QuantPlan& plan, const WriteOptions& options, ThreadPool* pool)
      : source_(source), plan_(plan), options_(options), tensors_(OutputTensors(source, plan, pool)) {
    for (const OutputTensor& tensor : tensors_) {
      written_.bytes[static_cast<size_t>(tensor.part)] += tensor.bytes();
    }
    const std::vector<int64_t> before = SourceBytes(source);
    std::copy(before.begin(), before.end(), written_.source_bytes.begin());
  }

  Result<WrittenCheckpoint> Run(const OutputDir& dir);

 private:
  Json Report() const;

  const Checkpoint& source_;
  const QuantPlan& plan_;
  const WriteOptions& options_;
  std::vector<OutputTensor> tensors_;
  WrittenCheckpoint written_;
};

Json Writer::Report() const {
  Json json = {{"source", source_.path}};
  json.update(PlanReport(plan_));
  if (options_.calibration.rows > 0) {
    const CalibrationNote& note = options_.calibration;
    json["calibration"] = {
        {"data", note.data}, {"fingerprint", note.fingerprint}, {"rows", note.rows}, {"tokens", note.tokens}};
  }
  for (size_t i = 0; i < kOutputParts; ++i) {
    json["bytes"][OutputPartName(static_cast<OutputPart>(i))] = {{"source", written_.source_bytes[i]},
                                                                 {"quantised", written_.bytes[i]}};
  }
  return json;
}

Result<WrittenCheckpoint> Writer::Run(const OutputDir& dir) {
  // The small files first: what is wrong with them shows before the long work.
  ASSIGN_OR_RETURN(const std::string config, QuantizedConfigText(source_, plan_));
  RETURN_IF_ERROR(WriteFile(dir.File("config.json"), config));
  RETURN_IF_ERROR(WriteTokenizerFiles(source_, dir.temporary()));
  if (plan_.integer) {
    RETURN_IF_ERROR(WriteIntegerConstants(dir.File(kIntegerConstantsFile), *plan_.integer));
  }
  if (plan_.FourBits()) {
    RETURN_IF_ERROR(WriteInt4Constants(dir.File(kInt4ConstantsFile), FourBitLayers(plan_)));
  }
  RETURN_IF_ERROR(WriteFile(dir.File("quantization_report.json"),
                            Report().dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  ASSIGN_OR_RETURN(written_.files, WriteShards(dir, tensors_, options_.shards));
  RETURN_IF_ERROR(source_.store.CheckFiles());
  return written_;
}

}  // namespace

const char* OutputPartName(OutputPart part) {
  switch (part) {
    case OutputPart::kEmbedding: return "embedding";
    case OutputPart::kAttention: return "attention";
    case OutputPart::kMlp: return "mlp";
    case OutputPart::kNorms: return "norms";
    case OutputPart::kLmHead: return "lm_head";
  }
  return "?";
}

Result<WrittenCheckpoint> WriteQuantizedCheckpoint(const Checkpoint& source, const QuantPlan& plan,
                                                   const std::string& path, const WriteOptions& options,
                                                   ThreadPool* pool) {
  if (plan.scheme.weights == RangeKind::kNone) {
    return InvalidArgument(
        "--weights none: leaves nothing to write; float weights with quantised activations are for "
        "`phidias sweep` alone");
  }
  ASSIGN_OR_RETURN(OutputDir dir, OutputDir::Create(path, options.force, source.path));
  Writer writer(source, plan, options, pool);
  ASSIGN_OR_RETURN(WrittenCheckpoint written, writer.Run(dir));
  RETURN_IF_ERROR(dir.Commit());
  return written;
}

}  // namespace phidias
