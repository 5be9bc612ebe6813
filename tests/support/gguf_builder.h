#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "numerics/half.h"

namespace phidias {

// Writes GGUF files for tests: correct ones, and, since every field can be set, ones that lie.
//
//   GgufBuilder gguf;
//   gguf.AddString("general.architecture", "phi2").AddU32("phi2.block_count", 2);
//   gguf.AddF32("token_embd.weight", {512, 160}, values);
//   const std::string file = gguf.Build();
class GgufBuilder {
 public:
  // Numbers of the format.
  enum ValueType : uint32_t {
    kU8,
    kI8,
    kU16,
    kI16,
    kU32,
    kI32,
    kFloat32,
    kBool,
    kString,
    kArray,
    kU64,
    kI64,
    kFloat64
  };
  enum TensorType : uint32_t { kF32 = 0, kF16 = 1, kQ8_0 = 8, kQ4_K = 12, kBF16 = 30 };

  struct Tensor {
    std::string name;
    uint32_t type = kF32;
    std::vector<uint64_t> shape;  // outermost first; the file gets it reversed
    std::string bytes;
    std::optional<uint64_t> offset;  // what the header says instead of the truth
  };

  std::string magic = "GGUF";
  uint32_t version = 3;
  uint32_t alignment = 32;                 // that the data is laid out with; the key general.alignment is the caller's
  std::optional<uint64_t> metadata_count;  // what the header says instead of the truth
  std::optional<uint64_t> tensor_count;
  std::vector<Tensor> tensors;

  // Little-endian bytes of a number.
  template <class T>
  static std::string Bytes(T value) {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
  }
  static std::string StringBytes(std::string_view text) {
    return Bytes(static_cast<uint64_t>(text.size())) + std::string(text);
  }

  // Any value: its type's number and its bytes.
  GgufBuilder& AddRaw(std::string_view key, uint32_t type, std::string_view bytes) {
    metadata_ += StringBytes(key) + Bytes(type) + std::string(bytes);
    ++n_metadata_;
    return *this;
  }
  GgufBuilder& AddString(std::string_view key, std::string_view text) {
    return AddRaw(key, kString, StringBytes(text));
  }
  GgufBuilder& AddU32(std::string_view key, uint32_t value) { return AddRaw(key, kU32, Bytes(value)); }
  GgufBuilder& AddFloat(std::string_view key, float value) { return AddRaw(key, kFloat32, Bytes(value)); }
  GgufBuilder& AddBool(std::string_view key, bool value) { return AddRaw(key, kBool, Bytes(uint8_t{value})); }

  GgufBuilder& AddStrings(std::string_view key, const std::vector<std::string>& values) {
    std::string bytes;
    for (const std::string& value : values) {
      bytes += StringBytes(value);
    }
    return AddArray(key, kString, values.size(), bytes);
  }
  GgufBuilder& AddI32s(std::string_view key, const std::vector<int32_t>& values) {
    return AddArray(key, kI32, values.size(), Packed(values));
  }
  GgufBuilder& AddFloats(std::string_view key, const std::vector<float>& values) {
    return AddArray(key, kFloat32, values.size(), Packed(values));
  }
  GgufBuilder& AddArray(std::string_view key, uint32_t element_type, uint64_t count, std::string_view bytes) {
    return AddRaw(key, kArray, Bytes(element_type) + Bytes(count) + std::string(bytes));
  }

  // tokenizer.ggml.*: a GPT-2 tokenizer. `types` as the format has them: 1 normal, 3 control, 4 user-defined, ...
  GgufBuilder& AddTokenizer(const std::vector<std::string>& tokens, const std::vector<int32_t>& types,
                            const std::vector<std::string>& merges) {
    return AddString("tokenizer.ggml.model", "gpt2")
        .AddString("tokenizer.ggml.pre", "phi-2")
        .AddStrings("tokenizer.ggml.tokens", tokens)
        .AddI32s("tokenizer.ggml.token_type", types)
        .AddStrings("tokenizer.ggml.merges", merges);
  }

  GgufBuilder& AddTensor(std::string_view name, uint32_t type, std::vector<uint64_t> shape, std::string bytes) {
    tensors.push_back({std::string(name), type, std::move(shape), std::move(bytes), std::nullopt});
    return *this;
  }
  GgufBuilder& AddF32(std::string_view name, std::vector<uint64_t> shape, const std::vector<float>& values) {
    return AddTensor(name, kF32, std::move(shape), Packed(values));
  }
  GgufBuilder& AddF16(std::string_view name, std::vector<uint64_t> shape, const std::vector<float>& values) {
    std::vector<uint16_t> halves(values.size());
    std::transform(values.begin(), values.end(), halves.begin(),
                   [](float value) { return numerics::FloatToHalf(value); });
    return AddTensor(name, kF16, std::move(shape), Packed(halves));
  }
  // The number of values must be a multiple of 32.
  GgufBuilder& AddQ8_0(std::string_view name, std::vector<uint64_t> shape, const std::vector<float>& values) {
    return AddTensor(name, kQ8_0, std::move(shape), QuantizeQ8_0(values));
  }

  // Blocks of 32 values: f16 scale = absmax / 127, then 32 int8.
  static std::string QuantizeQ8_0(const std::vector<float>& values) {
    std::string out;
    for (size_t block = 0; block + 32 <= values.size(); block += 32) {
      float absmax = 0;
      for (size_t i = 0; i < 32; ++i) {
        absmax = std::max(absmax, std::fabs(values[block + i]));
      }
      const float scale = absmax / 127;
      out += Bytes(numerics::FloatToHalf(scale));
      for (size_t i = 0; i < 32; ++i) {
        out += static_cast<char>(scale == 0 ? 0 : std::lround(values[block + i] / scale));
      }
    }
    return out;
  }

  std::string Build() const {
    std::string infos;
    std::string data;
    for (const Tensor& tensor : tensors) {
      Pad(&data);
      infos += StringBytes(tensor.name) + Bytes(static_cast<uint32_t>(tensor.shape.size()));
      for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim) {
        infos += Bytes(*dim);
      }
      infos += Bytes(tensor.type) + Bytes(tensor.offset.value_or(data.size()));
      data += tensor.bytes;
    }
    std::string file = magic + Bytes(version) + Bytes(tensor_count.value_or(tensors.size())) +
                       Bytes(metadata_count.value_or(n_metadata_)) + metadata_ + infos;
    Pad(&file);
    return file + data;
  }

 private:
  template <class T>
  static std::string Packed(const std::vector<T>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
  }
  void Pad(std::string* bytes) const { bytes->resize((bytes->size() + alignment - 1) / alignment * alignment, '\0'); }

  std::string metadata_;
  uint64_t n_metadata_ = 0;
};

}  // namespace phidias
