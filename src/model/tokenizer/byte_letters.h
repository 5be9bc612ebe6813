#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace phidias {

// GPT-2 writes tokens in "byte-level letters": one printable character for each of the 256 bytes. The 188 bytes that
// print in Latin-1 stand for themselves; the others, in ascending order, are U+0100, U+0101, ... (a space is U+0120).

// The letter of one byte, in UTF-8 (one or two bytes).
std::string_view ByteLetter(uint8_t byte);

std::string BytesToLetters(std::string_view bytes);

// Nothing if some character isn't one of the 256 letters.
std::optional<std::string> LettersToBytes(std::string_view letters);

}  // namespace phidias
