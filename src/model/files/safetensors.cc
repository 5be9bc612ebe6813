#include "model/files/safetensors.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "common/mapped_file.h"
#include "model/files/file_kind.h"
#include "model/files/shard_index.h"

namespace phidias {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr const char* kMetadataKey = "__metadata__";
constexpr size_t kMaxMetadataEntries = 65536;

struct HeaderEntry {
  std::optional<std::string> dtype;
  std::optional<std::vector<int64_t>> shape;
  std::optional<std::vector<int64_t>> offsets;
};

using HeaderMap = std::map<std::string, HeaderEntry>;
using StringMap = std::map<std::string, std::string>;

// Takes the header's JSON event by event. The header's structure is fixed and two levels deep, so a place enumeration
// is all the state there is: hostile nesting ends at the first bracket that doesn't belong, and keys that appear twice
// are seen (a DOM would keep the last one silently).
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderHandler(HeaderMap* tensors, StringMap* metadata) : tensors_(tensors), metadata_(metadata) {}

  const Status& status() const { return status_; }

  bool null() override {
    // The reference implementation takes a null `__metadata__` for an absent one.
    return (place_ == Place::kRoot && key_ == kMetadataKey) || Unexpected("null");
  }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return Unexpected("a number that is fractional or too large");
  }
  bool binary(binary_t&) override { return Unexpected("binary data"); }
  bool number_unsigned(number_unsigned_t value) override;
  bool string(string_t& value) override;
  bool start_object(size_t) override;
  bool key(string_t& name) override;
  bool end_object() override;
  bool start_array(size_t) override;
  bool end_array() override;
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail(DataError("the header isn't valid JSON (at byte ", position, " of the header)"));
  }

 private:
  enum class Place { kStart, kRoot, kMetadata, kTensor, kList };

  bool Fail(Status status) {
    if (status_.ok()) {
      status_ = std::move(status);
    }
    return false;
  }
  bool Unexpected(const char* found);
  bool TensorField(const std::string& name);

  HeaderMap* tensors_;
  StringMap* metadata_;
  bool metadata_seen_ = false;
  Status status_;
  Place place_ = Place::kStart;
  std::string key_;                                      // at kRoot: the last key seen
  std::string field_;                                    // of the tensor, or the metadata's key
  HeaderMap::value_type* tensor_ = nullptr;              // at kTensor and kList
  std::optional<std::vector<int64_t>>* list_ = nullptr;  // at kList
};

bool HeaderHandler::Unexpected(const char* found) {
  switch (place_) {
    case Place::kStart: return Fail(DataError("the header must be a JSON object, found ", found));
    case Place::kRoot: return Fail(DataError("header entry ", Quoted(key_), " must be an object, found ", found));
    case Place::kMetadata:
      return Fail(DataError("__metadata__ entry ", Quoted(field_), " must be a string, found ", found));
    case Place::kTensor:
      return Fail(DataError("tensor ", Quoted(tensor_->first), ": ", Quoted(field_), " must be ",
                            field_ == "dtype" ? "a string" : "a list of non-negative integers", ", found ", found));
    case Place::kList:
      return Fail(DataError("tensor ", Quoted(tensor_->first), ": ", Quoted(field_),
                            " must hold non-negative integers, found ", found));
  }
  return false;
}

bool HeaderHandler::number_unsigned(number_unsigned_t value) {
  if (place_ != Place::kList) {
    return Unexpected("a number");
  }
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Unexpected("a number that is fractional or too large");
  }
  if ((*list_)->size() >= kMaxTensorRank) {
    return Fail(DataError("tensor ", Quoted(tensor_->first), ": ", Quoted(field_), " has more than ", kMaxTensorRank,
                          " values"));
  }
  (*list_)->push_back(static_cast<int64_t>(value));
  return true;
}

bool HeaderHandler::string(string_t& value) {
  if (place_ == Place::kMetadata) {
    if (metadata_->size() >= kMaxMetadataEntries) {
      return Fail(DataError("__metadata__ has more than ", kMaxMetadataEntries, " entries"));
    }
    if (!metadata_->emplace(field_, std::move(value)).second) {
      return Fail(DataError("__metadata__ has the key ", Quoted(field_), " twice"));
    }
    return true;
  }
  if (place_ == Place::kTensor && field_ == "dtype") {
    tensor_->second.dtype = std::move(value);
    return true;
  }
  return Unexpected("a string");
}

bool HeaderHandler::start_object(size_t) {
  if (place_ == Place::kStart) {
    place_ = Place::kRoot;
    return true;
  }
  if (place_ == Place::kRoot) {
    place_ = key_ == kMetadataKey ? Place::kMetadata : Place::kTensor;
    return true;
  }
  return Unexpected("an object");
}

