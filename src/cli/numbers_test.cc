// Numbers of the command line: what is taken, and that nothing else is.

#include "cli/numbers.h"

#include <gtest/gtest.h>

#include <limits>

namespace phidias::cli {
namespace {

TEST(ParseInteger, TakesDecimalNumbersInRange) {
  EXPECT_EQ(*ParseInteger("0", -5, 5), 0);
  EXPECT_EQ(*ParseInteger("-5", -5, 5), -5);
  EXPECT_EQ(*ParseInteger("010", 0, 100), 10);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(*ParseInteger("9223372036854775807", 0, kMax), kMax);
}

TEST(ParseInteger, RefusesEverythingElse) {
  for (const char* text : {"", " 1", "1 ", "+1", "0x10", "1e3", "1.0", "--1", "one", "1,2"}) {
    const auto value = ParseInteger(text, -100, 100);
    ASSERT_FALSE(value.ok()) << text;
    EXPECT_NE(value.status().message().find("is not a whole number"), std::string::npos) << text;
  }
  for (const char* text : {"6", "-6", "9223372036854775808", "-99999999999999999999"}) {
    const auto value = ParseInteger(text, -5, 5);
    ASSERT_FALSE(value.ok()) << text;
    EXPECT_NE(value.status().message().find("must be -5 to 5"), std::string::npos) << text;
  }
}

TEST(ParseReal, TakesFiniteDecimalNumbersInRange) {
  EXPECT_EQ(*ParseReal("0.5", 0, 1), 0.5);
  EXPECT_EQ(*ParseReal("1e-1", 0, 1), 0.1);
  EXPECT_EQ(*ParseReal("-2", -2, 1), -2.0);
}

TEST(ParseReal, RefusesEverythingElse) {
  for (const char* text : {"", "x", "0x1p3", "1.0f", " 1", "1,5", "nan", "-nan", "."}) {
    EXPECT_FALSE(ParseReal(text, -1e300, 1e300).ok()) << text;
  }
  for (const char* text : {"inf", "-inf", "1e400", "1.5", "-0.1"}) {
    EXPECT_FALSE(ParseReal(text, 0, 1).ok()) << text;
  }
}

TEST(ParseIds, TakesListsWithAndWithoutBrackets) {
  EXPECT_EQ(*ParseIds("1,2,3"), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(*ParseIds(" [1, 2 ,\n3] "), (std::vector<int32_t>{1, 2, 3}));
  EXPECT_EQ(*ParseIds("7"), (std::vector<int32_t>{7}));
  EXPECT_TRUE(ParseIds("")->empty());
  EXPECT_TRUE(ParseIds("[ ]")->empty());
  EXPECT_EQ(ParseIds("2147483647")->at(0), std::numeric_limits<int32_t>::max());
}

TEST(ParseIds, NamesTheBadItem) {
  const auto message = [](const char* text) { return ParseIds(text).status().message(); };
  EXPECT_EQ(message("1,two"), "item 2 of the ids: \"two\" is not a whole number");
  EXPECT_EQ(message("1,"), "item 2 of the ids: \"\" is not a whole number");
  EXPECT_EQ(message("[1"), "item 1 of the ids: \"[1\" is not a whole number");
  EXPECT_EQ(message("-1"), "item 1 of the ids: -1 is out of range: must be 0 to 2147483647");
  EXPECT_EQ(message("2147483648"), "item 1 of the ids: 2147483648 is out of range: must be 0 to 2147483647");
}

}  // namespace
}  // namespace phidias::cli
