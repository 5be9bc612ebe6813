// Shares cover every column of every product once, in whole groups, and leave little to wait for.
#include "backend/cpu/column_shares.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "backend/cpu/packed_s8.h"

namespace phidias::cpu {
namespace {

TEST(CutColumns, CoversEveryColumnOnceInWholeGroups) {
  const std::vector<std::vector<ProductSize>> cases = {{{1, 8}},
                                                       {{47, 320}},
                                                       {{48, 320}, {160, 320}},
                                                       {{2560, 2560}, {2560, 2560}, {2560, 2560}},
                                                       {{2560, 2560}, {10240, 2560}},
                                                       {{2560, 10240}},
                                                       {{51200, 2560}},
                                                       {{0, 64}, {100, 64}}};
  std::vector<ColumnShare> shares;
  for (const std::vector<ProductSize>& products : cases) {
    for (const int threads : {1, 2, 7, 64}) {
      CutColumns(products, threads, &shares);
      std::vector<int64_t> next(products.size(), 0);
      for (const ColumnShare& share : shares) {
        int64_t& at = next[static_cast<size_t>(share.product)];
        EXPECT_EQ(share.begin, at);
        EXPECT_EQ(share.begin % kGroupColumns, 0);
        EXPECT_GT(share.end, share.begin);
        at = share.end;
      }
      for (size_t i = 0; i < products.size(); ++i) {
        EXPECT_EQ(next[i], products[i].columns);
      }
    }
  }
}

TEST(CutColumns, EndsWithSingleGroups) {
  std::vector<ColumnShare> shares;
  for (const int threads : {2, 16}) {
    CutColumns(std::vector<ProductSize>{{2560, 2560}, {10240, 2560}}, threads, &shares);
    EXPECT_GE(shares.size(), static_cast<size_t>(3 * threads));
    EXPECT_LE(shares.back().end - shares.back().begin, kGroupColumns);
    const auto largest = std::max_element(shares.begin(), shares.end(), [](const ColumnShare& a, const ColumnShare& b) {
      return a.end - a.begin < b.end - b.begin;
    });
    EXPECT_LE((largest->end - largest->begin) * 3 * threads, 12800);
  }
}

}  // namespace
}  // namespace phidias::cpu
