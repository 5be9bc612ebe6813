// The 256 byte-level letters: known ones, and that the mapping can be undone.

#include "model/tokenizer/byte_letters.h"

#include <gtest/gtest.h>

#include <set>

namespace phidias {
namespace {

TEST(ByteLetters, KnownLetters) {
  EXPECT_EQ(ByteLetter('A'), "A");
  EXPECT_EQ(ByteLetter(' '), "\u0120");
  EXPECT_EQ(ByteLetter('\n'), "\u010a");
  EXPECT_EQ(ByteLetter(0), "\u0100");
  EXPECT_EQ(ByteLetter(0x7f), "\u0121");
  EXPECT_EQ(ByteLetter(0xa0), "\u0142");
  EXPECT_EQ(ByteLetter(0xad), "\u0143");
  EXPECT_EQ(ByteLetter(0xff), "\u00ff");
}

TEST(ByteLetters, EveryByteHasItsOwnLetterAndComesBack) {
  std::set<std::string> letters;
  std::string all;
  for (unsigned byte = 0; byte < 256; ++byte) {
    letters.emplace(ByteLetter(static_cast<uint8_t>(byte)));
    all += static_cast<char>(byte);
  }
  EXPECT_EQ(letters.size(), 256U);
  EXPECT_EQ(LettersToBytes(BytesToLetters(all)), all);
}

TEST(ByteLetters, OtherCharactersAreNoLetters) {
  EXPECT_EQ(LettersToBytes("a b"), std::nullopt);       // a space isn't printable
  EXPECT_EQ(LettersToBytes("\u00ad"), std::nullopt);    // nor is a soft hyphen
  EXPECT_EQ(LettersToBytes("\u0144"), std::nullopt);    // one past the last letter
  EXPECT_EQ(LettersToBytes("\u65e5"), std::nullopt);    // three bytes
  EXPECT_EQ(LettersToBytes("\xc4"), std::nullopt);      // half a character
  EXPECT_EQ(LettersToBytes("\xc4\x20"), std::nullopt);  // a bad second byte
  EXPECT_EQ(LettersToBytes(""), "");
}

}  // namespace
}  // namespace phidias