bool HeaderHandler::key(string_t& name) {
  if (place_ == Place::kMetadata) {
    field_ = std::move(name);
    return true;
  }
  if (place_ == Place::kTensor) {
    return TensorField(name);
  }
  key_ = std::move(name);
  if (key_ == kMetadataKey) {
    return !std::exchange(metadata_seen_, true) || Fail(DataError("the header has the key __metadata__ twice"));
  }
  if (key_.empty() || key_.size() > kMaxTensorNameBytes) {
    return Fail(DataError("tensor name ", Quoted(key_), " has ", key_.size(), " bytes; 1 to ", kMaxTensorNameBytes,
                          " are possible"));
  }
  if (tensors_->size() >= kMaxTensors) {
    return Fail(DataError("the header lists more than ", kMaxTensors, " tensors"));
  }
  const auto [position, inserted] = tensors_->try_emplace(key_);
  tensor_ = &*position;
  return inserted || Fail(DataError("the header lists tensor ", Quoted(key_), " twice"));
}

bool HeaderHandler::TensorField(const std::string& name) {
  const HeaderEntry& entry = tensor_->second;
  const bool twice =
      (name == "dtype" && entry.dtype) || (name == "shape" && entry.shape) || (name == "data_offsets" && entry.offsets);
  if (twice) {
    return Fail(DataError("tensor ", Quoted(tensor_->first), " has the field ", Quoted(name), " twice"));
  }
  if (name != "dtype" && name != "shape" && name != "data_offsets") {
    return Fail(DataError("tensor ", Quoted(tensor_->first), " has an unknown field ", Quoted(name),
                          "; a tensor has dtype, shape and data_offsets"));
  }
  field_ = name;
  return true;
}

bool HeaderHandler::end_object() {
  if (place_ == Place::kTensor) {
    const HeaderEntry& entry = tensor_->second;
    const char* missing = !entry.dtype ? "dtype" : !entry.shape ? "shape" : !entry.offsets ? "data_offsets" : nullptr;
    if (missing != nullptr) {
      return Fail(DataError("tensor ", Quoted(tensor_->first), " has no field \"", missing, "\""));
    }
  }
  place_ = Place::kRoot;
  return true;
}

bool HeaderHandler::start_array(size_t) {
  if (place_ != Place::kTensor || field_ == "dtype") {
    return Unexpected("a list");
  }
  list_ = field_ == "shape" ? &tensor_->second.shape : &tensor_->second.offsets;
  list_->emplace();
  place_ = Place::kList;
  return true;
}

bool HeaderHandler::end_array() {
  if (field_ == "data_offsets" && (*list_)->size() != 2) {
    return Fail(DataError("tensor ", Quoted(tensor_->first), ": \"data_offsets\" must hold 2 numbers, found ",
                          (*list_)->size()));
  }
  place_ = Place::kTensor;
  return true;
}

Result<DType> DTypeFromName(const std::string& name) {
  for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8, DType::kU8, DType::kI16,
                            DType::kI32, DType::kI64, DType::kBool}) {
    if (DTypeName(dtype) == name) {
      return dtype;
    }
  }
  return Unsupported("dtype ", Quoted(name),
                     " isn't supported; F32, F16, BF16, F64, I8, U8, I16, I32, I64 and BOOL are. Use a checkpoint in "
                     "float16, bfloat16 or float32");
}

// What a file is that can't be safetensors, if its first bytes tell; otherwise `reason`.
Status NotSafetensors(std::span<const std::byte> bytes, Status reason) {
  const FileKind kind = DetectFileKind(bytes.first(std::min<size_t>(bytes.size(), 64)));
  if (const std::string advice = ForeignFileAdvice(kind); !advice.empty()) {
    return DataError("the file ", advice);
  }
  if (kind == FileKind::kGguf) {
    return DataError("the file is GGUF, not safetensors; name it *.gguf and give the file itself as the model");
  }
  if (kind == FileKind::kZip) {
    return DataError("the file is a zip archive, probably by torch.save, not safetensors; name it pytorch_model.bin");
  }
  return reason;
}

// The JSON text between the length and the data.
Result<std::string_view> HeaderText(std::span<const std::byte> bytes) {
  if (bytes.size() < kLengthBytes) {
    return NotSafetensors(
        bytes, DataError("the file has ", bytes.size(), " bytes, too few for a safetensors file; download it again"));
  }
  uint64_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;) {
    length = length << 8 | std::to_integer<uint64_t>(bytes[i]);
  }
  if (length > kMaxSafetensorsHeader) {
    return NotSafetensors(bytes, DataError("the file isn't safetensors: its header would have ", length,
                                           " bytes, at most ", kMaxSafetensorsHeader, " are possible"));
  }
  if (length > bytes.size() - kLengthBytes) {
    return NotSafetensors(bytes, DataError("the file ends inside its header: the header has ", length,
                                           " bytes, the file ", bytes.size(), "; the download may be incomplete"));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) {
    return NotSafetensors(bytes, DataError("the file isn't safetensors: its header doesn't begin with '{'"));
  }
  // nlohmann's lexer takes a zero byte for the end of its input and would ignore what follows.
  if (const size_t zero = text.find('\0'); zero != std::string_view::npos) {
    return DataError("the header isn't valid JSON (zero byte at byte ", zero, " of the header)");
  }
  return text;
}

