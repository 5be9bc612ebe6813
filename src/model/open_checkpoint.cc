// OpenCheckpoint: which files make up a checkpoint, and which reader each of them wants.

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "common/file.h"
#include "common/mapped_file.h"
#include "model/checkpoint.h"
#include "model/files/file_kind.h"
#include "model/files/gguf.h"
#include "model/files/json_fields.h"
#include "model/files/safetensors.h"
#include "model/files/torch_file.h"
#include "model/int4_binding.h"
#include "model/int4_constants_file.h"
#include "model/integer_constants_file.h"

namespace phidias {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWholeModel =
    "config.json beside model.safetensors, beside model.safetensors.index.json and its shards, or beside "
    "pytorch_model.bin";

enum class Container { kSafetensors, kSafetensorsIndex, kTorch, kTorchIndex, kGguf };

std::string DirectoryOf(const std::string& path) {
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string Join(const std::string& dir, const std::string& name) {
  return dir.ends_with('/') ? dir + name : dir + "/" + name;
}

// Also true for a symbolic link that leads nowhere: the reader then says so, instead of us that nothing is there.
bool HasEntry(const std::string& dir, const char* name) {
  std::error_code error;
  return fs::exists(fs::symlink_status(Join(dir, name), error));
}

// File names of the directory, sorted; of a huge one only a part.
std::vector<std::string> ListDirectory(const std::string& dir) {
  constexpr size_t kMaxEntries = 4096;
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end && names.size() < kMaxEntries;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string DescribeEntries(const std::vector<std::string>& names) {
  constexpr size_t kMaxShown = 8;
  if (names.empty()) {
    return "it is empty";
  }
  std::string out = "it holds ";
  for (size_t i = 0; i < std::min(names.size(), kMaxShown); ++i) {
    out += StrCat(i == 0 ? "" : ", ", Quoted(names[i]));
  }
  return names.size() > kMaxShown ? StrCat(out, ", ... (", names.size(), " entries)") : out;
}

// "model-00002-of-00003.safetensors" gives 3; 0 for the name of a whole file.
int ShardCount(std::string_view name) {
  constexpr std::string_view kOf = "-of-";
  const size_t of = name.rfind(kOf);
  if (of == std::string_view::npos || of == 0 || std::isdigit(static_cast<unsigned char>(name[of - 1])) == 0) {
    return 0;
  }
  int count = 0;
  size_t digits = 0;
  for (const char c : name.substr(of + kOf.size(), 6)) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) {
      break;
    }
    count = count * 10 + (c - '0');
    ++digits;
  }
  return digits == 5 ? count : 0;
}

Status CheckNotForeign(const std::string& path, std::span<const std::byte> head) {
  const std::string advice = ForeignFileAdvice(DetectFileKind(head));
  return advice.empty() ? Status() : Unsupported(path, ": ", advice);
}

// The format begins with the length of a JSON object, and the object.
bool LooksLikeSafetensors(std::span<const std::byte> bytes) {
  if (bytes.size() < 10 || bytes[8] != std::byte{'{'}) {
    return false;
  }
  uint64_t length = 0;
  for (size_t i = 0; i < 8; ++i) {
    length |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  }
  return length <= kMaxSafetensorsHeader;
}

// By the content; the name only decides about files that no reader recognises, so that the likeliest says what is
// wrong.
Result<Container> DetectContainer(const std::string& path) {
  const std::string name = fs::path(path).filename().string();
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file, MappedFile::Open(path));
  if (file->bytes().empty()) {
    return DataError(path, ": is empty; download or copy it again");
  }
  if (LooksLikeSafetensors(file->bytes())) {  // first: a header's length may spell another format's magic number
    return Container::kSafetensors;
  }
  const FileKind kind = DetectFileKind(file->bytes());
  RETURN_IF_ERROR(CheckNotForeign(path, file->bytes()));
  if (kind == FileKind::kGguf) {
    return Container::kGguf;
  }
  if (kind == FileKind::kZip) {
    return Container::kTorch;
  }
  if (name.ends_with(".safetensors")) {
    return Container::kSafetensors;
  }
  if (name.ends_with(".safetensors.index.json")) {
    return Container::kSafetensorsIndex;
  }
  if (name.ends_with(".bin.index.json")) {
    return Container::kTorchIndex;
  }
  if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth")) {
    return Container::kTorch;
  }
  return DataError(path, ": is neither safetensors nor a file by torch.save nor GGUF",
                   name.ends_with(".json") ? StrCat("; give its directory, ", DirectoryOf(path)) : std::string());
}

