#pragma once

// Builders of zip archives and pickles for the tests and fuzzers: small, and able to lie.

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace phidias::torch_test {

inline std::span<const std::byte> AsBytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

template <class T>
std::string Le(T value) {
  std::string text(sizeof value, '\0');
  std::memcpy(text.data(), &value, sizeof value);
  return text;
}

// An entry as it should be, and the lies to tell about it.
struct ZipItem {
  std::string name;
  std::string data;
  uint16_t flags = 0;
  uint16_t method = 0;
  bool zip64 = false;  // sizes and offset in zip64 fields, in both headers
  std::optional<std::string> local_name = std::nullopt;
  std::optional<uint32_t> size = std::nullopt;           // in the directory: stored and original
  std::optional<uint32_t> original_size = std::nullopt;  // in the directory: only the original
  std::optional<uint32_t> local_size = std::nullopt;
  std::optional<uint32_t> offset = std::nullopt;
  std::optional<uint32_t> crc = std::nullopt;
};

struct ZipOptions {
  std::string comment = {};
  bool zip64 = false;  // a zip64 end record, with everything in the old one saturated
  std::optional<uint64_t> entries = std::nullopt;
  std::optional<uint64_t> directory_offset = std::nullopt;
  std::optional<uint64_t> directory_size = std::nullopt;
};

inline std::string ZipEnd(const ZipOptions& options, uint64_t entries, uint64_t size, uint64_t offset, uint64_t at) {
  entries = options.entries.value_or(entries);
  size = options.directory_size.value_or(size);
  offset = options.directory_offset.value_or(offset);
  std::string out;
  if (options.zip64) {
    out += "PK\x06\x06" + Le<uint64_t>(44) + Le<uint16_t>(45) + Le<uint16_t>(45) + Le<uint32_t>(0) + Le<uint32_t>(0) +
           Le(entries) + Le(entries) + Le(size) + Le(offset);
    out += "PK\x06\x07" + Le<uint32_t>(0) + Le(at) + Le<uint32_t>(1);
    entries = 0xffff;
    size = offset = 0xffffffff;
  }
  const auto count = static_cast<uint16_t>(entries);
  return out + "PK\x05\x06" + Le<uint32_t>(0) + Le(count) + Le(count) + Le(static_cast<uint32_t>(size)) +
         Le(static_cast<uint32_t>(offset)) + Le(static_cast<uint16_t>(options.comment.size())) + options.comment;
}

inline std::string BuildZip(const std::vector<ZipItem>& items, const ZipOptions& options = {}) {
  std::string out;
  std::string directory;
  for (const ZipItem& item : items) {
    const auto data_size = static_cast<uint32_t>(item.data.size());
    const auto real_crc =
        static_cast<uint32_t>(crc32(crc32(0, nullptr, 0), reinterpret_cast<const Bytef*>(item.data.data()), data_size));
    const uint32_t crc = item.crc.value_or(real_crc);
    const uint32_t wide = 0xffffffff;
    const uint64_t at = out.size();
    const std::string sizes64 = Le<uint64_t>(data_size) + Le<uint64_t>(data_size);
    const std::string local_extra = item.zip64 ? Le<uint16_t>(1) + Le<uint16_t>(16) + sizes64 : "";
    const std::string extra = item.zip64 ? Le<uint16_t>(1) + Le<uint16_t>(24) + sizes64 + Le<uint64_t>(at) : "";
    const std::string local_name = item.local_name.value_or(item.name);
    const uint32_t local_size = item.local_size.value_or(item.zip64 ? wide : data_size);
    const std::string head = Le(item.flags) + Le(item.method) + Le<uint32_t>(0);
    out += "PK\x03\x04" + Le<uint16_t>(20) + head + Le(crc) + Le(local_size) + Le(local_size) +
           Le(static_cast<uint16_t>(local_name.size())) + Le(static_cast<uint16_t>(local_extra.size())) + local_name +
           local_extra + item.data;
    const uint32_t size = item.size.value_or(item.zip64 ? wide : data_size);
    const uint32_t offset = item.offset.value_or(item.zip64 ? wide : static_cast<uint32_t>(at));
    directory += "PK\x01\x02" + Le<uint16_t>(20) + Le<uint16_t>(20) + head + Le(crc) + Le(size) +
                 Le(item.original_size.value_or(size)) + Le(static_cast<uint16_t>(item.name.size())) +
                 Le(static_cast<uint16_t>(extra.size())) + Le<uint16_t>(0) + Le<uint16_t>(0) + Le<uint16_t>(0) +
                 Le<uint32_t>(0) + Le(offset) + item.name + extra;
  }
  const uint64_t directory_at = out.size();
  out += directory;
  return out + ZipEnd(options, items.size(), directory.size(), directory_at, out.size());
}

// Pickle opcodes of protocol 2, one method each; protocol 4's by Raw().
class PickleWriter {
 public:
  explicit PickleWriter(char protocol = 2) : out_{'\x80', protocol} {}

  PickleWriter& Raw(std::string_view bytes) {
    out_ += bytes;
    return *this;
  }
  PickleWriter& Str(std::string_view text) { return Raw("X").Raw(Le(static_cast<uint32_t>(text.size()))).Raw(text); }
  PickleWriter& Int(int64_t value) { return Raw("\x8a\x08").Raw(Le(value)); }
  PickleWriter& Global(std::string_view module, std::string_view name) {
    return Raw("c").Raw(module).Raw("\n").Raw(name).Raw("\n");
  }
  PickleWriter& Ints(const std::vector<int64_t>& values) {
    Raw("(");
    for (const int64_t value : values) {
      Int(value);
    }
    return Raw("t");
  }
  PickleWriter& Storage(std::string_view type, std::string_view key, int64_t elements) {
    Raw("(").Str("storage").Global(type == "UntypedStorage" ? "torch.storage" : "torch", type);
    return Str(key).Str("cpu").Int(elements).Raw("tQ");
  }
  PickleWriter& OrderedDict() { return Global("collections", "OrderedDict").Raw(")R"); }
  PickleWriter& Tensor(std::string_view type, std::string_view key, int64_t elements, int64_t offset,
                       const std::vector<int64_t>& shape, const std::vector<int64_t>& strides) {
    Global("torch._utils", "_rebuild_tensor_v2").Raw("(").Storage(type, key, elements).Int(offset);
    return Ints(shape).Ints(strides).Raw("\x89").OrderedDict().Raw("tR");
  }
  // The finished pickle.
  std::string Stop() const { return out_ + "."; }

 private:
  std::string out_;
};

inline std::string BuildTorchFile(const std::string& pickle, const std::vector<ZipItem>& more) {
  std::vector<ZipItem> items = {{.name = "archive/data.pkl", .data = pickle}};
  items.insert(items.end(), more.begin(), more.end());
  items.push_back({.name = "archive/version", .data = "3\n"});
  return BuildZip(items);
}

}  // namespace phidias::torch_test