// One header entry, checked on its own against `data`.
Result<StoredTensor> MakeTensor(const std::string& name, const HeaderEntry& entry, std::span<const std::byte> data) {
  StoredTensor tensor;
  tensor.name = name;
  ASSIGN_OR_RETURN(tensor.dtype, DTypeFromName(*entry.dtype));
  tensor.shape = *entry.shape;
  ASSIGN_OR_RETURN(const int64_t elements, ElementCount(tensor.shape));
  const auto begin = static_cast<uint64_t>((*entry.offsets)[0]);
  const auto end = static_cast<uint64_t>((*entry.offsets)[1]);
  if (begin > end) {
    return DataError("data_offsets [", begin, ", ", end, "] end before they begin");
  }
  const auto expected = static_cast<uint64_t>(DTypeBytes(tensor.dtype, elements));
  if (end - begin != expected) {
    return DataError("data_offsets [", begin, ", ", end, "] span ", end - begin, " bytes, but dtype ", *entry.dtype,
                     " and shape ", ShapeString(tensor.shape), " need ", expected);
  }
  if (end > data.size()) {
    return DataError("ends at byte ", end, " of the data, but the file has only ", data.size(),
                     " bytes of data; the download may be incomplete");
  }
  tensor.data = data.data() + begin;
  tensor.bytes = static_cast<size_t>(expected);
  return tensor;
}

// Tensors must cover the data without overlap, hole or rest, as the reference implementation demands: a rest is how a
// damaged or tampered file shows.
Status CheckCoverage(const HeaderMap& header, size_t data_bytes) {
  std::vector<const HeaderMap::value_type*> order;
  order.reserve(header.size());
  for (const auto& entry : header) {
    order.push_back(&entry);
  }
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return *a->second.offsets < *b->second.offsets; });
  int64_t covered = 0;
  const std::string* previous = nullptr;
  for (const auto* entry : order) {
    const int64_t begin = (*entry->second.offsets)[0];
    if (begin < covered) {
      return DataError("tensors ", Quoted(*previous), " and ", Quoted(entry->first),
                       " overlap: the second begins at byte ", begin, " of the data, the first ends at byte ", covered);
    }
    if (begin > covered) {
      return DataError("bytes ", covered, " to ", begin, " of the data belong to no tensor (before ",
                       Quoted(entry->first), "); the format allows no holes");
    }
    covered = (*entry->second.offsets)[1];
    previous = &entry->first;
  }
  if (static_cast<uint64_t>(covered) != data_bytes) {
    return DataError("the header's tensors cover ", covered, " bytes of data, but the file has ", data_bytes, ": ",
                     data_bytes - static_cast<uint64_t>(covered), " bytes at its end belong to no tensor");
  }
  return {};
}

Result<TensorStore> Parse(std::span<const std::byte> bytes, const std::string& path, StringMap* metadata) {
  ASSIGN_OR_RETURN(const std::string_view text, HeaderText(bytes));
  HeaderMap header;
  HeaderHandler handler(&header, metadata);
  if (!nlohmann::json::sax_parse(text.data(), text.data() + text.size(), &handler)) {
    return handler.status();
  }
  const std::span<const std::byte> data = bytes.subspan(kLengthBytes + text.size());
  TensorStore store;
  for (const auto& [name, entry] : header) {
    Result<StoredTensor> tensor = MakeTensor(name, entry, data);
    if (!tensor.ok()) {
      return tensor.status().WithContext("tensor " + Quoted(name));
    }
    tensor->file = path;
    RETURN_IF_ERROR(store.Add(*std::move(tensor)));
  }
  RETURN_IF_ERROR(CheckCoverage(header, data.size()));
  return store;
}

}  // namespace

Result<TensorStore> ParseSafetensors(std::span<const std::byte> bytes, const std::string& path,
                                     std::map<std::string, std::string>* metadata) {
  StringMap found;
  Result<TensorStore> store = Parse(bytes, path, &found);
  if (!store.ok()) {
    return store.status().WithContext(path);
  }
  if (metadata != nullptr) {
    *metadata = std::move(found);
  }
  return store;
}

Result<TensorStore> ReadSafetensors(const std::string& path, std::map<std::string, std::string>* metadata) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  Result<TensorStore> store = ParseSafetensors(file->bytes(), path, metadata);
  RETURN_IF_ERROR(file->Check());
  if (store.ok()) {
    store->files.push_back(std::move(file));
  }
  return store;
}

Result<TensorStore> ReadSafetensorsIndex(const std::string& index_path) {
  return ReadShardIndex(index_path, [](const std::string& path) { return ReadSafetensors(path); });
}

}  // namespace phidias
