#include "model/files/gguf.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

#include "common/mapped_file.h"
#include "model/files/file_kind.h"
#include "model/files/gguf_blocks.h"

namespace phidias {
namespace {

// Metadata and tensor list together; real files have a few megabytes. Bounds what a hostile file makes us allocate.
constexpr size_t kMaxHeaderBytes = size_t{1} << 26;
constexpr uint64_t kMaxMetadataKeys = 1 << 16;
constexpr uint64_t kMaxKeyBytes = 65535;  // the format's limit
constexpr uint32_t kMaxDims = 4;          // ggml's
constexpr int64_t kDefaultAlignment = 32;
constexpr int64_t kMinAlignment = 8;
constexpr int64_t kMaxAlignment = 1 << 20;
constexpr const char* kWayOut = "use the F16, F32, Q8_0 or Q4_0 file of this model";

// Types of metadata values, with the format's numbers.
enum class ValueType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};

// Fewest bytes that one value of `type` takes in the file; 0 for a number that is no type.
uint64_t MinValueBytes(uint32_t type) {
  switch (static_cast<ValueType>(type)) {
    case ValueType::kU8:
    case ValueType::kI8:
    case ValueType::kBool: return 1;
    case ValueType::kU16:
    case ValueType::kI16: return 2;
    case ValueType::kU32:
    case ValueType::kI32:
    case ValueType::kF32: return 4;
    case ValueType::kString:  // its length
    case ValueType::kU64:
    case ValueType::kI64:
    case ValueType::kF64: return 8;
    case ValueType::kArray: return 12;
  }
  return 0;
}

// Every tensor type that ggml has or had, but those of gguf_blocks.h. `dtype` is set for those that run here.
struct GgmlType {
  uint32_t id;
  const char* name;
  std::optional<DType> dtype = std::nullopt;
};

constexpr GgmlType kGgmlTypes[] = {
    {0, "F32", DType::kF32},
    {1, "F16", DType::kF16},
    {4, "Q4_2"},
    {5, "Q4_3"},
    {6, "Q5_0"},
    {7, "Q5_1"},
    {8, "Q8_0", DType::kQ8_0},
    {9, "Q8_1"},
    {10, "Q2_K"},
    {11, "Q3_K"},
    {12, "Q4_K"},
    {13, "Q5_K"},
    {15, "Q8_K"},
    {16, "IQ2_XXS"},
    {17, "IQ2_XS"},
    {18, "IQ3_XXS"},
    {19, "IQ1_S"},
    {20, "IQ4_NL"},
    {21, "IQ3_S"},
    {22, "IQ2_S"},
    {23, "IQ4_XS"},
    {24, "I8"},
    {25, "I16"},
    {26, "I32"},
    {27, "I64"},
    {28, "F64"},
    {29, "IQ1_M"},
    {30, "BF16", DType::kBF16},
    {31, "Q4_0_4_4"},
    {32, "Q4_0_4_8"},
    {33, "Q4_0_8_8"},
    {34, "TQ1_0"},
    {35, "TQ2_0"},
    {36, "IQ4_NL_4_4"},
    {37, "IQ4_NL_4_8"},
    {38, "IQ4_NL_8_8"},
    {39, "MXFP4"},
    {40, "NVFP4"},
    {41, "Q1_0"},
    {42, "Q2_0"},
};

Result<DType> DTypeFromGgml(uint32_t id) {
  const auto* found =
      std::find_if(std::begin(kGgmlTypes), std::end(kGgmlTypes), [id](const GgmlType& type) { return type.id == id; });
  if (found == std::end(kGgmlTypes)) {
    return Unsupported("unknown type ", id, "; ", kWayOut);
  }
  if (!found->dtype) {
    return Unsupported("type ", found->name, " doesn't run here; ", kWayOut,
                       " (K-quants but Q6_K and the other low-bit types aren't supported)");
  }
  return *found->dtype;
}

// Walks over the header; every read is checked against its end. Little-endian host assumed, as everywhere in this
// program (the bytes go to the kernels as they lie in the file).
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> file)
      : bytes_(file.first(std::min(file.size(), kMaxHeaderBytes))), capped_(file.size() > kMaxHeaderBytes) {}

  size_t position() const { return position_; }
  size_t remaining() const { return bytes_.size() - position_; }

  template <class T>
  Status Read(T* out) {
    if (remaining() < sizeof(T)) {
      return Truncated(sizeof(T));
    }
    std::memcpy(out, bytes_.data() + position_, sizeof(T));
    position_ += sizeof(T);
    return {};
  }

  Status ReadString(uint64_t max_bytes, std::string* out) {
    uint64_t length = 0;
    RETURN_IF_ERROR(Read(&length));
    if (length > remaining()) {
      return Truncated(length);
    }
    if (length > max_bytes) {
      return DataError("string of ", length, " bytes at byte ", position_, ", at most ", max_bytes,
                       " are possible here");
    }
    out->assign(reinterpret_cast<const char*>(bytes_.data()) + position_, static_cast<size_t>(length));
    position_ += static_cast<size_t>(length);
    return {};
  }

  // What a read or an array of `wanted` bytes that doesn't fit means.
  Status Truncated(uint64_t wanted) const {
    if (capped_) {
      return DataError("metadata and tensor list would have more than the ", HumanBytes(kMaxHeaderBytes),
                       " that are possible (", wanted, " bytes wanted at byte ", position_, ")");
    }
    return DataError("the file ends too early: ", wanted, " bytes wanted at byte ", position_, ", ", remaining(),
                     " are left; the download may be incomplete");
  }

 private:
  std::span<const std::byte> bytes_;
  bool capped_;  // the file goes on after bytes_
  size_t position_ = 0;
};

