#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/dtype.h"
#include "common/mapped_file.h"
#include "common/status.h"

namespace phidias {

// Limits that every reader enforces before it believes a header.
inline constexpr int kMaxTensorRank = 8;
inline constexpr size_t kMaxTensorNameBytes = 512;
inline constexpr int kMaxTensors = 65536;

// One tensor as a checkpoint file holds it.
struct StoredTensor {
  std::string name;
  std::string file;  // path of the file that holds it, for messages
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;       // outermost first (also for GGUF, which writes it the other way round)
  const std::byte* data = nullptr;  // contiguous row-major; may lie at ANY address: read through unaligned loads
  size_t bytes = 0;                 // == DTypeBytes(dtype, elements)
};

// All tensors of one checkpoint, with the mappings and buffers that keep their bytes alive. Move-only in spirit: copies
// share.
struct TensorStore {
  std::map<std::string, StoredTensor> tensors;  // by name
  std::vector<std::shared_ptr<const MappedFile>> files;
  std::vector<std::shared_ptr<std::vector<std::byte>>> owned;  // tensors that had to be made contiguous

  // Data error for a name that is there already (names both files).
  Status Add(StoredTensor tensor);
  // Takes over all of `other`'s tensors; duplicates are an error.
  Status Merge(TensorStore other);
  // The first data error of a mapped file that shrank.
  Status CheckFiles() const;
};

// "[51200, 2560]".
std::string ShapeString(const std::vector<int64_t>& shape);

// Product of the dimensions, or a data error: a negative dimension, too many of them, or more than 2^50 elements.
Result<int64_t> ElementCount(const std::vector<int64_t>& shape);

// True for a file name that names something inside its folder: not empty, no '/', no "..", no NUL.
bool IsPlainFileName(const std::string& name);

}  // namespace phidias
