#include "common/utf8.h"

#include <cstdint>

namespace phidias {
namespace {

struct Sequence {
  size_t length;  // bytes of the character, or of the maximal ill-formed part
  bool valid;
  bool truncated;  // ill-formed only because the text ends
};

// Table 3-7 of the Unicode standard: length, and the range of the second byte, from the first.
Sequence Classify(std::string_view bytes, size_t at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(bytes[at + i]); };
  const uint8_t lead = byte(0);
  if (lead < 0x80) {
    return {1, true, false};
  }
  if (lead < 0xc2 || lead > 0xf4) {
    return {1, false, false};
  }
  const size_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  uint8_t low = 0x80;
  uint8_t high = 0xbf;
  if (lead == 0xe0) {
    low = 0xa0;
  } else if (lead == 0xed) {
    high = 0x9f;
  } else if (lead == 0xf0) {
    low = 0x90;
  } else if (lead == 0xf4) {
    high = 0x8f;
  }
  for (size_t i = 1; i < length; ++i) {
    if (at + i >= bytes.size()) {
      return {i, false, true};
    }
    if (byte(i) < low || byte(i) > high) {
      return {i, false, false};
    }
    low = 0x80;
    high = 0xbf;
  }
  return {length, true, false};
}

}  // namespace

size_t FindInvalidUtf8(std::string_view bytes) {
  for (size_t at = 0; at < bytes.size();) {
    const Sequence sequence = Classify(bytes, at);
    if (!sequence.valid) {
      return at;
    }
    at += sequence.length;
  }
  return std::string_view::npos;
}

size_t CompleteUtf8Prefix(std::string_view bytes) {
  for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
    const size_t at = bytes.size() - back;
    if ((static_cast<uint8_t>(bytes[at]) & 0xc0) == 0x80) {
      continue;
    }
    return Classify(bytes, at).truncated ? at : bytes.size();
  }
  return bytes.size();
}

std::string ReplaceInvalidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const Sequence sequence = Classify(bytes, at);
    if (sequence.valid) {
      out.append(bytes.substr(at, sequence.length));
    } else {
      out.append("\xef\xbf\xbd");
    }
    at += sequence.length;
  }
  return out;
}

}  // namespace phidias