template <class T>
Status ReadAs(Cursor* cursor, int64_t* out) {
  T value{};
  RETURN_IF_ERROR(cursor->Read(&value));
  if constexpr (std::is_same_v<T, uint64_t>) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return DataError("integer ", value, " is larger than 2^63 - 1");
    }
  }
  *out = static_cast<int64_t>(value);
  return {};
}

bool IsFloat(ValueType type) {
  return type == ValueType::kF32 || type == ValueType::kF64;
}

// `type` is an integer type or kBool.
Status ReadInteger(Cursor* cursor, ValueType type, int64_t* out) {
  switch (type) {
    case ValueType::kU8: return ReadAs<uint8_t>(cursor, out);
    case ValueType::kI8: return ReadAs<int8_t>(cursor, out);
    case ValueType::kU16: return ReadAs<uint16_t>(cursor, out);
    case ValueType::kI16: return ReadAs<int16_t>(cursor, out);
    case ValueType::kU32: return ReadAs<uint32_t>(cursor, out);
    case ValueType::kI32: return ReadAs<int32_t>(cursor, out);
    case ValueType::kU64: return ReadAs<uint64_t>(cursor, out);
    case ValueType::kI64: return ReadAs<int64_t>(cursor, out);
    default: break;
  }
  RETURN_IF_ERROR(ReadAs<uint8_t>(cursor, out));
  return *out <= 1 ? Status() : DataError("boolean with the value ", *out, ", 0 or 1 expected");
}

Status ReadFloat(Cursor* cursor, ValueType type, double* out) {
  if (type == ValueType::kF64) {
    return cursor->Read(out);
  }
  float value = 0;
  RETURN_IF_ERROR(cursor->Read(&value));
  *out = static_cast<double>(value);
  return {};
}

Status ReadArray(Cursor* cursor, GgufValue* out) {
  uint32_t type_number = 0;
  uint64_t count = 0;
  RETURN_IF_ERROR(cursor->Read(&type_number));
  RETURN_IF_ERROR(cursor->Read(&count));
  const uint64_t element_bytes = MinValueBytes(type_number);
  const auto type = static_cast<ValueType>(type_number);
  if (element_bytes == 0) {
    return DataError("array of unknown value type ", type_number);
  }
  if (type == ValueType::kArray) {
    return Unsupported("an array of arrays isn't supported");
  }
  if (count > cursor->remaining() / element_bytes) {
    const Status status = cursor->Truncated(count > UINT64_MAX / element_bytes ? UINT64_MAX : count * element_bytes);
    return status.WithContext(StrCat("array of ", count, " values"));
  }
  const auto size = static_cast<size_t>(count);
  if (type == ValueType::kString) {
    auto& values = out->emplace<std::vector<std::string>>(size);
    for (std::string& value : values) {
      RETURN_IF_ERROR(cursor->ReadString(cursor->remaining(), &value));
    }
  } else if (IsFloat(type)) {
    auto& values = out->emplace<std::vector<double>>(size);
    for (double& value : values) {
      RETURN_IF_ERROR(ReadFloat(cursor, type, &value));
    }
  } else {
    auto& values = out->emplace<std::vector<int64_t>>(size);
    for (int64_t& value : values) {
      RETURN_IF_ERROR(ReadInteger(cursor, type, &value));
    }
  }
  return {};
}

