// Which cache a prompt gets, and what of it is kept.
#include "serve/kv_pool.h"

#include <gtest/gtest.h>

#include <numeric>

#include "tests/support/random_model.h"

namespace phidias::serve {
namespace {

using Ids = std::vector<int32_t>;

class KvPoolTest : public ::testing::Test {
 protected:
  static constexpr int64_t kPositions = 64;

  KvPoolTest()
      : model_(testing_support::RandomModel(testing_support::SmallConfig())),
        pool_(*KvPool::Create(model_.phi.get(), 2, kPositions)) {}

  // Takes a cache for the prompt, computes all of its positions in name alone, and gives it back. Returns how many were
  // there already.
  int64_t Use(const Ids& prompt, bool reuse = true) {
    Result<KvPool::Lease> lease = pool_.Take(prompt, reuse);
    EXPECT_TRUE(lease.ok()) << lease.status().message();
    EXPECT_EQ(lease->cache.length(), lease->reused);
    lease->cache.Advance(static_cast<int64_t>(prompt.size()) - lease->reused);
    pool_.Return(lease->slot, std::move(lease->cache), prompt);
    return lease->reused;
  }
  static Ids Prompt(int32_t first, size_t size) {
    Ids ids(size);
    std::iota(ids.begin(), ids.end(), first);
    return ids;
  }
  static Ids Joined(Ids a, const Ids& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

  LoadedModel model_;
  KvPool pool_;
};

TEST_F(KvPoolTest, TheNextTurnFindsTheLastOne) {
  const Ids first = Prompt(0, 20);
  EXPECT_EQ(Use(first), 0);
  const Ids second = Joined(first, Prompt(100, 15));
  EXPECT_EQ(Use(second), 20);
  EXPECT_EQ(Use(second), 34) << "all but the last token, whose logits are wanted";
  EXPECT_EQ(Use(second, false), 0) << "not where every position is to be scored";
}

TEST_F(KvPoolTest, AShortCommonBeginningDoesntCostSomebodysChat) {
  const Ids marks = Prompt(0, 10);
  const Ids chat = Joined(marks, Prompt(100, 40));
  EXPECT_EQ(Use(chat), 0);
  EXPECT_EQ(Use(Joined(marks, Prompt(200, 30))), 0) << "10 of 50 kept and 10 of 40 shared: not worth it";
  EXPECT_EQ(Use(Joined(chat, {1, 2})), 50);
  EXPECT_EQ(Use(Joined(Prompt(0, 7), {200})), 0) << "too short to matter";
}

TEST_F(KvPoolTest, TheOneUnusedForLongestGoes) {
  const Ids a = Prompt(0, 20);
  const Ids b = Prompt(50, 20);
  Use(a);
  Use(b);
  EXPECT_EQ(Use(a), 19);
  Use(Prompt(100, 20));  // takes b's place
  EXPECT_EQ(Use(a), 19);
  EXPECT_EQ(Use(b), 0);
}

TEST_F(KvPoolTest, LentCachesAreNobodyElses) {
  const Ids prompt = Prompt(0, 20);
  Use(prompt);
  Result<KvPool::Lease> first = pool_.Take(prompt, true);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->reused, 19);
  EXPECT_EQ(pool_.free(), 1);
  Result<KvPool::Lease> second = pool_.Take(prompt, true);
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->reused, 0);
  EXPECT_NE(second->slot, first->slot);
  EXPECT_EQ(pool_.free(), 0);
  pool_.Forget(first->slot);
  EXPECT_EQ(pool_.free(), 1);
  EXPECT_EQ(pool_.held(), 0);
}

TEST_F(KvPoolTest, AContextThatTheModelDoesntHave) {
  const Result<KvPool> none = KvPool::Create(model_.phi.get(), 2, 1 << 20);
  ASSERT_FALSE(none.ok());
  EXPECT_EQ(none.status().code(), StatusCode::kInvalidArgument) << none.status().message();
  EXPECT_EQ(pool_.size(), 2);
}

}  // namespace
}  // namespace phidias::serve
