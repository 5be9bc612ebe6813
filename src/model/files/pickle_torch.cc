#include "model/files/pickle_torch.h"

#include <iterator>

#include "model/files/tensor_store.h"

namespace phidias {
namespace {

constexpr KnownGlobal kKnownGlobals[] = {
    {"torch._utils", "_rebuild_tensor_v2", PickleRole::kRebuildTensor},
    {"torch._utils", "_rebuild_tensor_v3", PickleRole::kRebuildTensorV3},
    {"torch._utils", "_rebuild_parameter", PickleRole::kRebuildParameter},
    {"collections", "OrderedDict", PickleRole::kOrderedDict},
    {"torch.storage", "UntypedStorage", PickleRole::kUntypedStorage},
    {"torch", "FloatStorage", PickleRole::kStorageClass, DType::kF32},
    {"torch", "HalfStorage", PickleRole::kStorageClass, DType::kF16},
    {"torch", "BFloat16Storage", PickleRole::kStorageClass, DType::kBF16},
    {"torch", "DoubleStorage", PickleRole::kStorageClass, DType::kF64},
    {"torch", "CharStorage", PickleRole::kStorageClass, DType::kI8},
    {"torch", "ByteStorage", PickleRole::kStorageClass, DType::kU8},
    {"torch", "ShortStorage", PickleRole::kStorageClass, DType::kI16},
    {"torch", "IntStorage", PickleRole::kStorageClass, DType::kI32},
    {"torch", "LongStorage", PickleRole::kStorageClass, DType::kI64},
    {"torch", "BoolStorage", PickleRole::kStorageClass, DType::kBool},
    {"torch", "ComplexFloatStorage", PickleRole::kStorageClass},
    {"torch", "ComplexDoubleStorage", PickleRole::kStorageClass},
    {"torch", "QInt8Storage", PickleRole::kStorageClass},
    {"torch", "QUInt8Storage", PickleRole::kStorageClass},
    {"torch", "QInt32Storage", PickleRole::kStorageClass},
    {"torch", "float32", PickleRole::kDType, DType::kF32},
    {"torch", "float16", PickleRole::kDType, DType::kF16},
    {"torch", "bfloat16", PickleRole::kDType, DType::kBF16},
    {"torch", "float64", PickleRole::kDType, DType::kF64},
    {"torch", "int8", PickleRole::kDType, DType::kI8},
    {"torch", "uint8", PickleRole::kDType, DType::kU8},
    {"torch", "int16", PickleRole::kDType, DType::kI16},
    {"torch", "int32", PickleRole::kDType, DType::kI32},
    {"torch", "int64", PickleRole::kDType, DType::kI64},
    {"torch", "bool", PickleRole::kDType, DType::kBool},
    {"torch", "uint16", PickleRole::kDType},
    {"torch", "uint32", PickleRole::kDType},
    {"torch", "uint64", PickleRole::kDType},
    {"torch", "complex32", PickleRole::kDType},
    {"torch", "complex64", PickleRole::kDType},
    {"torch", "complex128", PickleRole::kDType},
    {"torch", "float8_e4m3fn", PickleRole::kDType},
    {"torch", "float8_e4m3fnuz", PickleRole::kDType},
    {"torch", "float8_e5m2", PickleRole::kDType},
    {"torch", "float8_e5m2fnuz", PickleRole::kDType},
    {"torch", "float8_e8m0fnu", PickleRole::kDType},
    {"torch", "float4_e2m1fn_x2", PickleRole::kDType},
};

Status NotTorchArguments(const KnownGlobal& callee) {
  return DataError("the arguments for ", callee.module, ".", callee.name, " are not as torch.save writes them");
}

Status Dimensions(const Pickle& pickle, PickleId id, std::string_view what, std::vector<int64_t>* values) {
  const PickleValue& tuple = pickle.values[id];
  if (tuple.kind != PickleKind::kTuple || tuple.items.size() > kMaxTensorRank) {
    return DataError("a tensor's ", what, " is ", PickleKindName(tuple.kind), " of ", tuple.items.size(),
                     " items instead of a tuple of at most ", kMaxTensorRank);
  }
  for (const PickleId item : tuple.items) {
    if (pickle.values[item].kind != PickleKind::kInt) {
      return DataError("a tensor's ", what, " has ", PickleKindName(pickle.values[item].kind), " in it");
    }
    values->push_back(pickle.values[item].integer);
  }
  return {};
}

// A view that is conjugated or negated says so here, and its bytes are not its values.
bool IsPlainMetadata(const PickleValue& metadata) {
  return metadata.kind == PickleKind::kNone || (metadata.kind == PickleKind::kDict && metadata.items.empty());
}

}  // namespace

std::string_view PickleKindName(PickleKind kind) {
  switch (kind) {
    case PickleKind::kNone: return "None";
    case PickleKind::kBool: return "a bool";
    case PickleKind::kInt: return "an int";
    case PickleKind::kFloat: return "a float";
    case PickleKind::kString: return "a string";
    case PickleKind::kBytes: return "a bytes object";
    case PickleKind::kTuple: return "a tuple";
    case PickleKind::kList: return "a list";
    case PickleKind::kDict: return "a dict";
    case PickleKind::kGlobal: return "a class or function";
    case PickleKind::kStorage: return "a storage";
    case PickleKind::kTensor: return "a tensor";
  }
  return "?";
}

int FindKnownGlobal(std::string_view module, std::string_view name) {
  for (size_t i = 0; i < std::size(kKnownGlobals); ++i) {
    if (kKnownGlobals[i].module == module && kKnownGlobals[i].name == name) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

const KnownGlobal* AsGlobal(const Pickle& pickle, PickleId id) {
  const PickleValue& value = pickle.values[id];
  return value.kind == PickleKind::kGlobal ? &kKnownGlobals[value.integer] : nullptr;
}

Status MakeStorage(const Pickle& pickle, PickleId id, PickleStorage* storage) {
  const std::vector<PickleId>& items = pickle.values[id].items;
  const auto at = [&](size_t i) -> const PickleValue& { return pickle.values[items[i]]; };
  if (pickle.values[id].kind != PickleKind::kTuple || items.size() < 5 || items.size() > 6 ||
      at(0).kind != PickleKind::kString || at(0).text != "storage") {
    return DataError("a persistent id that isn't (\"storage\", type, key, location, elements)");
  }
  const KnownGlobal* type = AsGlobal(pickle, items[1]);
  if (type == nullptr || (type->role != PickleRole::kStorageClass && type->role != PickleRole::kUntypedStorage)) {
    return DataError("a storage's type isn't one of torch's storage classes");
  }
  if (at(2).kind != PickleKind::kString || at(4).kind != PickleKind::kInt || at(4).integer < 0) {
    return DataError("a storage's key or number of elements is not as torch.save writes it");
  }
  if (items.size() == 6 && at(5).kind != PickleKind::kNone) {
    return DataError(
        "a storage that is a view of another one; save the file again with torch.save of PyTorch 1.6 or "
        "later");
  }
  storage->key = at(2).text;
  storage->type_name = type->name;
  storage->dtype = type->dtype;
  storage->untyped = type->role == PickleRole::kUntypedStorage;
  storage->elements = at(4).integer;
  return {};
}

Status MakeTensor(const Pickle& pickle, const KnownGlobal& callee, PickleId arguments, PickleTensor* tensor) {
  const std::vector<PickleId>& items = pickle.values[arguments].items;
  const auto at = [&](size_t i) -> const PickleValue& { return pickle.values[items[i]]; };
  const bool v3 = callee.role == PickleRole::kRebuildTensorV3;
  const size_t needed = v3 ? 7 : 6;
  if (items.size() < needed || items.size() > needed + 1 || at(0).kind != PickleKind::kStorage ||
      at(1).kind != PickleKind::kInt) {
    return NotTorchArguments(callee);
  }
  if (items.size() > needed && !IsPlainMetadata(at(needed))) {
    return DataError("a tensor is a conjugated or negated view; save it after .resolve_conj().resolve_neg()");
  }
  tensor->storage = pickle.storages[static_cast<size_t>(at(0).integer)];
  tensor->type_name = tensor->storage.type_name;
  tensor->dtype = tensor->storage.dtype;
  tensor->offset = at(1).integer;
  RETURN_IF_ERROR(Dimensions(pickle, items[2], "shape", &tensor->shape));
  RETURN_IF_ERROR(Dimensions(pickle, items[3], "strides", &tensor->strides));
  if (tensor->shape.size() != tensor->strides.size()) {
    return DataError("a tensor has ", tensor->shape.size(), " dimensions, but ", tensor->strides.size(), " strides");
  }
  if (v3) {
    const KnownGlobal* dtype = AsGlobal(pickle, items[6]);
    if (dtype == nullptr || dtype->role != PickleRole::kDType || !tensor->storage.untyped) {
      return NotTorchArguments(callee);
    }
    tensor->type_name = dtype->name;
    tensor->dtype = dtype->dtype;
  }
  return {};
}

}  // namespace phidias