Status ReadValue(Cursor* cursor, GgufValue* out) {
  uint32_t type_number = 0;
  RETURN_IF_ERROR(cursor->Read(&type_number));
  const auto type = static_cast<ValueType>(type_number);
  if (MinValueBytes(type_number) == 0) {
    return DataError("unknown value type ", type_number);
  }
  if (type == ValueType::kArray) {
    return ReadArray(cursor, out);
  }
  if (type == ValueType::kString) {
    return cursor->ReadString(cursor->remaining(), &out->emplace<std::string>());
  }
  if (IsFloat(type)) {
    return ReadFloat(cursor, type, &out->emplace<double>());
  }
  int64_t value = 0;
  RETURN_IF_ERROR(ReadInteger(cursor, type, &value));
  if (type == ValueType::kBool) {
    out->emplace<bool>(value != 0);
  } else {
    out->emplace<int64_t>(value);
  }
  return {};
}

struct Counts {
  uint64_t tensors = 0;
  uint64_t metadata = 0;
};

Status CheckMagic(std::span<const std::byte> bytes) {
  const FileKind kind = DetectFileKind(bytes.first(std::min<size_t>(bytes.size(), 64)));
  if (kind == FileKind::kGguf) {
    return {};
  }
  if (const std::string advice = ForeignFileAdvice(kind); !advice.empty()) {
    return DataError("the file ", advice);
  }
  return DataError("the file isn't GGUF: it doesn't begin with \"GGUF\"");
}

Status CheckVersion(uint32_t version) {
  if (version == 2 || version == 3) {
    return {};
  }
  if (version != 0 && (version & 0xffff) == 0) {
    return Unsupported("the file is big-endian GGUF; use a little-endian file of this model");
  }
  if (version == 1) {
    return Unsupported("GGUF version 1 isn't supported, 2 and 3 are; use a newer file of this model");
  }
  return Unsupported("unknown GGUF version ", version, "; 2 and 3 are supported");
}

// Magic, version, counts.
Status ReadPreamble(Cursor* cursor, Counts* counts) {
  uint32_t magic = 0;
  uint32_t version = 0;
  RETURN_IF_ERROR(cursor->Read(&magic));
  RETURN_IF_ERROR(cursor->Read(&version));
  RETURN_IF_ERROR(CheckVersion(version));
  RETURN_IF_ERROR(cursor->Read(&counts->tensors));
  RETURN_IF_ERROR(cursor->Read(&counts->metadata));
  if (counts->tensors > kMaxTensors) {
    return DataError("the header announces ", counts->tensors, " tensors, at most ", kMaxTensors, " are possible");
  }
  if (counts->metadata > kMaxMetadataKeys) {
    return DataError("the header announces ", counts->metadata, " metadata keys, at most ", kMaxMetadataKeys,
                     " are possible");
  }
  return {};
}

Status ReadMetadata(Cursor* cursor, uint64_t count, std::map<std::string, GgufValue>* metadata) {
  for (uint64_t i = 0; i < count; ++i) {
    std::string key;
    if (Status status = cursor->ReadString(kMaxKeyBytes, &key); !status.ok()) {
      return status.WithContext(StrCat("metadata key number ", i));
    }
    const auto [position, inserted] = metadata->try_emplace(key);
    if (!inserted) {
      return DataError("metadata key ", Quoted(key), " is there twice");
    }
    if (Status status = ReadValue(cursor, &position->second); !status.ok()) {
      return status.WithContext("metadata key " + Quoted(key));
    }
  }
  return {};
}

// The integer under `key`, or `otherwise` where the key is absent.
Result<int64_t> OptionalInteger(const std::map<std::string, GgufValue>& metadata, const char* key, int64_t otherwise) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) {
    return otherwise;
  }
  if (const auto* value = std::get_if<int64_t>(&found->second)) {
    return *value;
  }
  return DataError("metadata key \"", key, "\" must be an integer");
}

