#include "quant/shard_writer.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "common/file.h"
#include "model/files/safetensors_writer.h"

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
  Writer(const ShardOptions& options, int64_t total) : options_(options), total_(total) {}

  Status WriteShard(const std::string& path, Shard shard);
  Status WriteIndex(const std::string& path, const std::vector<Shard>& shards) const;

 private:
  const ShardOptions& options_;
  int64_t total_;
  int64_t done_ = 0;
};

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

Status Writer::WriteIndex(const std::string& path, const std::vector<Shard>& shards) const {
  std::map<std::string, std::string> weight_map;
  for (size_t i = 0; i < shards.size(); ++i) {
    for (const OutputTensor* tensor : shards[i]) {
      weight_map[tensor->entry.name] = ShardName(i, shards.size());
    }
  }
  const Json json = {{"metadata", {{"total_size", total_}}}, {"weight_map", weight_map}};
  return WriteFile(path, json.dump(2) + "\n");
}

}  // namespace

Result<int64_t> WriteShards(const OutputDir& dir, const std::vector<OutputTensor>& tensors,
                            const ShardOptions& options) {
  int64_t total = 0;
  for (const OutputTensor& tensor : tensors) {
    total += tensor.bytes();
  }
  Writer writer(options, total);
  const std::vector<Shard> shards = DealOut(tensors, options.shard_bytes);
  for (size_t i = 0; i < shards.size(); ++i) {
    RETURN_IF_ERROR(writer.WriteShard(dir.File(ShardName(i, shards.size())), shards[i]));
  }
  if (shards.size() > 1) {
    RETURN_IF_ERROR(writer.WriteIndex(dir.File("model.safetensors.index.json"), shards));
  }
  return static_cast<int64_t>(shards.size());
}

}  // namespace phidias
