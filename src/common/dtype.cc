#include "common/dtype.h"

namespace phidias {

std::string_view DTypeName(DType dtype) {
  switch (dtype) {
    case DType::kF32: return "F32";
    case DType::kF16: return "F16";
    case DType::kBF16: return "BF16";
    case DType::kF64: return "F64";
    case DType::kI8: return "I8";
    case DType::kU8: return "U8";
    case DType::kI16: return "I16";
    case DType::kI32: return "I32";
    case DType::kI64: return "I64";
    case DType::kBool: return "BOOL";
    case DType::kQ8_0: return "Q8_0";
    case DType::kI4: return "I4";
  }
  return "?";
}

int64_t DTypeBytes(DType dtype, int64_t elements) {
  switch (dtype) {
    case DType::kI8:
    case DType::kU8:
    case DType::kBool: return elements;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16: return elements * 2;
    case DType::kF32:
    case DType::kI32: return elements * 4;
    case DType::kF64:
    case DType::kI64: return elements * 8;
    case DType::kQ8_0: return elements / kQ8BlockElements * kQ8BlockBytes;
    case DType::kI4: return (elements + 7) / 8 * 4;
  }
  return 0;
}

}  // namespace phidias
