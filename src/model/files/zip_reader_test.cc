// The zip reader against archives made by torch_test_util.h, one lie at a time, and against one by PyTorch itself
// (torch_file_test.cc reads that one in full).
#include "model/files/zip_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/file.h"
#include "model/files/torch_test_util.h"

namespace phidias {
namespace {

using testing::HasSubstr;
using torch_test::AsBytes;
using torch_test::BuildZip;
using torch_test::Le;
using torch_test::ZipItem;
using torch_test::ZipOptions;

std::string Text(const ZipEntry& entry) {
  return {reinterpret_cast<const char*>(entry.data.data()), entry.data.size()};
}

void ExpectTwoEntries(const std::string& archive) {
  const auto entries = ReadStoredZip(AsBytes(archive));
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  ASSERT_EQ(entries->size(), 2U);
  EXPECT_EQ(Text(entries->at("a/one")), "first");
  EXPECT_EQ(Text(entries->at("a/two")), "");
  EXPECT_TRUE(CheckZipCrc("a/one", entries->at("a/one")).ok());
  EXPECT_TRUE(CheckZipCrc("a/two", entries->at("a/two")).ok());
}

Status ErrorOf(const std::string& archive) {
  const auto entries = ReadStoredZip(AsBytes(archive));
  EXPECT_FALSE(entries.ok());
  return entries.status();
}

std::string Error(const std::vector<ZipItem>& items, const ZipOptions& options = {}) {
  return ErrorOf(BuildZip(items, options)).message();
}

const std::vector<ZipItem> kTwo = {{.name = "a/one", .data = "first"}, {.name = "a/two", .data = ""}};

TEST(ZipReader, ReadsPlainArchives) {
  ExpectTwoEntries(BuildZip(kTwo));
  ExpectTwoEntries(BuildZip(kTwo, {.comment = "PK\x05\x06 a comment that looks like an end record, and is none"}));
  ExpectTwoEntries(BuildZip(kTwo, {.comment = std::string(65535, 'c')}));
  const auto none = ReadStoredZip(AsBytes(BuildZip({})));
  ASSERT_TRUE(none.ok());
  EXPECT_TRUE(none->empty());
}

TEST(ZipReader, ReadsZip64) {
  ExpectTwoEntries(BuildZip(kTwo, {.zip64 = true}));
  auto wide = kTwo;
  wide[0].zip64 = wide[1].zip64 = true;
  ExpectTwoEntries(BuildZip(wide));
  ExpectTwoEntries(BuildZip(wide, {.comment = "x", .zip64 = true}));
}

TEST(ZipReader, ReadsDescriptorsAsPyTorchWritesThem) {
  // Bit 3 and zero sizes in the local header; the descriptor itself is skipped.
  auto items = kTwo;
  items[0].flags = 0x0808;
  items[0].local_size = 0;
  ExpectTwoEntries(BuildZip(items));
  items[0].flags = 0;
  EXPECT_THAT(Error(items), HasSubstr("\"a/one\": directory and local header disagree about size"));
  items[0].flags = 8;
  items[0].local_size = 4;
  EXPECT_THAT(Error(items), HasSubstr("disagree about size"));
}

TEST(ZipReader, EveryTruncationIsAnError) {
  for (const std::string& archive : {BuildZip(kTwo), BuildZip(kTwo, {.zip64 = true})}) {
    for (size_t size = 0; size < archive.size(); ++size) {
      EXPECT_THAT(ErrorOf(archive.substr(0, size)).message(), HasSubstr("cut off")) << size;
    }
  }
}

TEST(ZipReader, EveryByteMayBeWrong) {
  // Nothing to say about the outcome, except that the sanitizers have no complaint and data stay inside.
  auto items = kTwo;
  items[0].zip64 = true;
  const std::string archive = BuildZip(items, {.comment = "c", .zip64 = true});
  for (size_t at = 0; at < archive.size(); ++at) {
    for (const char value : {'\0', '\1', '\x7f', '\xff'}) {
      std::string broken = archive;
      broken[at] = value;
      const auto entries = ReadStoredZip(AsBytes(broken));
      if (entries.ok()) {
        for (const auto& [name, entry] : *entries) {
          EXPECT_GE(reinterpret_cast<const char*>(entry.data.data()), broken.data());
          EXPECT_LE(reinterpret_cast<const char*>(entry.data.data() + entry.data.size()),
                    broken.data() + broken.size());
        }
      }
    }
  }
}

TEST(ZipReader, NamesWhatIsNotSupported) {
  auto items = kTwo;
  items[0].method = 8;
  EXPECT_THAT(Error(items), HasSubstr("\"a/one\" is compressed (method 8), so it can't be used where it lies; save it "
                                      "again with torch.save"));
  EXPECT_EQ(ErrorOf(BuildZip(items)).code(), StatusCode::kUnsupported);
  items = kTwo;
  items[1].flags = 1;
  EXPECT_THAT(Error(items), HasSubstr("\"a/two\" is encrypted"));
  std::string split = BuildZip(kTwo);
  split[split.size() - 18] = 1;
  EXPECT_THAT(ErrorOf(split).message(), HasSubstr("split over several files"));
}

TEST(ZipReader, RefusesLies) {
  auto items = kTwo;
  items[0].local_name = "a/0ne";
  EXPECT_THAT(Error(items), HasSubstr("\"a/one\" has another name in its local header: \"a/0ne\""));
  items = kTwo;
  items[1].name = "a/one";
  EXPECT_THAT(Error(items), HasSubstr("\"a/one\" is there twice"));
  items = kTwo;
  items[1].size = items[1].local_size = 1000;
  EXPECT_THAT(Error(items), HasSubstr("\"a/two\" (1000 bytes at byte 40) lies beyond"));
  items = kTwo;
  items[0].offset = 1'000'000;
  EXPECT_THAT(Error(items), HasSubstr("lies beyond"));
  items = kTwo;
  items[0].offset = 1;
  EXPECT_THAT(Error(items), HasSubstr("\"a/one\": no local header at byte 1"));
  items = kTwo;
  items[0].original_size = 6;
  EXPECT_THAT(Error(items), HasSubstr("is stored, but its sizes differ: 5 and 6"));
  items = kTwo;
  items[0].size = 0xffffffff;
  EXPECT_THAT(Error(items), HasSubstr("its zip64 field is missing or too short"));
}

TEST(ZipReader, RefusesOverlap) {
  // The first entry's data contain a whole second local header, to which the directory points.
  const std::string inner = BuildZip({{.name = "a/two", .data = "x"}}).substr(0, 36);
  std::vector<ZipItem> items = {{.name = "a/one", .data = inner}, {.name = "a/two", .data = "x", .offset = 35}};
  EXPECT_THAT(Error(items), HasSubstr("\"a/one\" and \"a/two\" overlap"));
}

TEST(ZipReader, ChecksTheDirectory) {
  EXPECT_THAT(Error(kTwo, {.entries = 3}), HasSubstr("3 directory entries in 102 bytes"));
  std::string broken = BuildZip(kTwo);
  broken[broken.rfind("PK\x01\x02")] = 'Q';
  EXPECT_THAT(ErrorOf(broken).message(), HasSubstr("its directory is broken"));
  EXPECT_THAT(Error(kTwo, {.entries = 1}), HasSubstr("51 bytes more than its 1 entries need"));
  EXPECT_THAT(Error(kTwo, {.entries = 100}), HasSubstr("100 directory entries"));
  EXPECT_THAT(Error(kTwo, {.zip64 = true, .entries = 1'000'000}), HasSubstr("1000000 entries, at most 65536"));
  EXPECT_THAT(Error(kTwo, {.directory_offset = 0xfffffff0}), HasSubstr("don't fit before its end record"));
  EXPECT_THAT(Error(kTwo, {.zip64 = true, .directory_offset = ~uint64_t{0}}), HasSubstr("don't fit"));
  EXPECT_THAT(Error(kTwo, {.zip64 = true, .directory_size = ~uint64_t{0}}), HasSubstr("don't fit"));
  std::string archive = BuildZip(kTwo, {.zip64 = true});
  archive[archive.size() - 22 - 20 + 8] += 1;
  EXPECT_THAT(ErrorOf(archive).message(), HasSubstr("zip64 locator"));
  archive = BuildZip(kTwo, {.zip64 = true});
  archive[archive.size() - 12] = 3;
  archive[archive.size() - 11] = 0;
  EXPECT_THAT(ErrorOf(archive).message(), HasSubstr("end record and zip64 end record disagree"));
}

TEST(ZipReader, ChecksumsFindDamage) {
  std::string archive = BuildZip(kTwo);
  archive[archive.find("first")] = 'F';
  const auto entries = ReadStoredZip(AsBytes(archive));
  ASSERT_TRUE(entries.ok());
  const Status status = CheckZipCrc("a/one", entries->at("a/one"));
  EXPECT_EQ(status.code(), StatusCode::kDataError);
  EXPECT_THAT(status.message(), HasSubstr("zip entry \"a/one\" is damaged"));
}

TEST(ZipReader, ManyEntriesAreFast) {
  std::vector<ZipItem> items;
  for (int i = 0; i < 60'000; ++i) {
    items.push_back({.name = "a/" + std::to_string(i), .data = "x"});
  }
  const auto entries = ReadStoredZip(AsBytes(BuildZip(items)));
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  EXPECT_EQ(entries->size(), 60'000U);
}

TEST(ZipReader, PyTorchsChecksumsHold) {
  const auto file = ReadFile(PHIDIAS_SOURCE_DIR "/tests/golden/tiny-phi2-bin/pytorch_model.bin", 100'000'000);
  ASSERT_TRUE(file.ok());
  const auto entries = ReadStoredZip(AsBytes(*file));
  ASSERT_TRUE(entries.ok()) << entries.status().message();
  EXPECT_EQ(entries->size(), 49U);
  for (const auto& [name, entry] : *entries) {
    EXPECT_TRUE(CheckZipCrc(name, entry).ok()) << name;
  }
}

}  // namespace
}  // namespace phidias
