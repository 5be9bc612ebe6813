#include "model/files/torch_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <new>
#include <optional>
#include <string_view>
#include <utility>

#include "common/utf8.h"
#include "model/files/file_kind.h"
#include "model/files/pickle.h"
#include "model/files/shard_index.h"
#include "model/files/zip_reader.h"

namespace phidias {
namespace {

// kMaxTensors names of kMaxTensorNameBytes would fit; Phi-2's data.pkl has 60 kB.
constexpr size_t kMaxPickleBytes = 64'000'000;

constexpr size_t kMaxStorageKeyBytes = 256;

// What all copies of one file together may take. Strides of zero let a few bytes pose as terabytes; honest files hold
// transposed tensors, each about as large as its storage.
constexpr uint64_t kCopyFactor = 4;
constexpr uint64_t kCopyAllowance = uint64_t{1} << 26;

// The entry's text without the line's end; empty if there is no such entry.
std::string_view SmallEntry(const ZipEntries& entries, const std::string& name) {
  const auto found = entries.find(name);
  if (found == entries.end()) {
    return {};
  }
  const auto data = found->second.data;
  std::string_view text(reinterpret_cast<const char*>(data.data()), std::min<size_t>(data.size(), 64));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) {
    text.remove_suffix(1);
  }
  return text;
}

// The archive's top folder, whatever torch.save called it, with its slash.
Result<std::string> FindPrefix(const ZipEntries& entries) {
  static constexpr std::string_view kPickleName = "/data.pkl";
  std::optional<std::string> prefix;
  bool script = false;
  for (const auto& [name, entry] : entries) {
    const size_t slash = name.find('/');
    const std::string_view rest = slash == std::string::npos ? name : std::string_view(name).substr(slash);
    script = script || rest == "/constants.pkl" || rest.starts_with("/code/");
    if (rest == kPickleName) {
      if (prefix) {
        return DataError("zip archive has two pickles: ", Quoted(*prefix + "data.pkl"), " and ", Quoted(name));
      }
      prefix = name.substr(0, slash + 1);
    }
  }
  if (script) {
    return Unsupported(
        "is a TorchScript archive, which is a program; load it with torch.jit.load in PyTorch and save "
        "its weights: torch.save(module.state_dict(), ...)");
  }
  if (!prefix) {
    return DataError("is a zip archive without data.pkl, so not a file by torch.save");
  }
  return *std::move(prefix);
}

Status CheckByteOrder(const ZipEntries& entries, const std::string& prefix) {
  const std::string_view order = SmallEntry(entries, prefix + "byteorder");
  if (order == "big") {
    return Unsupported("its tensors are big-endian; save it again on a little-endian machine");
  }
  if (!order.empty() && order != "little") {
    return DataError("its byteorder is ", Quoted(order), "; \"little\" was expected");
  }
  return {};
}

bool IsStringKey(const Pickle& pickle, PickleId key, std::string_view text) {
  return pickle.values[key].kind == PickleKind::kString && pickle.values[key].text == text;
}

// The dict that maps names to tensors: the root, or what one of the usual wrappers holds.
Result<PickleId> FindStateDict(const Pickle& pickle) {
  const PickleValue& root = pickle.values[pickle.root];
  if (root.kind != PickleKind::kDict) {
    return Unsupported("holds ", PickleKindName(root.kind), ", not a dict from names to tensors; save one with ",
                       "torch.save(model.state_dict(), ...)");
  }
  for (const std::string_view wrapper : {"state_dict", "model", "module"}) {
    for (size_t i = 0; i < root.items.size(); i += 2) {
      if (IsStringKey(pickle, root.items[i], wrapper) && pickle.values[root.items[i + 1]].kind == PickleKind::kDict) {
        return root.items[i + 1];
      }
    }
  }
  return pickle.root;
}

// A tensor's strides checked against its storage.
struct Layout {
  int64_t elements = 0;
  bool contiguous = true;  // row-major without gaps
};

Status BeyondStorage(const PickleTensor& tensor, int64_t storage_elements) {
  return DataError("shape ", ShapeString(tensor.shape), " with strides ", ShapeString(tensor.strides), " from element ",
                   tensor.offset, " reaches beyond its storage of ", storage_elements, " elements");
}

Result<Layout> CheckLayout(const PickleTensor& tensor, int64_t storage_elements) {
  ASSIGN_OR_RETURN(const int64_t elements, ElementCount(tensor.shape));
  if (tensor.offset < 0 || tensor.offset > storage_elements) {
    return BeyondStorage(tensor, storage_elements);
  }
  if (elements == 0) {
    return Layout{0, true};
  }
  Layout layout{elements, true};
  int64_t last = tensor.offset;  // the place of the last element
  int64_t packed = 1;            // the stride that a packed tensor would have; at most 2^50
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    const int64_t dim = tensor.shape[i];
    const int64_t stride = tensor.strides[i];
    if (stride < 0) {
      return DataError("strides ", ShapeString(tensor.strides), " are negative");
    }
    int64_t reach = 0;
    if (__builtin_mul_overflow(dim - 1, stride, &reach) || __builtin_add_overflow(last, reach, &last)) {
      return BeyondStorage(tensor, storage_elements);
    }
    layout.contiguous = layout.contiguous && (dim == 1 || stride == packed);
    packed *= dim;
  }
  return last < storage_elements ? Result<Layout>(layout) : BeyondStorage(tensor, storage_elements);
}

