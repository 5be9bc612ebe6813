#include "model/tokenizer/unicode_class.h"

#include <cstdint>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace phidias {
namespace {

// The first character; valid UTF-8, so the lead byte tells the length.
std::string_view FirstCharacter(std::string_view text) {
  if (text.empty()) {
    return text;
  }
  const auto lead = static_cast<uint8_t>(text[0]);
  return text.substr(0, lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4);
}

std::string_view LastCharacter(std::string_view text) {
  size_t at = text.size();
  while (at > 0 && (static_cast<uint8_t>(text[--at]) & 0xc0) == 0x80) {
  }
  return text.substr(at);
}

// White_Space has been the same 25 characters since Unicode 6.3.
bool IsWhiteSpace(std::string_view character) {
  uint32_t code = 0;
  for (const char unit : character) {
    const auto byte = static_cast<uint8_t>(unit);
    code = byte < 0x80 ? byte : byte >= 0xc0 ? byte & (0x7fu >> character.size()) : (code << 6) | (byte & 0x3f);
  }
  return (code >= 0x09 && code <= 0x0d) || code == 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
         (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
         code == 0x3000;
}

pcre2_code* CompileWordCharacter() {
  static constexpr char kPattern[] = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";
  int error = 0;
  PCRE2_SIZE where = 0;
  return pcre2_compile(reinterpret_cast<PCRE2_SPTR>(kPattern), PCRE2_ZERO_TERMINATED,
                       PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &where, nullptr);
}

bool IsWordCharacter(std::string_view character) {
  static const pcre2_code* const kCode = CompileWordCharacter();  // lives as long as the process
  if (kCode == nullptr) {
    return false;
  }
  pcre2_match_data* match = pcre2_match_data_create(1, nullptr);
  const int result = pcre2_match(kCode, reinterpret_cast<PCRE2_SPTR>(character.data()), character.size(), 0,
                                 PCRE2_NO_UTF_CHECK, match, nullptr);
  pcre2_match_data_free(match);
  return result >= 0;
}

}  // namespace

size_t LeadingWhiteSpace(std::string_view text) {
  size_t length = 0;
  while (length < text.size()) {
    const std::string_view character = FirstCharacter(text.substr(length));
    if (!IsWhiteSpace(character)) {
      break;
    }
    length += character.size();
  }
  return length;
}

size_t TrailingWhiteSpace(std::string_view text) {
  size_t length = 0;
  while (length < text.size()) {
    const std::string_view character = LastCharacter(text.substr(0, text.size() - length));
    if (!IsWhiteSpace(character)) {
      break;
    }
    length += character.size();
  }
  return length;
}

bool StartsWithWordCharacter(std::string_view text) {
  return !text.empty() && IsWordCharacter(FirstCharacter(text));
}

bool EndsWithWordCharacter(std::string_view text) {
  return !text.empty() && IsWordCharacter(LastCharacter(text));
}

}  // namespace phidias
