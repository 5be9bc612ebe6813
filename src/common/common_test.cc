// Files, mappings, UTF-8 and messages: what they promise on bad ground, too.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "common/file.h"
#include "common/mapped_file.h"
#include "common/str.h"
#include "common/thread_pool.h"
#include "common/utf8.h"

namespace phidias {
namespace {

using testing::HasSubstr;

class TempDir {
 public:
  TempDir() {
    std::string pattern = testing::TempDir() + "phidias-XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST(MappedFile, ReadsWhatIsThere) {
  const TempDir dir;
  WriteText(dir.File("a"), "hello");
  const auto file = MappedFile::Open(dir.File("a"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(std::string(reinterpret_cast<const char*>((*file)->bytes().data()), (*file)->bytes().size()), "hello");
  EXPECT_TRUE((*file)->Check().ok());
}

TEST(MappedFile, RefusesWhatIsNoFile) {
  const TempDir dir;
  EXPECT_EQ(MappedFile::Open(dir.File("absent")).status().code(), StatusCode::kNotFound);
  EXPECT_THAT(MappedFile::Open(dir.File("absent")).status().message(), HasSubstr("absent: cannot open"));
  EXPECT_THAT(MappedFile::Open(dir.File("")).status().message(), HasSubstr("not a regular file"));
  ASSERT_EQ(mkfifo(dir.File("fifo").c_str(), 0600), 0);
  EXPECT_THAT(MappedFile::Open(dir.File("fifo")).status().message(), HasSubstr("not a regular file"));  // and no hang
  WriteText(dir.File("empty"), "");
  EXPECT_TRUE(MappedFile::Open(dir.File("empty")).value()->bytes().empty());
}

TEST(MappedFile, ReleasedPagesLeaveTheProcessAndCanBeReadAgain) {
  const TempDir dir;
  std::string text(64 * 4096 + 100, 'a');
  text[10 * 4096] = 'b';
  WriteText(dir.File("a"), text);
  const auto file = MappedFile::Open(dir.File("a"));
  ASSERT_TRUE(file.ok());
  const std::span<const std::byte> bytes = (*file)->bytes();
  const auto resident = [&] {
    std::ifstream smaps("/proc/self/smaps");
    std::string line;
    for (bool inside = false; std::getline(smaps, line);) {
      if (line.find(dir.File("a")) != std::string::npos) {
        inside = true;
      } else if (inside && line.starts_with("Rss:")) {
        return std::stol(line.substr(4));
      }
    }
    return -1L;
  };
  ASSERT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{'b'}), 1);
  ASSERT_GE(resident(), 200);  // kB
  MappedFile::Release(bytes.data() + 5, bytes.size() - 5);
  EXPECT_LE(resident(), 16);  // the first and the last page are partly others'
  EXPECT_EQ(std::count(bytes.begin(), bytes.end(), std::byte{'b'}), 1);
  EXPECT_TRUE((*file)->Check().ok());
  std::vector<std::byte> elsewhere(8192, std::byte{7});
  MappedFile::Release(elsewhere.data(), elsewhere.size());  // not ours: left alone
  EXPECT_EQ(std::count(elsewhere.begin(), elsewhere.end(), std::byte{7}), 8192);
}

TEST(MappedFile, AShrunkFileIsANamedErrorAndNoCrash) {
  const TempDir dir;
  const std::string path = dir.File("weights");
  WriteText(path, std::string(1 << 20, 'w'));
  const auto file = MappedFile::Open(path);
  const auto other = MappedFile::Open(path);
  ASSERT_TRUE(file.ok() && other.ok());
  ASSERT_EQ(truncate(path.c_str(), 4096), 0);
  // Read from several threads at once: each gets zeros beyond the new end, none dies.
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      int64_t local = 0;
      for (const std::byte byte : (*file)->bytes()) {
        local += static_cast<int64_t>(byte);
      }
      sum += local;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(sum, 4 * 4096 * 'w');
  EXPECT_EQ((*file)->Check().code(), StatusCode::kDataError);
  EXPECT_THAT((*file)->Check().message(),
              HasSubstr("weights: the file shrank while it was in use (it had 1048576 bytes"));
  EXPECT_TRUE((*other)->Check().ok());  // its own pages were not touched
}

TEST(File, ReadFileHasALimit) {
  const TempDir dir;
  WriteText(dir.File("a"), std::string(100, 'x'));
  EXPECT_EQ(ReadFile(dir.File("a"), 100)->size(), 100U);
  EXPECT_THAT(ReadFile(dir.File("a"), 99).status().message(), HasSubstr("more than the 99 B"));
  EXPECT_EQ(ReadFile(dir.File("b"), 99).status().code(), StatusCode::kNotFound);
  EXPECT_EQ(ReadFile(dir.File(""), 99).status().code(), StatusCode::kIoError);
}

TEST(File, AtomicFileAppearsWholeOrNotAtAll) {
  const TempDir dir;
  const std::string path = dir.File("out");
  const auto count = [&] {
    const std::filesystem::directory_iterator files(dir.File(""));
    return std::distance(begin(files), end(files));
  };
  {
    auto file = AtomicFile::Create(path);
    ASSERT_TRUE(file.ok());
    ASSERT_TRUE(file->Write("half").ok());
    EXPECT_FALSE(FileExists(path));
  }
  EXPECT_EQ(count(), 0);
  auto file = AtomicFile::Create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->Write("whole").ok());
  ASSERT_TRUE(file->Commit().ok());
  EXPECT_EQ(*ReadFile(path, 10), "whole");
  EXPECT_EQ(count(), 1);
  EXPECT_THAT(AtomicFile::Create(dir.File("no/dir")).status().message(), HasSubstr("cannot create"));
}

TEST(Utf8, FindsTheFirstBadByte) {
  EXPECT_EQ(FindInvalidUtf8("plain, \xc3\xa9, \xe2\x82\xac, \xf0\x9f\x98\x80"), std::string::npos);
  const std::pair<std::string, size_t> bad[] = {{"a\x80", 1},          {"\xc0\xaf", 0},         {"\xe0\x80\x80", 0},
                                                {"ab\xed\xa0\x80", 2}, {"\xf4\x90\x80\x80", 0}, {"x\xe2\x82", 1},
                                                {"\xff", 0},           {"\xf5\x80\x80\x80", 0}};
  for (const auto& [text, at] : bad) {
    EXPECT_EQ(FindInvalidUtf8(text), at) << Quoted(text);
  }
}

TEST(Utf8, HoldsBackOnlyWhatCanStillBecomeACharacter) {
  EXPECT_EQ(CompleteUtf8Prefix("ab"), 2U);
  EXPECT_EQ(CompleteUtf8Prefix("ab\xe2\x82"), 2U);
  EXPECT_EQ(CompleteUtf8Prefix("ab\xf0\x9f\x98"), 2U);
  EXPECT_EQ(CompleteUtf8Prefix("ab\xf0\x9f\x98\x80"), 6U);
  EXPECT_EQ(CompleteUtf8Prefix("ab\xff"), 3U);
  EXPECT_EQ(CompleteUtf8Prefix("\x80\x80\x80\x80"), 4U);
  EXPECT_EQ(CompleteUtf8Prefix("ab\xe0\x80"), 4U);  // already ill-formed
  EXPECT_EQ(CompleteUtf8Prefix(""), 0U);
}

// The Unicode standard's own example (table 3-8) of replacing maximal subparts.
TEST(Utf8, ReplacesMaximalSubparts) {
  EXPECT_EQ(ReplaceInvalidUtf8("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64"),
            "a\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
            "b\xef\xbf\xbd"
            "c\xef\xbf\xbd\xef\xbf\xbd"
            "d");
}

TEST(Str, QuotedIsSafeToPrint) {
  EXPECT_EQ(Quoted("a\"b\\\n\x1b[2J\xff"), "\"a\\\"b\\\\\\x0a\\x1b[2J\\xff\"");
  EXPECT_EQ(Quoted("abcdef", 3), "\"abc...\"");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(5560000000), "5.56 GB");
}

TEST(ThreadPool, CoversEveryIndexOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 7, 64, 1000}) {
      for (const int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        pool.ParallelFor(count, grain, [&](int64_t begin, int64_t end, int thread) {
          ASSERT_GE(thread, 0);
          ASSERT_LT(thread, threads);
          ASSERT_LE(end - begin, grain);
          for (int64_t i = begin; i < end; ++i) {
            ++seen[static_cast<size_t>(i)];
          }
        });
        for (const auto& times : seen) {
          ASSERT_EQ(times, 1);
        }
      }
    }
  }
}

TEST(ThreadPool, ResultsOfOneLoopAreSeenByTheNext) {
  ThreadPool pool(4);
  std::vector<int64_t> values(64, 0);
  for (int round = 0; round < 3000; ++round) {
    pool.ParallelFor(64, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        // Whoever had this index in the last round wrote it without a lock.
        ++values[static_cast<size_t>(i)];
      }
    });
  }
  for (const int64_t value : values) {
    ASSERT_EQ(value, 3000);
  }
}

TEST(ThreadPool, WorkersWakeAfterSleeping) {
  ThreadPool pool(2);
  for (int i = 0; i < 3; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    std::atomic<int> ran{0};
    pool.ParallelFor(2, 1, [&](int64_t, int64_t, int) { ++ran; });
    EXPECT_EQ(ran, 2);
  }
}

TEST(ThreadPool, SetupRunsOnEveryWorker) {
  static std::atomic<int> setups{0};
  {
    ThreadPool pool(3, [] { ++setups; });
    pool.ParallelFor(3, 1, [](int64_t, int64_t, int) {});
  }
  EXPECT_EQ(setups, 2);
}

}  // namespace
}  // namespace phidias
