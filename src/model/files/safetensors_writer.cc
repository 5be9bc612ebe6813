#include "model/files/safetensors_writer.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "common/utf8.h"
#include "model/files/safetensors.h"
#include "model/files/tensor_store.h"

namespace phidias {
namespace {

constexpr size_t kDataAlignment = 8;
constexpr uint64_t kMaxDataBytes = uint64_t{1} << 60;

// JSON string literal. `text` must be UTF-8: nlohmann throws for anything else.
Result<std::string> JsonString(const std::string& text) {
  if (const size_t bad = FindInvalidUtf8(text); bad != std::string::npos) {
    return InvalidArgument(Quoted(text), " isn't UTF-8 (byte ", bad, ")");
  }
  return nlohmann::json(text).dump();
}

Status CheckName(const std::string& name, std::set<std::string>* names) {
  if (name.empty() || name.size() > kMaxTensorNameBytes || name == "__metadata__") {
    return InvalidArgument("not a possible tensor name");
  }
  if (!names->insert(name).second) {
    return InvalidArgument("appears twice");
  }
  return {};
}

// `"name":{...}` for one entry whose data begins at *offset; moves *offset to its end.
Result<std::string> EntryJson(const SafetensorsEntry& entry, uint64_t* offset) {
  if (entry.dtype == DType::kQ8_0) {
    return InvalidArgument("safetensors has no dtype ", DTypeName(entry.dtype));
  }
  ASSIGN_OR_RETURN(const int64_t elements, ElementCount(entry.shape));
  const auto element_bytes = static_cast<uint64_t>(DTypeBytes(entry.dtype, 1));
  if (*offset % element_bytes != 0) {
    return InvalidArgument("its data would begin at byte ", *offset, ", unaligned for ", DTypeName(entry.dtype),
                           "; sort the tensors by element size");
  }
  const uint64_t begin = *offset;
  if (begin > kMaxDataBytes) {  // a tensor has at most 2^50 elements of 8 bytes, so the sum below can't wrap
    return InvalidArgument("the tensors before it have ", begin, " bytes, more than a file can hold");
  }
  *offset += static_cast<uint64_t>(elements) * element_bytes;
  ASSIGN_OR_RETURN(std::string json, JsonString(entry.name));
  json += StrCat(":{\"dtype\":\"", DTypeName(entry.dtype), "\",\"shape\":[");
  for (size_t i = 0; i < entry.shape.size(); ++i) {
    json += StrCat(i == 0 ? "" : ",", entry.shape[i]);
  }
  return json + StrCat("],\"data_offsets\":[", begin, ",", *offset, "]}");
}

Result<std::string> MetadataJson(const std::map<std::string, std::string>& metadata) {
  std::string json = "\"__metadata__\":{";
  for (const auto& [key, value] : metadata) {
    ASSIGN_OR_RETURN(const std::string key_json, JsonString(key));
    ASSIGN_OR_RETURN(const std::string value_json, JsonString(value));
    json += StrCat(json.back() == '{' ? "" : ",", key_json, ":", value_json);
  }
  return json + "}";
}

// The JSON header, padded with spaces so that the data after it and its length begins at a multiple of 8.
Result<std::string> HeaderJson(const std::vector<SafetensorsEntry>& entries,
                               const std::map<std::string, std::string>& metadata, uint64_t* data_bytes) {
  if (entries.size() > kMaxTensors) {
    return InvalidArgument(entries.size(), " tensors, at most ", kMaxTensors, " are possible");
  }
  std::string json = "{";
  if (!metadata.empty()) {
    ASSIGN_OR_RETURN(const std::string text, MetadataJson(metadata));
    json += text;
  }
  std::set<std::string> names;
  for (const SafetensorsEntry& entry : entries) {
    const std::string context = "tensor " + Quoted(entry.name);
    RETURN_IF_ERROR(CheckName(entry.name, &names).WithContext(context));
    const Result<std::string> text = EntryJson(entry, data_bytes);
    if (!text.ok()) {
      return text.status().WithContext(context);
    }
    json.append(json.size() == 1 ? "" : ",").append(*text);
  }
  json += "}";
  json.resize((json.size() + kDataAlignment - 1) / kDataAlignment * kDataAlignment, ' ');
  if (json.size() > kMaxSafetensorsHeader) {
    return InvalidArgument("the header would have ", json.size(), " bytes, at most ", kMaxSafetensorsHeader,
                           " are possible");
  }
  return json;
}

}  // namespace

void SortForAlignment(std::vector<SafetensorsEntry>* entries) {
  std::stable_sort(entries->begin(), entries->end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return DTypeBytes(a.dtype, 1) > DTypeBytes(b.dtype, 1);
  });
}

Result<SafetensorsWriter> SafetensorsWriter::Create(const std::string& path,
                                                    const std::vector<SafetensorsEntry>& entries,
                                                    const std::map<std::string, std::string>& metadata) {
  uint64_t data_bytes = 0;
  const Result<std::string> json = HeaderJson(entries, metadata, &data_bytes);
  if (!json.ok()) {
    return json.status().WithContext(path);
  }
  std::string head;
  for (size_t i = 0; i < 8; ++i) {
    head += static_cast<char>(static_cast<uint64_t>(json->size()) >> (8 * i) & 0xff);
  }
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(head + *json));
  return SafetensorsWriter(std::move(file), path, data_bytes);
}

Status SafetensorsWriter::Append(std::span<const std::byte> bytes) {
  if (bytes.size() > data_bytes_ - appended_) {
    return InvalidArgument(path_, ": more data than the ", data_bytes_, " bytes that the header promises");
  }
  const Status status = file_.Write(bytes);
  if (status.ok()) {
    appended_ += bytes.size();
  } else {
    failed_ = true;
  }
  return status;
}

Status SafetensorsWriter::Finish() {
  if (failed_) {
    return IoError(path_, ": not written, because writing its data failed");
  }
  if (appended_ != data_bytes_) {
    return InvalidArgument(path_, ": only ", appended_, " of the ", data_bytes_, " bytes of data were written");
  }
  return file_.Commit();
}

}  // namespace phidias