Status CheckSplit(const std::map<std::string, GgufValue>& metadata) {
  ASSIGN_OR_RETURN(const int64_t parts, OptionalInteger(metadata, "split.count", 1));
  if (parts > 1) {
    return Unsupported("the file is one of ", parts,
                       " parts of a split GGUF (split.count), which isn't supported; join them with "
                       "`llama-gguf-split --merge FIRST_PART OUTPUT`");
  }
  return {};
}

Result<int64_t> Alignment(const std::map<std::string, GgufValue>& metadata) {
  ASSIGN_OR_RETURN(const int64_t alignment, OptionalInteger(metadata, "general.alignment", kDefaultAlignment));
  if (alignment < kMinAlignment || alignment > kMaxAlignment || (alignment & (alignment - 1)) != 0) {
    return DataError("general.alignment is ", alignment, ", a power of two from ", kMinAlignment, " to ", kMaxAlignment,
                     " expected");
  }
  return alignment;
}

struct TensorInfo {
  StoredTensor tensor;                    // all but `data`
  uint64_t offset = 0;                    // into the data
  const GgmlBlockType* blocks = nullptr;  // of a tensor that is to be decoded; its bytes are those in the file
};

Status CheckBlocks(const char* type, int64_t elements, const std::vector<int64_t>& shape) {
  if (shape.empty() || shape.back() % elements != 0) {
    return DataError("has type ", type, " and shape ", ShapeString(shape), ", but ", type,
                     " needs rows of a multiple of ", elements, " elements");
  }
  return {};
}

// What follows a tensor's name: dimensions, type, offset.
Status ReadTensorInfo(Cursor* cursor, TensorInfo* info) {
  uint32_t n_dims = 0;
  RETURN_IF_ERROR(cursor->Read(&n_dims));
  if (n_dims > kMaxDims) {
    return DataError("has ", n_dims, " dimensions, at most ", kMaxDims, " are possible");
  }
  std::vector<int64_t>& shape = info->tensor.shape;
  shape.resize(n_dims);
  for (int64_t& dim : shape) {
    RETURN_IF_ERROR(ReadAs<uint64_t>(cursor, &dim));
  }
  std::reverse(shape.begin(), shape.end());  // the file has the innermost first
  uint32_t type = 0;
  RETURN_IF_ERROR(cursor->Read(&type));
  RETURN_IF_ERROR(cursor->Read(&info->offset));
  ASSIGN_OR_RETURN(const int64_t elements, ElementCount(shape));
  if (info->blocks = FindGgmlBlockType(type); info->blocks != nullptr) {
    RETURN_IF_ERROR(CheckBlocks(info->blocks->name, info->blocks->elements, shape));
    info->tensor.dtype = info->blocks->dtype;
    info->tensor.bytes = static_cast<size_t>(elements / info->blocks->elements * info->blocks->bytes);
    return {};
  }
  ASSIGN_OR_RETURN(info->tensor.dtype, DTypeFromGgml(type));
  if (info->tensor.dtype == DType::kQ8_0) {
    RETURN_IF_ERROR(CheckBlocks("Q8_0", kQ8BlockElements, shape));
  }
  info->tensor.bytes = static_cast<size_t>(DTypeBytes(info->tensor.dtype, elements));
  return {};
}

Result<std::vector<TensorInfo>> ReadTensorInfos(Cursor* cursor, uint64_t count) {
  std::vector<TensorInfo> infos;
  for (uint64_t i = 0; i < count; ++i) {
    TensorInfo info;
    if (Status status = cursor->ReadString(kMaxTensorNameBytes, &info.tensor.name); !status.ok()) {
      return status.WithContext(StrCat("name of tensor number ", i));
    }
    if (Status status = ReadTensorInfo(cursor, &info); !status.ok()) {
      return status.WithContext("tensor " + Quoted(info.tensor.name));
    }
    infos.push_back(std::move(info));
  }
  return infos;
}

