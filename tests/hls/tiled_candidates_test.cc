// The best logits of each row, kept by a tile's stage and merged by the core's, against a sort.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "hls/tiled_choose_stages.h"
#include "hls/tiled_core_stages.h"
#include "tests/hls/tiled_test_util.h"
#include "tests/support/kernel_buffers.h"

namespace phidias::hls::tiled {
namespace {

std::vector<Candidate> RandomCandidates(uint64_t seed, int32_t first, int32_t count) {
  std::vector<Candidate> all;
  for (int32_t id = first; id < first + count; ++id) {
    all.push_back({static_cast<float>(RandomInt(seed, static_cast<uint64_t>(id), 40)), id});
  }
  return all;
}

void KeepInTurn(const std::vector<Candidate>& all, Candidate list[kCandidates]) {
  std::fill_n(list, kCandidates, Candidate{0.0F, kNoCandidate});
  for (size_t i = 0; i < all.size(); ++i) {
    InsertInTurn(all[i * 11 % all.size()], list);
  }
}

TEST(TiledCandidates, BestFirstEqualsById) {
  Candidate list[kCandidates];
  std::vector<Candidate> all = RandomCandidates(50, 0, 1000);
  KeepInTurn(all, list);
  std::sort(all.begin(), all.end(), Better);
  for (size_t i = 0; i < kCandidates; ++i) {
    EXPECT_EQ(list[i].id, all[i].id) << i;
    EXPECT_EQ(list[i].logit, all[i].logit) << i;
  }
  KeepInTurn({{-5.0F, 3}}, list);
  EXPECT_EQ(list[0].id, 3);
  EXPECT_EQ(list[1].id, kNoCandidate);
}

// Lists of tiles that have many, few, none; equal logits on several tiles; lists of which all or nothing stays.
TEST(TiledCandidates, TilesListsAreMergedToTheBestOfAll) {
  const std::vector<std::vector<int32_t>> cases = {{300, 300, 300}, {3, 0, 200}, {5}, {10, 20, 30, 1}, {0, 0}};
  for (size_t c = 0; c < cases.size(); ++c) {
    Streams streams;
    Stream<Beat>& in = streams.Beats("in");
    Stream<Beat>& out = streams.Beats("out");
    AttentionCase sizes = {1, 64, 0, 0, 1};
    Pass pass = PassOfCase(sizes);
    pass.tiles = static_cast<int32_t>(cases[c].size());
    std::vector<Candidate> want[kHeadRows];
    int32_t id = 0;
    for (const int32_t count : cases[c]) {
      for (int r = 0; r < kHeadRows; ++r) {
        std::vector<Candidate> all = RandomCandidates(60 + c + static_cast<uint64_t>(r), id, count);
        Candidate list[kCandidates];
        if (count == 0) {
          std::fill_n(list, kCandidates, Candidate{0.0F, kNoCandidate});
        } else {
          KeepInTurn(all, list);
        }
        want[r].insert(want[r].end(), all.begin(), all.end());
        Word word = 0;
        for (int i = 0; i < kCandidates; ++i) {
          MoveIn(list[i], &word);
          if (i % kCandidatesPerWord == kCandidatesPerWord - 1) {
            in.write(BeatOf(word));
          }
        }
      }
      id += count;
    }
    std::vector<Candidate> got;
    streams.Run([&] {
      MergeCandidates(in, pass, kHeadRows, out);
      for (int w = 0; w < kHeadRows * kCandidateWords; ++w) {
        const Word word = out.read().data;
        for (int i = 0; i < kCandidatesPerWord; ++i) {
          got.push_back(CandidateAt(word, i));
        }
      }
    });
    size_t at = 0;
    for (std::vector<Candidate>& row : want) {
      std::sort(row.begin(), row.end(), Better);
      row.resize(kCandidates, {0.0F, kNoCandidate});
      for (const Candidate& candidate : row) {
        EXPECT_EQ(got[at].id, candidate.id) << "case " << c;
        EXPECT_EQ(got[at++].logit, candidate.logit) << "case " << c;
      }
    }
  }
}

}  // namespace
}  // namespace phidias::hls::tiled