Result<std::string> ReadConfigFile(const std::string& path) {
  std::error_code error;
  if (fs::exists(path, error) && !fs::is_regular_file(path, error)) {  // a FIFO would block
    return DataError(path, ": not a regular file");
  }
  ASSIGN_OR_RETURN(std::string text, ReadFile(path, kMaxConfigBytes));
  RETURN_IF_ERROR(CheckNotForeign(path, std::as_bytes(std::span(text.data(), text.size()))));
  return text;
}

Result<PhiConfig> ReadConfig(const std::string& dir) {
  const std::string path = Join(dir, "config.json");
  const std::string generation_path = Join(dir, "generation_config.json");
  ASSIGN_OR_RETURN(const std::string text, ReadConfigFile(path));
  std::string generation;
  if (HasEntry(dir, "generation_config.json")) {
    ASSIGN_OR_RETURN(generation, ReadConfigFile(generation_path));
    generation += '\n';  // an empty file is no absent one
  }
  return ParsePhiConfig(text, path, generation, generation_path);
}

Status FinishCheckpoint(Checkpoint* checkpoint, const std::string& weights_path,
                        const TensorStore* int4_constants = nullptr) {
  Int4Binder int4(int4_constants, &checkpoint->store);
  Status status = AdaptConfigToTensors(checkpoint->store, weights_path, &checkpoint->config);
  if (status.ok()) {
    Result<PhiWeights> weights =
        BindPhiWeights(checkpoint->config, checkpoint->store, weights_path, &checkpoint->warnings, &int4);
    status = weights.status();
    if (status.ok()) {
      checkpoint->weights = *std::move(weights);
    }
  }
  // A file that shrank meanwhile reads as zeros: that, then, is what is wrong.
  RETURN_IF_ERROR(checkpoint->store.CheckFiles());
  return status;
}

Result<Checkpoint> OpenGguf(const std::string& path, const std::string& weights_path) {
  ASSIGN_OR_RETURN(GgufFile file, ReadGguf(weights_path));
  Checkpoint checkpoint;
  checkpoint.path = path;
  ASSIGN_OR_RETURN(checkpoint.config, GgufPhiConfig(file));
  checkpoint.store = std::move(file.store);
  RETURN_IF_ERROR(FinishCheckpoint(&checkpoint, weights_path));
  checkpoint.warnings.insert(checkpoint.warnings.end(), file.warnings.begin(), file.warnings.end());
  return checkpoint;
}

Result<TensorStore> ReadTensors(Container container, const std::string& path) {
  switch (container) {
    case Container::kSafetensorsIndex: return ReadSafetensorsIndex(path);
    case Container::kTorch: return ReadTorchFile(path);
    case Container::kTorchIndex: return ReadTorchIndex(path);
    case Container::kSafetensors:
    case Container::kGguf: break;
  }
  return ReadSafetensors(path);
}