// A strided tensor with leading dimensions of 1 up to the full rank; steps are in bytes.
struct Strided {
  std::array<int64_t, kMaxTensorRank> shape;
  std::array<int64_t, kMaxTensorRank> steps;
  int64_t elements;
};

Strided MakeStrided(const PickleTensor& tensor, int64_t elements, int64_t item) {
  Strided strided{};
  strided.shape.fill(1);
  strided.elements = elements;
  const size_t pad = kMaxTensorRank - tensor.shape.size();
  for (size_t d = 0; d < tensor.shape.size(); ++d) {
    strided.shape[pad + d] = tensor.shape[d];
    // The stride of a dimension of 1 says nothing, so it was not checked and may overflow.
    strided.steps[pad + d] = tensor.shape[d] == 1 ? 0 : tensor.strides[d] * item;
  }
  return strided;
}

// Copies a strided tensor to `out`, row-major. `source` is its first element.
template <size_t kItem>
void Gather(const std::byte* source, const Strided& tensor, std::byte* out) {
  constexpr size_t kLast = kMaxTensorRank - 1;
  std::array<int64_t, kMaxTensorRank> index{};
  for (int64_t done = 0; done < tensor.elements; done += tensor.shape[kLast]) {
    const std::byte* from = source;
    for (size_t d = 0; d < kLast; ++d) {
      from += index[d] * tensor.steps[d];
    }
    for (int64_t i = 0; i < tensor.shape[kLast]; ++i, out += kItem) {
      std::memcpy(out, from + i * tensor.steps[kLast], kItem);
    }
    for (size_t d = kLast; d-- > 0;) {
      if (++index[d] < tensor.shape[d]) {
        break;
      }
      index[d] = 0;
    }
  }
}

void GatherItems(int64_t item, const std::byte* source, const Strided& tensor, std::byte* out) {
  switch (item) {
    case 1: Gather<1>(source, tensor, out); break;
    case 2: Gather<2>(source, tensor, out); break;
    case 4: Gather<4>(source, tensor, out); break;
    default: Gather<8>(source, tensor, out); break;
  }
}

// Turns the pickle's tensors into stored ones.
class Loader {
 public:
  Loader(const ZipEntries& entries, std::string prefix, const std::string& path, uint64_t file_bytes)
      : entries_(entries), data_prefix_(std::move(prefix) + "data/"), path_(path) {
    copy_budget_ = kCopyFactor * file_bytes + kCopyAllowance;
  }

  Result<TensorStore> Load(const Pickle& pickle, PickleId state_dict) {
    const std::vector<PickleId>& items = pickle.values[state_dict].items;
    for (size_t i = 0; i < items.size(); i += 2) {
      RETURN_IF_ERROR(AddItem(pickle, pickle.values[items[i]], pickle.values[items[i + 1]]));
    }
    if (store_.tensors.empty()) {
      return DataError(path_, ": holds no tensors");
    }
    return std::move(store_);
  }

 private:
  Status AddItem(const Pickle& pickle, const PickleValue& key, const PickleValue& value) {
    if (key.kind != PickleKind::kString) {
      return DataError(path_, ": its dict has ", PickleKindName(key.kind), " as a key; keys are names of tensors");
    }
    if (value.kind == PickleKind::kNone || key.text.ends_with("_extra_state")) {
      return {};
    }
    if (value.kind != PickleKind::kTensor) {
      return Unsupported(path_, ": ", Quoted(key.text), " is ", PickleKindName(value.kind),
                         ", not a tensor; save the bare weights: torch.save(model.state_dict(), ...)");
    }
    if (key.text.empty() || key.text.size() > kMaxTensorNameBytes ||
        FindInvalidUtf8(key.text) != std::string_view::npos) {
      return DataError(path_, ": tensor name ", Quoted(key.text), " is empty, longer than ", kMaxTensorNameBytes,
                       " bytes, or not UTF-8");
    }
    StoredTensor stored;
    stored.name = std::string(key.text);
    stored.file = path_;
    RETURN_IF_ERROR(Resolve(pickle.tensors[static_cast<size_t>(value.integer)], &stored)
                        .WithContext(StrCat(path_, ": tensor ", Quoted(key.text))));
    return store_.Add(std::move(stored));
  }

  // Finds the tensor's bytes.
  Status Resolve(const PickleTensor& tensor, StoredTensor* stored) {
    if (!tensor.dtype) {
      return Unsupported("its type is ", tensor.type_name,
                         ", which is not read here; F32, F16, BF16, F64, I8, U8, I16, I32, I64 and BOOL are");
    }
    const int64_t item = DTypeBytes(*tensor.dtype, 1);
    ASSIGN_OR_RETURN(const auto storage, FindStorage(tensor.storage));
    const int64_t elements = tensor.storage.untyped ? tensor.storage.elements / item : tensor.storage.elements;
    ASSIGN_OR_RETURN(const Layout layout, CheckLayout(tensor, elements));
    stored->dtype = *tensor.dtype;
    stored->shape = tensor.shape;
    stored->bytes = static_cast<size_t>(DTypeBytes(*tensor.dtype, layout.elements));
    stored->data = storage.data() + tensor.offset * item;
    return layout.contiguous ? Status() : MakeContiguous(tensor, layout.elements, item, stored);
  }

