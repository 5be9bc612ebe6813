// The progress bar's text.
#include "cli/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace phidias::cli {
namespace {

TEST(DurationText, ReadsWell) {
  EXPECT_EQ(DurationText(0), "0 s");
  EXPECT_EQ(DurationText(13.2), "14 s");
  EXPECT_EQ(DurationText(59.5), "1 min 00 s");
  EXPECT_EQ(DurationText(185), "3 min 05 s");
  EXPECT_EQ(DurationText(7800), "2 h 10 min");
  EXPECT_EQ(DurationText(-1), "0 s");
}

TEST(ProgressText, ShowsShareRateAndTimeLeft) {
  EXPECT_EQ(ProgressText("work", "rows", 0, 8, 0.2), "work [........................]   0 % of 8 rows");
  EXPECT_EQ(ProgressText("work", "rows", 2, 8, 4),
            "work [######..................]  25 % of 8 rows, 0.50 rows/s, 12 s left");
  EXPECT_EQ(ProgressText("work", "tokens", 4000, 4000, 2),
            "work [########################] 100 % of 4000 tokens, 2000 tokens/s, 0 s left");
  EXPECT_THAT(ProgressText("work", "rows", 9, 8, 4), testing::HasSubstr("100 %"));
  EXPECT_THAT(ProgressText("work", "rows", 0, 0, 4), testing::HasSubstr("  0 % of 0 rows"));
  EXPECT_EQ(ProgressLine("work", "rows", 2, 8, 4), "work: 25 % of 8 rows, 0.50 rows/s, 12 s left");
  EXPECT_EQ(ProgressLine("work", "layers", 0, 32, 90), "work: 0 % of 32 layers");
}

TEST(ProgressBar, WritesALineAMinuteToALog) {
  testing::internal::CaptureStderr();  // to a file, which is no terminal
  {
    ProgressBar bar("gptq", "layers");
    ProgressBar quiet("gptq", "layers", false);
    const auto begin = ProgressBar::Clock::now();
    for (const int second : {0, 30, 59, 64, 100, 123, 130, 250}) {
      bar.UpdateAt(second / 10, 32, begin + std::chrono::seconds(second));
      quiet.UpdateAt(second / 10, 32, begin + std::chrono::seconds(second));
    }
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, testing::MatchesRegex("gptq: 18 % of 32 layers, 0.09 layers/s, 4 min [0-9]+ s left\n"
                                         "gptq: 40 % of 32 layers, [^\n]+\n"
                                         "gptq: 78 % of 32 layers, [^\n]+\n"));
}

}  // namespace
}  // namespace phidias::cli
