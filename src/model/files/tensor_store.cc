#include "model/files/tensor_store.h"

#include <utility>

namespace phidias {

Status TensorStore::Add(StoredTensor tensor) {
  const auto found = tensors.find(tensor.name);
  if (found != tensors.end()) {
    return DataError(tensor.file, ": tensor ", Quoted(tensor.name), " is there twice (also in ", found->second.file,
                     ")");
  }
  if (tensors.size() >= kMaxTensors) {
    return DataError(tensor.file, ": more than ", kMaxTensors, " tensors");
  }
  std::string name = tensor.name;
  tensors.emplace(std::move(name), std::move(tensor));
  return {};
}

Status TensorStore::Merge(TensorStore other) {
  for (auto& [name, tensor] : other.tensors) {
    RETURN_IF_ERROR(Add(std::move(tensor)));
  }
  files.insert(files.end(), other.files.begin(), other.files.end());
  owned.insert(owned.end(), other.owned.begin(), other.owned.end());
  return {};
}

Status TensorStore::CheckFiles() const {
  for (const auto& file : files) {
    RETURN_IF_ERROR(file->Check());
  }
  return {};
}

std::string ShapeString(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    out += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return out + "]";
}

Result<int64_t> ElementCount(const std::vector<int64_t>& shape) {
  constexpr int64_t kMaxElements = int64_t{1} << 50;
  if (shape.size() > kMaxTensorRank) {
    return DataError("shape has ", shape.size(), " dimensions, at most ", kMaxTensorRank, " are possible");
  }
  int64_t count = 1;
  for (const int64_t dim : shape) {
    if (dim < 0) {
      return DataError("shape ", ShapeString(shape), " has a negative dimension");
    }
    if (dim != 0 && count > kMaxElements / dim) {
      return DataError("shape ", ShapeString(shape), " has more than 2^50 elements");
    }
    count *= dim;
  }
  return count;
}

bool IsPlainFileName(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace phidias
