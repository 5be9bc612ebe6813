#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace phidias {

// Position of the first byte that isn't well-formed UTF-8 (Unicode 15, table 3-7), or npos.
size_t FindInvalidUtf8(std::string_view bytes);

// Length of the longest prefix that ends on a character border: what may be shown while more bytes are to come. Invalid
// bytes count as complete; only a sequence that could still become a character is held back.
size_t CompleteUtf8Prefix(std::string_view bytes);

// Each maximal ill-formed part replaced by U+FFFD (the Unicode standard's practice, which Rust's and Python's decoders
// follow).
std::string ReplaceInvalidUtf8(std::string_view bytes);

}  // namespace phidias
