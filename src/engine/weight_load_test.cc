// Where weights go: what was asked for, what fits, and what a measurement says.
#include "engine/weight_load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <vector>

namespace phidias {
namespace {

using testing::HasSubstr;

// A sparse file of `megabytes`, mapped.
class WeightLoadTest : public testing::Test {
 protected:
  void TearDown() override {
    files_.clear();
    for (const std::string& path : paths_) {
      std::filesystem::remove(path);
    }
  }
  void Add(uintmax_t megabytes) {
    const std::string path = testing::TempDir() + "weight_load_" +
                             testing::UnitTest::GetInstance()->current_test_info()->name() +
                             std::to_string(paths_.size());
    std::ofstream(path) << "x";
    std::filesystem::resize_file(path, megabytes << 20);
    paths_.push_back(path);
    auto file = MappedFile::Open(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    files_.push_back(*file);
  }
  Result<WeightLoadChoice> Choose(WeightLoad wanted, std::optional<uint64_t> available) {
    return ChooseWeightPlace(wanted, files_, available);
  }

  std::vector<std::string> paths_;
  std::vector<std::shared_ptr<const MappedFile>> files_;
};

TEST_F(WeightLoadTest, WhatWasAskedForIsTaken) {
  Add(1);
  EXPECT_EQ(Choose(WeightLoad::kMmap, std::nullopt)->place, WeightPlace::kInFile);
  EXPECT_EQ(Choose(WeightLoad::kCopy, std::nullopt)->place, WeightPlace::kCopied);
  EXPECT_EQ(Choose(WeightLoad::kCopy, std::nullopt)->note, "");
}

TEST_F(WeightLoadTest, SmallModelsAreCopiedWithoutAWord) {
  Add(1);
  const auto choice = Choose(WeightLoad::kAuto, std::nullopt);
  EXPECT_EQ(choice->place, WeightPlace::kCopied);
  EXPECT_EQ(choice->note, "");
}

TEST_F(WeightLoadTest, ACopyThatDoesNotFitIsRefused) {
  Add(100);
  const auto choice = Choose(WeightLoad::kCopy, uint64_t{200} << 20);
  ASSERT_FALSE(choice.ok());
  EXPECT_EQ(choice.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(choice.status().message(), HasSubstr("--load mmap"));
}

TEST_F(WeightLoadTest, WithoutRoomForACopyTheFileServes) {
  Add(100);
  const auto choice = Choose(WeightLoad::kAuto, uint64_t{200} << 20);
  EXPECT_EQ(choice->place, WeightPlace::kInFile);
  EXPECT_THAT(choice->note, HasSubstr("no room for a copy"));
}

TEST_F(WeightLoadTest, AModelLargerThanMemoryIsSaidToBeSlow) {
  Add(60);
  Add(60);
  for (const WeightLoad wanted : {WeightLoad::kAuto, WeightLoad::kMmap}) {
    const auto choice = Choose(wanted, uint64_t{100} << 20);
    EXPECT_EQ(choice->place, WeightPlace::kInFile);
    EXPECT_THAT(choice->note, HasSubstr("slow"));
  }
}

TEST_F(WeightLoadTest, ALargeModelIsMeasuredAndTheNoteSaysWhatWasFound) {
  Add(300);
  const auto choice = Choose(WeightLoad::kAuto, std::nullopt);
  ASSERT_TRUE(choice.ok());
  EXPECT_THAT(choice->note, HasSubstr("--load auto"));
  EXPECT_THAT(choice->note, HasSubstr(choice->place == WeightPlace::kCopied ? "copied" : "in the file"));
}

// However fast the file reads: its rows would be packed again for every token.
TEST_F(WeightLoadTest, FourBitWeightsAreCopiedUnmeasuredWhereTheyFit) {
  Add(300);
  const auto choice = ChooseWeightPlace(WeightLoad::kAuto, files_, std::nullopt, true);
  ASSERT_TRUE(choice.ok());
  EXPECT_EQ(choice->place, WeightPlace::kCopied);
  EXPECT_THAT(choice->note, HasSubstr("4-bit"));
  EXPECT_EQ(ChooseWeightPlace(WeightLoad::kMmap, files_, std::nullopt, true)->place, WeightPlace::kInFile);
  EXPECT_EQ(ChooseWeightPlace(WeightLoad::kAuto, files_, uint64_t{310} << 20, true)->place, WeightPlace::kInFile);
}

}  // namespace
}  // namespace phidias