// `weights_path` is one file with all weights or an index of shards; config.json lies beside it.
Result<Checkpoint> OpenWeights(const std::string& path, const std::string& weights_path) {
  ASSIGN_OR_RETURN(const Container container, DetectContainer(weights_path));
  if (container == Container::kGguf) {
    return OpenGguf(path, weights_path);
  }
  const std::string dir = DirectoryOf(weights_path);
  if (!HasEntry(dir, "config.json")) {
    return NotFound(weights_path, ": has no config.json beside it; expected ", Join(dir, "config.json"));
  }
  Checkpoint checkpoint;
  checkpoint.path = path;
  ASSIGN_OR_RETURN(checkpoint.config, ReadConfig(dir));
  ASSIGN_OR_RETURN(checkpoint.store, ReadTensors(container, weights_path));
  std::optional<TensorStore> int4;
  if (checkpoint.config.quantization && HasEntry(dir, kInt4ConstantsFile)) {
    ASSIGN_OR_RETURN(int4, ReadInt4Constants(Join(dir, kInt4ConstantsFile)));
  }
  RETURN_IF_ERROR(FinishCheckpoint(&checkpoint, weights_path, int4 ? &*int4 : nullptr));
  if (HasEntry(dir, kIntegerConstantsFile)) {
    const std::string integer_path = Join(dir, kIntegerConstantsFile);
    ASSIGN_OR_RETURN(const std::string text, ReadConfigFile(integer_path));
    ASSIGN_OR_RETURN(checkpoint.integer, ParseIntegerConstants(text, integer_path, checkpoint.config));
  }
  return checkpoint;
}

Status NoWeights(const std::string& dir, const std::vector<std::string>& names) {
  const auto gguf_files =
      std::count_if(names.begin(), names.end(), [](const std::string& name) { return name.ends_with(".gguf"); });
  if (gguf_files > 1) {
    return InvalidArgument(dir, ": has ", gguf_files, " GGUF files; give the path of one (", DescribeEntries(names),
                           ")");
  }
  if (HasEntry(dir, "adapter_config.json")) {
    return Unsupported(dir,
                       ": is an adapter (adapter_config.json: LoRA or the like), not a whole model; merge it "
                       "into its base model, with PEFT's merge_and_unload() and save_pretrained()");
  }
  for (const std::string& name : names) {
    if (ShardCount(name) > 0) {
      return NotFound(dir, ": has shards such as ", Quoted(name), " but no index; expected ",
                      name.ends_with(".bin") ? "pytorch_model.bin.index.json" : "model.safetensors.index.json",
                      " beside them");
    }
  }
  return NotFound(dir, ": has no weights; expected ", kWholeModel, ", or one .gguf file; ", DescribeEntries(names));
}

Result<Checkpoint> OpenDirectory(const std::string& dir) {
  const std::vector<std::string> names = ListDirectory(dir);
  for (const char* name :
       {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"}) {
    if (!HasEntry(dir, name)) {
      continue;
    }
    if (!HasEntry(dir, "config.json")) {
      return NotFound(dir, ": has ", name, " but no config.json; expected ", kWholeModel, "; ", DescribeEntries(names));
    }
    return OpenWeights(dir, Join(dir, name));
  }
  const auto is_gguf = [](const std::string& name) { return name.ends_with(".gguf"); };
  if (std::count_if(names.begin(), names.end(), is_gguf) == 1) {
    return OpenWeights(dir, Join(dir, *std::find_if(names.begin(), names.end(), is_gguf)));
  }
  return NoWeights(dir, names);
}

}  // namespace

Result<Checkpoint> OpenCheckpoint(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return InvalidArgument("the model's path is ", path.empty() ? "empty" : "not a path",
                           "; expected a directory or a ", "file");
  }
  if (IsDirectory(path)) {
    return OpenDirectory(path);
  }
  if (!FileExists(path)) {
    return NotFound(path, ": no such file or directory; expected a directory (", kWholeModel,
                    ") or a .gguf, .safetensors or .bin file");
  }
  const int shards = ShardCount(fs::path(path).filename().string());
  if (shards > 1) {
    return InvalidArgument(path, ": is one of ", shards, " shards; give their directory, ", DirectoryOf(path));
  }
  return OpenWeights(path, path);
}

}  // namespace phidias
