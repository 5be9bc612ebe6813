#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/dtype.h"
#include "common/status.h"

namespace phidias {

// A restricted pickle machine: it reads what torch.save writes for dicts of tensors and refuses everything else.
//
// A pickle is a program for a stack machine that can call any Python function. This machine knows plain values, the few
// torch names in the table of pickle.cc, and how to note down a tensor; there is nothing in it that could call
// anything. Any other name is refused with that name in the message.

enum class PickleKind : uint8_t {
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kBytes,
  kTuple,
  kList,
  kDict,
  kGlobal,
  kStorage,
  kTensor
};

// "a dict", "an int": for messages.
std::string_view PickleKindName(PickleKind kind);

// Values refer to each other by their place in Pickle::values, never by ownership: a pickle can build a list that
// contains itself, or one nested a million deep, and neither may leak or recurse when it is dropped.
using PickleId = uint32_t;

struct PickleValue {
  PickleKind kind = PickleKind::kNone;
  bool ordered = false;        // an OrderedDict
  int64_t integer = 0;         // of bool and int; of storage and tensor the place in Pickle::storages or ::tensors; of
                               // a global its place in the table of known names
  double number = 0;           // of float
  std::string_view text = {};  // of string and bytes; lies in the pickle's bytes
  std::vector<PickleId> items = {};  // of tuple and list; a dict's keys and values in turn, duplicates included
};

// torch's persistent id ("storage", type, key, location, number of elements).
struct PickleStorage {
  std::string_view key;        // names the archive's entry data/<key>
  std::string_view type_name;  // "FloatStorage"
  std::optional<DType> dtype;  // none for a type that torch knows and we don't, and for UntypedStorage
  bool untyped = false;
  int64_t elements = 0;  // bytes, if untyped; not negative
};

// A tensor as the pickle describes it. Whether it lies inside its storage is for the caller to check.
struct PickleTensor {
  PickleStorage storage;
  std::string_view type_name;    // the storage's, or a dtype ("float8_e4m3fn") for an untyped storage
  std::optional<DType> dtype;    // none for a type that torch knows and we don't
  int64_t offset = 0;            // in elements
  std::vector<int64_t> shape;    // at most kMaxTensorRank
  std::vector<int64_t> strides;  // in elements; as many as shape
};

struct Pickle {
  std::vector<PickleValue> values;
  std::vector<PickleStorage> storages;
  std::vector<PickleTensor> tensors;
  PickleId root = 0;
};

// Interprets a pickle of protocol 2 to 5. `bytes` must outlive the result. Time and memory are linear in their number,
// with upper limits on both. Messages don't name the file; the caller adds it.
Result<Pickle> ReadPickle(std::span<const std::byte> bytes);

}  // namespace phidias
