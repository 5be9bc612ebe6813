#include "model/tokenizer/byte_letters.h"

#include <array>

namespace phidias {
namespace {

constexpr size_t kLetterEnd = 0x144;  // 256 + the 68 bytes that don't print

struct Letter {
  std::array<char, 2> utf8;
  uint8_t length;
};

struct Table {
  std::array<Letter, 256> letter{};
  std::array<int16_t, kLetterEnd> byte{};  // by code point; -1 where it isn't a letter
};

constexpr bool StandsForItself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

constexpr Table MakeTable() {
  Table table;
  for (int16_t& byte : table.byte) {
    byte = -1;
  }
  unsigned next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const unsigned code = StandsForItself(byte) ? byte : next++;
    if (code < 0x80) {
      table.letter[byte] = {{static_cast<char>(code), 0}, 1};
    } else {
      table.letter[byte] = {{static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))}, 2};
    }
    table.byte[code] = static_cast<int16_t>(byte);
  }
  return table;
}

constexpr Table kTable = MakeTable();

}  // namespace

std::string_view ByteLetter(uint8_t byte) {
  const Letter& letter = kTable.letter[byte];
  return {letter.utf8.data(), letter.length};
}

std::string BytesToLetters(std::string_view bytes) {
  std::string letters;
  letters.reserve(bytes.size() * 2);
  for (const char byte : bytes) {
    letters += ByteLetter(static_cast<uint8_t>(byte));
  }
  return letters;
}

std::optional<std::string> LettersToBytes(std::string_view letters) {
  std::string bytes;
  bytes.reserve(letters.size());
  for (size_t at = 0; at < letters.size(); ++at) {
    unsigned code = static_cast<uint8_t>(letters[at]);
    if (code >= 0x80) {
      if ((code & 0xe0) != 0xc0 || at + 1 == letters.size()) {
        return std::nullopt;
      }
      const unsigned low = static_cast<uint8_t>(letters[++at]);
      if ((low & 0xc0) != 0x80) {
        return std::nullopt;
      }
      code = ((code & 0x1f) << 6) | (low & 0x3f);
    }
    if (code >= kLetterEnd || kTable.byte[code] < 0) {
      return std::nullopt;
    }
    bytes += static_cast<char>(kTable.byte[code]);
  }
  return bytes;
}

}  // namespace phidias
