#pragma once

#include <optional>
#include <string_view>

#include "common/dtype.h"
#include "common/status.h"
#include "model/files/pickle.h"

namespace phidias {

// What the pickle machine knows of torch: names, storages, tensors.

// What a known name stands for.
enum class PickleRole : uint8_t {
  kRebuildTensor,
  kRebuildTensorV3,
  kRebuildParameter,
  kOrderedDict,
  kStorageClass,
  kUntypedStorage,
  kDType
};

struct KnownGlobal {
  std::string_view module;
  std::string_view name;
  PickleRole role;
  std::optional<DType> dtype = std::nullopt;
};

// The name's place in the table of all names that a pickle may use, or -1. Types without a DType are in it, so that the
// error can name the tensor.
int FindKnownGlobal(std::string_view module, std::string_view name);

// The table's entry if the value is a known name, or null.
const KnownGlobal* AsGlobal(const Pickle& pickle, PickleId id);

// From a persistent id ("storage", class, key, location, elements[, None]).
Status MakeStorage(const Pickle& pickle, PickleId id, PickleStorage* storage);

// From the arguments of _rebuild_tensor_v2 (storage, offset, shape, strides, requires_grad, hooks[, metadata]) or of
// _rebuild_tensor_v3, which has the dtype before the metadata and an untyped storage.
Status MakeTensor(const Pickle& pickle, const KnownGlobal& callee, PickleId arguments, PickleTensor* tensor);

}  // namespace phidias
