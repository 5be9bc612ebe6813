#include "model/files/shard_index.h"

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>
#include <utility>

#include "common/file.h"
#include "model/files/file_kind.h"

namespace phidias {
namespace {

constexpr size_t kMaxIndexBytes = 64'000'000;
constexpr size_t kMaxShards = 1000;
constexpr size_t kMaxFileNameBytes = 255;

// Takes "weight_map" out of the JSON text as it streams by. A tree of the whole file would drop duplicate keys without
// a word, and would need many times the file's size in memory for hostile text.
class WeightMapReader : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::map<std::string, std::string> weight_map;  // tensor name -> shard file name
  bool found = false;
  std::string error;

  bool null() override { return Scalar("null"); }
  bool boolean(bool /*value*/) override { return Scalar("a boolean"); }
  bool number_integer(number_integer_t /*value*/) override { return Scalar("a number"); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return Scalar("a number"); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return Scalar("a number"); }
  bool binary(binary_t& /*value*/) override { return Scalar("binary data"); }

  bool string(string_t& value) override {
    if (!InMap()) {
      return Scalar("a string");
    }
    if (weight_map.size() >= kMaxTensors) {
      return Fail(StrCat("\"weight_map\" has more than ", kMaxTensors, " entries"));
    }
    if (key_.size() > kMaxTensorNameBytes) {
      return Fail(StrCat("tensor name ", Quoted(key_), " is longer than ", kMaxTensorNameBytes, " bytes"));
    }
    if (value.size() > kMaxFileNameBytes || !IsPlainFileName(value)) {
      return Fail(StrCat("\"weight_map\" puts tensor ", Quoted(key_), " into ", Quoted(value),
                         "; a shard must be a plain file name in the index's own folder"));
    }
    if (!weight_map.emplace(key_, value).second) {
      return Fail(StrCat("\"weight_map\" has tensor ", Quoted(key_), " twice"));
    }
    return true;
  }

  bool start_object(size_t /*elements*/) override {
    if (depth_ == 1 && key_ == "weight_map") {
      if (found) {
        return Fail("\"weight_map\" is there twice");
      }
      found = true;
      inside_ = true;
    } else if (!Scalar("an object")) {
      return false;
    }
    ++depth_;
    return true;
  }
  bool start_array(size_t /*elements*/) override {
    if (!Scalar("an array")) {
      return false;
    }
    ++depth_;
    return true;
  }
  bool end_object() override { return End(); }
  bool end_array() override { return End(); }
  bool key(string_t& value) override {
    if (depth_ == 1 || inside_) {
      key_ = value;
    }
    return true;
  }
  bool parse_error(size_t position, const std::string& /*token*/, const nlohmann::json::exception& /*why*/) override {
    return Fail(StrCat("is not valid JSON (error at byte ", position, ")"));
  }

 private:
  bool InMap() const { return inside_ && depth_ == 2; }
  bool Fail(std::string message) {
    error = std::move(message);
    return false;
  }
  bool End() {
    --depth_;
    inside_ = inside_ && depth_ >= 2;
    return true;
  }
  // Any value that is not a shard's name: fine elsewhere, wrong where the map or its entries belong.
  bool Scalar(std::string_view what) {
    if (InMap()) {
      return Fail(StrCat("\"weight_map\" gives ", what, " for tensor ", Quoted(key_), " instead of a file name"));
    }
    if (depth_ == 1 && key_ == "weight_map") {
      return Fail(StrCat("\"weight_map\" is ", what, " instead of an object"));
    }
    return depth_ > 0 || what == "an object" || Fail(StrCat("holds ", what, " instead of a JSON object"));
  }

  size_t depth_ = 0;
  bool inside_ = false;
  std::string key_;
};

Result<std::map<std::string, std::string>> ReadWeightMap(const std::string& index_path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(index_path, kMaxIndexBytes));
  const std::string advice = ForeignFileAdvice(DetectFileKind(std::as_bytes(std::span(text.data(), text.size()))));
  if (!advice.empty()) {
    return DataError(index_path, ": ", advice);
  }
  WeightMapReader reader;
  if (!nlohmann::json::sax_parse(text, &reader)) {
    return DataError(index_path, ": ", reader.error);
  }
  if (!reader.found || reader.weight_map.empty()) {
    return DataError(index_path, ": has ", reader.found ? "an empty" : "no",
                     " \"weight_map\"; an index maps each tensor's name to its shard's file name");
  }
  return std::move(reader.weight_map);
}

// Every tensor of a shard must be in the map, under this very shard.
Status CheckShard(const TensorStore& store, const std::string& index_path, const std::string& shard_path,
                  const std::string& shard, const std::map<std::string, std::string>& weight_map) {
  for (const auto& [name, tensor] : store.tensors) {
    const auto found = weight_map.find(name);
    if (found == weight_map.end()) {
      return DataError(shard_path, ": tensor ", Quoted(name), " is not in ", index_path,
                       "; index and shards come from different checkpoints, download them again");
    }
    if (found->second != shard) {
      return DataError(shard_path, ": holds tensor ", Quoted(name), ", which belongs into ", Quoted(found->second),
                       " according to ", index_path);
    }
  }
  return {};
}

}  // namespace

Result<TensorStore> ReadShardIndex(const std::string& index_path,
                                   const std::function<Result<TensorStore>(const std::string& path)>& read_shard) {
  ASSIGN_OR_RETURN(const auto weight_map, ReadWeightMap(index_path));
  std::map<std::string, std::vector<std::string>> shards;  // file name -> its tensors
  for (const auto& [name, shard] : weight_map) {
    shards[shard].push_back(name);
  }
  if (shards.size() > kMaxShards) {
    return DataError(index_path, ": names ", shards.size(), " shards, at most ", kMaxShards, " are possible");
  }
  const size_t slash = index_path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : index_path.substr(0, slash + 1);
  TensorStore all;
  for (const auto& [shard, names] : shards) {
    const std::string shard_path = folder + shard;
    if (!FileExists(shard_path)) {
      return NotFound(shard_path, ": shard is missing (", index_path, " puts ", names.size(),
                      " tensors there); download it too");
    }
    ASSIGN_OR_RETURN(TensorStore store, read_shard(shard_path));
    RETURN_IF_ERROR(CheckShard(store, index_path, shard_path, shard, weight_map));
    for (const std::string& name : names) {
      if (!store.tensors.contains(name)) {
        return DataError(shard_path, ": tensor ", Quoted(name), " is not here, although ", index_path, " says so");
      }
    }
    RETURN_IF_ERROR(all.Merge(std::move(store)));
  }
  return all;
}

}  // namespace phidias
