#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "backend/weights.h"
#include "common/status.h"
#include "model/config.h"
#include "model/files/tensor_store.h"

namespace phidias {

// A dimension that the configuration implies, and the fields that imply it, for messages. 1 with an empty field is a
// dimension that is always 1.
struct Dim {
  int64_t size;
  std::string field;
};
using Dims = std::vector<Dim>;

// Takes the tensors of a model out of a store one by one, checked, and knows in the end what nobody took. All three
// arguments outlive this; `path` names the checkpoint in messages.
class TensorPicker {
 public:
  TensorPicker(const PhiConfig& config, const TensorStore& store, const std::string& path)
      : config_(config), store_(store), path_(path) {}

  bool Stored(const std::string& name) const { return store_.tensors.count(name) != 0; }
  // Begins a message about a tensor: `file: tensor "name"`.
  std::string Where(const StoredTensor& tensor) const;

  // The tensor, in one of the shapes; messages give the first. Its size in bytes is not checked yet.
  Result<const StoredTensor*> Take(const std::string& name, const std::vector<Dims>& shapes);
  // The tensor in whatever shape, or nullptr.
  const StoredTensor* TakeIfStored(const std::string& name);

  // A float matrix (or Q8_0, in GGUF).
  Result<WeightMatrix> Matrix(const std::string& name, const Dim& rows, const Dim& cols);
  // A norm's or bias's values.
  Result<std::vector<float>> Vector(const std::string& name, const Dim& size);
  // All elements of an F32, F16 or BF16 tensor. `what` are such tensors, for messages: "norms and biases".
  Result<std::vector<float>> Floats(const StoredTensor& tensor, const char* what) const;

  // That a tensor taken by shape has the bytes of that shape and its dtype.
  Status CheckBytes(const StoredTensor& tensor) const;

  Status CheckNothingIsLeft() const;

 private:
  Status Missing(const std::string& name, const Dims& dims) const;
  std::set<std::string> ExpectedNames() const;

  const PhiConfig& config_;
  const TensorStore& store_;
  const std::string& path_;
  std::set<std::string> used_;
};

}  // namespace phidias