  // The bytes of the archive's entry, which are at least as many as the storage claims.
  Result<std::span<const std::byte>> FindStorage(const PickleStorage& storage) const {
    if (storage.key.size() > kMaxStorageKeyBytes) {
      return DataError("its storage's key has ", storage.key.size(), " bytes, at most ", kMaxStorageKeyBytes,
                       " are possible");
    }
    const std::string name = StrCat(data_prefix_, storage.key);
    const auto found = entries_.find(name);
    if (found == entries_.end()) {
      return DataError("its storage is the archive's entry ", Quoted(name), ", which is not there");
    }
    const int64_t item = storage.dtype ? DTypeBytes(*storage.dtype, 1) : 1;
    int64_t bytes = 0;
    if (__builtin_mul_overflow(storage.elements, item, &bytes) ||
        static_cast<uint64_t>(bytes) > found->second.data.size()) {
      return DataError("its storage should have ", storage.elements, " elements of ", item,
                       " bytes, but the archive's entry ", Quoted(name), " has ", found->second.data.size(), " bytes");
    }
    return found->second.data;
  }

  Status MakeContiguous(const PickleTensor& tensor, int64_t elements, int64_t item, StoredTensor* stored) {
    if (stored->bytes > copy_budget_) {
      return DataError("shape ", ShapeString(tensor.shape), " with strides ", ShapeString(tensor.strides),
                       " would need a copy of ", HumanBytes(stored->bytes), ", out of proportion to its file; save it ",
                       "after .contiguous()");
    }
    copy_budget_ -= stored->bytes;
    try {
      store_.owned.push_back(std::make_shared<std::vector<std::byte>>(stored->bytes));
    } catch (const std::bad_alloc&) {
      return ResourceExhausted("it isn't contiguous, and there is no memory for a copy of ", HumanBytes(stored->bytes));
    }
    GatherItems(item, stored->data, MakeStrided(tensor, elements, item), store_.owned.back()->data());
    stored->data = store_.owned.back()->data();
    return {};
  }

  const ZipEntries& entries_;
  const std::string data_prefix_;
  const std::string& path_;
  uint64_t copy_budget_;
  TensorStore store_;
};

Result<Pickle> ReadDataPickle(const ZipEntries& entries, const std::string& name) {
  const ZipEntry& entry = entries.at(name);
  if (entry.data.size() > kMaxPickleBytes) {
    return DataError("its data.pkl has ", HumanBytes(entry.data.size()), ", at most ", HumanBytes(kMaxPickleBytes),
                     " are possible");
  }
  RETURN_IF_ERROR(CheckZipCrc(name, entry));
  return ReadPickle(entry.data);
}

Status CheckIsZip(std::span<const std::byte> bytes) {
  const FileKind kind = DetectFileKind(bytes.first(std::min<size_t>(bytes.size(), 64)));
  if (kind == FileKind::kZip) {
    return {};
  }
  const std::string advice = ForeignFileAdvice(kind);
  if (!advice.empty()) {
    return Unsupported(advice);
  }
  return DataError(bytes.empty()             ? "is empty"
                   : kind == FileKind::kGguf ? "is a GGUF file"
                                             : "is not a zip archive",
                   ", so not a file by torch.save (PyTorch 1.6 or later)");
}

}  // namespace

Result<TensorStore> ReadTorchBytes(std::span<const std::byte> bytes, const std::string& path) {
  RETURN_IF_ERROR(CheckIsZip(bytes).WithContext(path));
  const auto entries = ReadStoredZip(bytes);
  RETURN_IF_ERROR(entries.status().WithContext(path));
  const auto prefix = FindPrefix(*entries);
  RETURN_IF_ERROR(prefix.status().WithContext(path));
  RETURN_IF_ERROR(CheckByteOrder(*entries, *prefix).WithContext(path));
  const auto pickle = ReadDataPickle(*entries, *prefix + "data.pkl");
  RETURN_IF_ERROR(pickle.status().WithContext(path));
  const auto state_dict = FindStateDict(*pickle);
  RETURN_IF_ERROR(state_dict.status().WithContext(path));
  return Loader(*entries, *prefix, path, bytes.size()).Load(*pickle, *state_dict);
}

Result<TensorStore> ReadTorchFile(const std::string& path) {
  ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
  auto store = ReadTorchBytes(file->bytes(), path);
  RETURN_IF_ERROR(file->Check());  // a file that shrank reads as zeros: say that rather than what the zeros look like
  if (store.ok()) {
    store->files.push_back(std::move(file));
  }
  return store;
}

Result<TensorStore> ReadTorchIndex(const std::string& index_path) {
  return ReadShardIndex(index_path, ReadTorchFile);
}

}  // namespace phidias