Status PlaceTensor(std::span<const std::byte> data, int64_t alignment, TensorInfo* info) {
  if (info->offset % static_cast<uint64_t>(alignment) != 0) {
    return DataError("its offset ", info->offset, " isn't a multiple of the alignment ", alignment);
  }
  if (info->offset > data.size() || info->tensor.bytes > data.size() - info->offset) {
    return DataError("its ", info->tensor.bytes, " bytes at offset ", info->offset,
                     " of the data leave the file, which "
                     "has ",
                     data.size(), " bytes of data; the download may be incomplete");
  }
  info->tensor.data = data.data() + info->offset;
  return {};
}

// `infos` sorted by offset.
Status CheckOverlaps(const std::vector<TensorInfo>& infos) {
  for (size_t i = 1; i < infos.size(); ++i) {
    const TensorInfo& a = infos[i - 1];
    const TensorInfo& b = infos[i];
    if (b.offset < a.offset + a.tensor.bytes) {
      return DataError("tensors ", Quoted(a.tensor.name), " and ", Quoted(b.tensor.name),
                       " overlap: the second begins at offset ", b.offset, " of the data, the first ends at ",
                       a.offset + a.tensor.bytes);
    }
  }
  return {};
}

// Tensors of types that don't run here, as ones that do.
void DecodeBlocks(std::vector<TensorInfo>* infos, GgufFile* file) {
  DecodeLoss loss;
  for (TensorInfo& info : *infos) {
    if (info.blocks != nullptr) {
      StoredTensor& tensor = info.tensor;
      file->store.owned.push_back(
          std::make_shared<std::vector<std::byte>>(DecodeGgmlBlocks(*info.blocks, {tensor.data, tensor.bytes}, &loss)));
      tensor.data = file->store.owned.back()->data();
      tensor.bytes = file->store.owned.back()->size();
    }
  }
  if (loss.noise > 0) {
    const double percent = 100 * std::sqrt(loss.noise / loss.signal);
    file->warnings.push_back(StrCat(file->path, ": its Q4_1 and Q6_K weights were decoded to F16, which moved them by ",
                                    std::round(percent * 1e4) / 1e4, " % (root mean square)"));
  }
}

Status Parse(std::span<const std::byte> bytes, GgufFile* file) {
  RETURN_IF_ERROR(CheckMagic(bytes));
  Cursor cursor(bytes);
  Counts counts;
  RETURN_IF_ERROR(ReadPreamble(&cursor, &counts));
  RETURN_IF_ERROR(ReadMetadata(&cursor, counts.metadata, &file->metadata));
  RETURN_IF_ERROR(CheckSplit(file->metadata));
  ASSIGN_OR_RETURN(const int64_t alignment, Alignment(file->metadata));
  ASSIGN_OR_RETURN(std::vector<TensorInfo> infos, ReadTensorInfos(&cursor, counts.tensors));

  const auto step = static_cast<size_t>(alignment);
  const size_t data_begin = std::min(bytes.size(), (cursor.position() + step - 1) / step * step);
  for (TensorInfo& info : infos) {
    RETURN_IF_ERROR(
        PlaceTensor(bytes.subspan(data_begin), alignment, &info).WithContext("tensor " + Quoted(info.tensor.name)));
    info.tensor.file = file->path;
  }
  std::sort(infos.begin(), infos.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::pair(a.offset, a.tensor.bytes) < std::pair(b.offset, b.tensor.bytes);
  });
  RETURN_IF_ERROR(CheckOverlaps(infos));
  DecodeBlocks(&infos, file);
  for (TensorInfo& info : infos) {
    if (file->store.tensors.contains(info.tensor.name)) {
      return DataError("tensor ", Quoted(info.tensor.name), " is there twice");
    }
    RETURN_IF_ERROR(file->store.Add(std::move(info.tensor)));
  }
  return {};
}

}  // namespace

Result<GgufFile> ParseGguf(std::span<const std::byte> bytes, const std::string& path) {
  GgufFile file;
  file.path = path;
  if (Status status = Parse(bytes, &file); !status.ok()) {
    return status.WithContext(path);
  }
  return file;
}

Result<GgufFile> ReadGguf(const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const MappedFile> mapped, MappedFile::Open(path));
  Result<GgufFile> file = ParseGguf(mapped->bytes(), path);
  RETURN_IF_ERROR(mapped->Check());
  if (file.ok()) {
    file->store.files.push_back(std::move(mapped));
  }
  return file;
}

}  // namespace phidias
