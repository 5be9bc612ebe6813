#pragma once

#include <cstddef>
#include <string_view>

namespace phidias {

// Questions about the characters at the ends of a piece of valid UTF-8, with the meaning that the reference's regular
// expressions give to \s and \w.

// Bytes of the run of White_Space characters at the beginning or at the end.
size_t LeadingWhiteSpace(std::string_view text);
size_t TrailingWhiteSpace(std::string_view text);

// Letters, marks, decimal digits, connector punctuation, joiners. False for an empty text.
bool StartsWithWordCharacter(std::string_view text);
bool EndsWithWordCharacter(std::string_view text);

}  // namespace phidias
