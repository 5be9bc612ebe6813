// Shard indexes: the map is read as it stands, every shard is opened once, and each way in which index and shards can
// disagree has its own message. The shards' reader is a stand-in that serves tensor names from a table.
#include "model/files/shard_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <map>

namespace phidias {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ShardIndexTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/shard_index_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_EQ(std::system(("rm -rf '" + folder_ + "' && mkdir -p '" + folder_ + "'").c_str()), 0);
  }

  void Shard(const std::string& name, std::vector<std::string> tensors) {
    std::ofstream(folder_ + "/" + name) << "x";
    shards_[folder_ + "/" + name] = std::move(tensors);
  }

  Result<TensorStore> Read(const std::string& index) {
    const std::string path = folder_ + "/x.index.json";
    std::ofstream(path, std::ios::binary) << index;
    return ReadShardIndex(path, [this](const std::string& shard) -> Result<TensorStore> {
      opened_.push_back(shard.substr(folder_.size() + 1));
      TensorStore store;
      for (const std::string& name : shards_.at(shard)) {
        StoredTensor tensor;
        tensor.name = name;
        tensor.file = shard;
        RETURN_IF_ERROR(store.Add(std::move(tensor)));
      }
      return store;
    });
  }

  std::string Error(const std::string& index) {
    const auto result = Read(index);
    EXPECT_FALSE(result.ok()) << index;
    return result.status().message();
  }

  std::string folder_;
  std::map<std::string, std::vector<std::string>> shards_;
  std::vector<std::string> opened_;
};

TEST_F(ShardIndexTest, OpensEachShardOnceAndMerges) {
  Shard("a.bin", {"w", "x"});
  Shard("b.bin", {"y"});
  const auto store = Read(R"({"metadata": {"total_size": 12, "weight_map": {"no": 1}, "deep": [{"weight_map": 3}]},
                             "weight_map": {"y": "b.bin", "w": "a.bin", "x": "a.bin"}, "more": null})");
  ASSERT_TRUE(store.ok()) << store.status().message();
  EXPECT_EQ(store->tensors.size(), 3U);
  EXPECT_EQ(store->tensors.at("y").file, folder_ + "/b.bin");
  EXPECT_THAT(opened_, ElementsAre("a.bin", "b.bin"));
}

TEST_F(ShardIndexTest, RefusesWhatIsNoIndex) {
  EXPECT_THAT(Error(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(Error("{\"weight_map\": {\"a\": "), HasSubstr("not valid JSON (error at byte"));
  EXPECT_THAT(Error("{\"weight_map\": {\"\xff\": \"a\"}}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(Error("{\"metadata\": 1e999, \"weight_map\": {}}"), HasSubstr("not valid JSON"));
  EXPECT_THAT(Error("[1]"), HasSubstr("holds an array instead of a JSON object"));
  EXPECT_THAT(Error("3"), HasSubstr("holds a number instead of a JSON object"));
  EXPECT_THAT(Error("{}"), HasSubstr("has no \"weight_map\""));
  EXPECT_THAT(Error(R"({"weight_map": {}})"), HasSubstr("has an empty \"weight_map\""));
  EXPECT_THAT(Error(R"({"weight_map": []})"), HasSubstr("\"weight_map\" is an array instead of an object"));
  EXPECT_THAT(Error(R"({"weight_map": "a"})"), HasSubstr("\"weight_map\" is a string instead of an object"));
  EXPECT_THAT(Error(R"({"weight_map": {"w": 3}})"), HasSubstr("gives a number for tensor \"w\""));
  EXPECT_THAT(Error(R"({"weight_map": {"w": {"x": "a.bin"}}})"), HasSubstr("gives an object for tensor \"w\""));
  EXPECT_THAT(Error("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("Git LFS pointer"));
  EXPECT_TRUE(opened_.empty());
}

TEST_F(ShardIndexTest, DeepNestingIsNoProblem) {
  Shard("a.bin", {"w"});
  const size_t depth = 1'000'000;
  const auto store = Read("{\"metadata\": " + std::string(depth, '[') + std::string(depth, ']') +
                          ", \"weight_map\": {\"w\": \"a.bin\"}}");
  EXPECT_TRUE(store.ok()) << store.status().message();
}

TEST_F(ShardIndexTest, RefusesDuplicates) {
  Shard("a.bin", {"w"});
  EXPECT_THAT(Error(R"({"weight_map": {"w": "a.bin", "w": "a.bin"}})"), HasSubstr("has tensor \"w\" twice"));
  EXPECT_THAT(Error(R"({"weight_map": {"w": "a.bin"}, "weight_map": {"w": "a.bin"}})"),
              HasSubstr("\"weight_map\" is there twice"));
}

TEST_F(ShardIndexTest, RefusesShardsOutsideTheFolder) {
  for (const char* name : {"../a.bin", "/etc/passwd", "", ".", "..", "sub/a.bin", "a\\\\b", "a\\u0000b"}) {
    EXPECT_THAT(Error(std::string("{\"weight_map\": {\"w\": \"") + name + "\"}}"),
                HasSubstr("plain file name in the index's own folder"))
        << name;
  }
  EXPECT_THAT(Error("{\"weight_map\": {\"w\": \"" + std::string(300, 'a') + "\"}}"), HasSubstr("plain file name"));
}

TEST_F(ShardIndexTest, NamesWhatDisagrees) {
  Shard("a.bin", {"w", "extra"});
  Shard("b.bin", {"y"});
  EXPECT_THAT(Error(R"({"weight_map": {"w": "a.bin"}})"), HasSubstr("a.bin: tensor \"extra\" is not in "));
  EXPECT_THAT(Error(R"({"weight_map": {"w": "a.bin", "extra": "b.bin"}})"),
              HasSubstr("a.bin: holds tensor \"extra\", which belongs into \"b.bin\""));
  EXPECT_THAT(Error(R"({"weight_map": {"y": "b.bin", "z": "b.bin"}})"),
              HasSubstr("b.bin: tensor \"z\" is not here, although "));
  const auto missing = Read(R"({"weight_map": {"y": "c.bin", "z": "c.bin"}})");
  EXPECT_EQ(missing.status().code(), StatusCode::kNotFound);
  EXPECT_THAT(missing.status().message(), HasSubstr("c.bin: shard is missing ("));
}

TEST_F(ShardIndexTest, AbsentIndexAndLimits) {
  const auto none = ReadShardIndex(folder_ + "/none.json", [](const std::string&) { return TensorStore(); });
  EXPECT_EQ(none.status().code(), StatusCode::kNotFound);
  std::string many = "{\"weight_map\": {\"w\": \"a\"";
  for (int i = 0; i <= 1000; ++i) {
    many += ",\"t" + std::to_string(i) + "\": \"s" + std::to_string(i) + "\"";
  }
  EXPECT_THAT(Error(many + "}}"), HasSubstr("names 1002 shards, at most 1000"));
  EXPECT_THAT(Error("{\"weight_map\": {\"" + std::string(600, 'n') + "\": \"a\"}}"),
              HasSubstr("longer than 512 bytes"));
}

}  // namespace
}  // namespace phidias
