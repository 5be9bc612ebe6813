#include "quant/checkpoint_writer.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "common/file.h"
#include "model/files/safetensors_writer.h"
#include "model/integer_constants_file.h"
#include "quant/model_files.h"
#include "quant/output_dir.h"

namespace phidias {
namespace {

using Json = nlohmann::ordered_json;
using Shard = std::vector<const OutputTensor*>;

// In the model's order, a new file where the next tensor would make one too large.
std::vector<Shard> DealOut(const std::vector<OutputTensor>& tensors, int64_t shard_bytes) {
  std::vector<Shard> shards(1);
  int64_t bytes = 0;
  for (const OutputTensor& tensor : tensors) {
    if (!shards.back().empty() && bytes + tensor.bytes() > shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(&tensor);
    bytes += tensor.bytes();
  }
  return shards;
}

std::string ShardName(size_t index, size_t count) {
  if (count == 1) {
    return "model.safetensors";
  }
  char name[64];
  std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", index + 1, count);
  return name;
}

class Writer {
 public:
  Writer(const Checkpoint& source, const QuantPlan& plan, const WriteOptions& options, ThreadPool* pool)
      : source_(source), plan_(plan), options_(options), tensors_(OutputTensors(source, plan, pool)) {
    for (const OutputTensor& tensor : tensors_) {
      written_.bytes[static_cast<size_t>(tensor.part)] += tensor.bytes();
      total_ += tensor.bytes();
    }
    const std::vector<int64_t> before = SourceBytes(source);
    std::copy(before.begin(), before.end(), written_.source_bytes.begin());
  }

  Result<WrittenCheckpoint> Run(const OutputDir& dir);

 private:
  Status WriteShard(const std::string& path, Shard shard);
  Status WriteIndex(const OutputDir& dir, const std::vector<Shard>& shards) const;
  Json Report() const;

  const Checkpoint& source_;
  const QuantPlan& plan_;
  const WriteOptions& options_;
  std::vector<OutputTensor> tensors_;
  WrittenCheckpoint written_;
  int64_t total_ = 0;
  int64_t done_ = 0;
};

Status WriteText(const std::string& path, const std::string& text) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(text));
  return file.Commit();
}

Status Writer::WriteShard(const std::string& path, Shard shard) {
  // By element size, as SortForAlignment orders the entries.
  std::stable_sort(shard.begin(), shard.end(), [](const OutputTensor* a, const OutputTensor* b) {
    return DTypeBytes(a->entry.dtype, 1) > DTypeBytes(b->entry.dtype, 1);
  });
  std::vector<SafetensorsEntry> entries;
  for (const OutputTensor* tensor : shard) {
    entries.push_back(tensor->entry);
  }
  ASSIGN_OR_RETURN(SafetensorsWriter file, SafetensorsWriter::Create(path, entries, {{"format", "pt"}}));
  const OutputTensor::Sink sink = [&](std::span<const std::byte> bytes) -> Status {
    if (options_.cancel != nullptr && options_.cancel->load(std::memory_order_relaxed)) {
      return {StatusCode::kCancelled, "stopped on request"};
    }
    RETURN_IF_ERROR(file.Append(bytes));
    done_ += static_cast<int64_t>(bytes.size());
    return {};
  };
  for (const OutputTensor* tensor : shard) {
    RETURN_IF_ERROR(tensor->write(sink));
    if (options_.progress) {
      options_.progress(done_, total_);
    }
  }
  return file.Finish();
}

Status Writer::WriteIndex(const OutputDir& dir, const std::vector<Shard>& shards) const {
  std::map<std::string, std::string> weight_map;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const OutputTensor* tensor : shards[i]) {
      weight_map[tensor->entry.name] = ShardName(i, shards.size());
    }
  }
  const Json json = {{"metadata", {{"total_size", total_}}}, {"weight_map", weight_map}};
  return WriteText(dir.File("model.safetensors.index.json"), json.dump(2) + "\n");
}

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
  RETURN_IF_ERROR(WriteText(dir.File("config.json"), config));
  RETURN_IF_ERROR(WriteTokenizerFiles(source_, dir.temporary()));
  if (plan_.integer) {
    RETURN_IF_ERROR(WriteIntegerConstants(dir.File(kIntegerConstantsFile), *plan_.integer));
  }
  RETURN_IF_ERROR(WriteText(dir.File("quantization_report.json"),
                            Report().dump(2, ' ', false, Json::error_handler_t::replace) + "\n"));
  const std::vector<Shard> shards = DealOut(tensors_, options_.shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    RETURN_IF_ERROR(WriteShard(dir.File(ShardName(i, shards.size())), shards[i]));
  }
  if (shards.size() > 1) {
    RETURN_IF_ERROR(WriteIndex(dir, shards));
  }
  RETURN_IF_ERROR(source_.store.CheckFiles());
  written_.files = static_cast<int64_t>(shards.size());
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
