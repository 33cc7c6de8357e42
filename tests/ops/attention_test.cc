#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>
#include <vector>

#include "align/base/threads.h"
#include "align/ops/cached_attention.h"
#include "align/ops/ops.h"
#include "tests/support/op_check.h"

namespace align {
namespace {

Segments Alone(int64_t length) {
  Segments segments;
  segments.Append(length);
  return segments;
}

// Two trees: a prompt with two completions, one of which is continued; and a
// prompt with an empty and a one-token completion.
Segments Forest() {
  Segments segments;
  const int32_t a = segments.Append(5);
  const int32_t b = segments.Append(3, a);
  segments.Append(2, a);
  const int32_t c = segments.Append(1);
  segments.Append(0, c);
  segments.Append(1, c);
  segments.Append(2, b);
  return segments;
}

// Where rows are listed that ask, queries are made of all, so that both sides
// have the same inputs.
void Check(const Segments& segments, const AttentionShape& shape,
           const std::vector<int32_t>& asking = {}) {
  const int64_t n = segments.rows();
  CheckOp(
      {{n, shape.heads * shape.head_dim},
       {n, shape.kv_heads * shape.head_dim},
       {n, shape.kv_heads * shape.ValueDim()}},
      [&](const auto& x) {
        const Tensor q = asking.empty() ? x[0] : GatherRows(x[0], asking);
        return Attention(q, x[1], x[2], segments, shape, asking);
      },
      [&](const auto& x) {
        const oracle::Matrix all =
            oracle::Attention(x[0], x[1], x[2], segments, shape);
        if (asking.empty()) return all;
        oracle::Matrix some(static_cast<int64_t>(asking.size()), all.cols);
        for (int64_t i = 0; i < some.rows; ++i) {
          std::copy_n(all.v.begin() + asking[i] * all.cols, all.cols,
                      some.v.begin() + i * all.cols);
        }
        return some;
      });
}

TEST(AttentionTest, AgreesWithTheOracle) {
  Check(Alone(1), {.heads = 1, .kv_heads = 1, .head_dim = 1});
  Check(Alone(7), {.heads = 3, .kv_heads = 1, .head_dim = 5});
  Check(Alone(18), {.heads = 2, .kv_heads = 2, .head_dim = 8});
  Check(Forest(), {.heads = 4, .kv_heads = 2, .head_dim = 3});
}

TEST(AttentionTest, RowsThatAskAgreeWithTheOracle) {
  const AttentionShape shape{.heads = 4, .kv_heads = 2, .head_dim = 3};
  // The ends of prompts and a reply with a gap; one row; all of them.
  Check(Forest(), shape, {4, 5, 7, 9, 10, 13});
  Check(Forest(), shape, {0});
  Check(Forest(), shape, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13});
  Check(Alone(37), {.heads = 2, .kv_heads = 1, .head_dim = 5, .window = 4},
        {0, 3, 19, 36});
}

TEST(AttentionTest, RowsThatAskHaveTheBitsOfAll) {
  const Segments segments = Forest();
  const std::vector<int32_t> asking = {3, 4, 6, 8, 13};
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    const AttentionShape shape{
        .heads = 4, .kv_heads = 2, .head_dim = 6, .precision = precision};
    const int64_t n = segments.rows();
    const Tensor q = Tensor::From({n, 24}, RandomFloats(n * 24, Rng(1)));
    const Tensor k = Tensor::From({n, 12}, RandomFloats(n * 12, Rng(2)));
    const Tensor v = Tensor::From({n, 12}, RandomFloats(n * 12, Rng(3)));
    const Tensor all = GatherRows(Attention(q, k, v, segments, shape), asking);
    const Tensor some =
        Attention(GatherRows(q, asking), k, v, segments, shape, asking);
    ASSERT_EQ(some.shape(), all.shape());
    EXPECT_EQ(std::memcmp(some.data(), all.data(), all.size() * 4), 0);
  }
}

TEST(AttentionDeathTest, RowsThatAskRiseWithinTheBatch) {
  const AttentionShape shape{.heads = 1, .kv_heads = 1, .head_dim = 2};
  const Tensor k = Tensor::Zeros({4, 2}), q = Tensor::Zeros({2, 2});
  const auto ask = [&](std::vector<int32_t> asking) {
    Attention(q, k, k, Alone(4), shape, asking);
  };
  EXPECT_DEATH(ask({1, 4}), "rows 1 to 4 of 4");
  EXPECT_DEATH(ask({1, 1}), "not rising");
  EXPECT_DEATH(ask({1}), "for 1 of 4 rows");
}

TEST(AttentionTest, WindowScaleCapAndValueSizeAgreeWithTheOracle) {
  const AttentionShape plain{.heads = 4, .kv_heads = 2, .head_dim = 3};
  for (const int64_t window : {1, 2, 5, 17, 100}) {
    AttentionShape shape = plain;
    shape.window = window;
    Check(Forest(), shape);
    Check(Alone(37),
          {.heads = 2, .kv_heads = 1, .head_dim = 5, .window = window});
  }
  for (const double cap : {0.3, 1.0, 50.0}) {
    AttentionShape shape = plain;
    shape.soft_cap = cap;
    shape.scale = 0.9;
    Check(Forest(), shape);
  }
  Check(Forest(), {.heads = 4, .kv_heads = 2, .head_dim = 3, .value_dim = 10});
  Check(Alone(18), {.heads = 2,
                    .kv_heads = 2,
                    .head_dim = 9,
                    .value_dim = 2,
                    .window = 4,
                    .soft_cap = 2});
}

TEST(AttentionTest, RowsSeeNeitherLaterRowsNorOtherTrees) {
  const AttentionShape shape{.heads = 2, .kv_heads = 1, .head_dim = 4};
  const Segments segments = Forest();
  const int64_t n = segments.rows();
  const std::vector<float> q = RandomFloats(n * 8, Rng(1));
  std::vector<float> k = RandomFloats(n * 4, Rng(2));
  std::vector<float> v = RandomFloats(n * 4, Rng(3));
  const auto run = [&] {
    return Attention(Tensor::From({n, 8}, q), Tensor::From({n, 4}, k),
                     Tensor::From({n, 4}, v), segments, shape);
  };
  const Tensor before = run();
  // Row 8 is the first of the second completion: only rows 8 and 9 see it.
  for (int i = 0; i < 4; ++i) k[8 * 4 + i] = v[8 * 4 + i] = 9;
  const Tensor after = run();
  for (int64_t row = 0; row < n; ++row) {
    const bool same =
        std::memcmp(before.data() + row * 8, after.data() + row * 8, 32) == 0;
    EXPECT_EQ(same, row != 8 && row != 9) << row;
  }
}

// The promise of the design: bits do not depend on how keys are stored.
class AttentionBitsTest
    : public ::testing::TestWithParam<std::tuple<int64_t, Precision>> {};

INSTANTIATE_TEST_SUITE_P(
    WindowsAndPrecisions, AttentionBitsTest,
    ::testing::Combine(::testing::Values(0, 1, 5, 16, 20),
                       ::testing::Values(Precision::kF32, Precision::kBf16)));

// Keys and values of two heads of six, as a cache keeps them.
class Store {
 public:
  Store(int64_t tiles, Precision precision)
      : v_size_(kSize / (precision == Precision::kBf16 ? 2 : 1)),
        k_(tiles * kSize),
        v_(tiles * v_size_) {}
  KeySpan Span(int64_t rows) {
    return {.k = k_.data(), .v = v_.data(), .rows = rows};
  }
  // Another's tile as the first of this one.
  void CopyTile(const Store& from, int64_t tile) {
    std::copy_n(from.k_.data() + tile * kSize, kSize, k_.data());
    std::copy_n(from.v_.data() + tile * v_size_, v_size_, v_.data());
  }
  bool HasBitsOf(const Store& other) const {
    const auto same = [](const std::vector<float>& a,
                         const std::vector<float>& b) {
      return a.size() == b.size() &&
             std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    };
    return same(k_, other.k_) && same(v_, other.v_);
  }

 private:
  static constexpr int64_t kSize = kTilePositions * 12;  // of a tile, floats
  int64_t v_size_;
  std::vector<float> k_, v_;
};

TEST_P(AttentionBitsTest, PackedSharedAndCachedAgree) {
  const auto [window, precision] = GetParam();
  const AttentionShape shape{.heads = 4,
                             .kv_heads = 2,
                             .head_dim = 6,
                             .window = window,
                             .precision = precision};
  constexpr int64_t kPrompt = 21, kReply = 14, kAll = kPrompt + kReply;
  const std::vector<float> q = RandomFloats(kAll * 24, Rng(1));
  const std::vector<float> k = RandomFloats(kAll * 12, Rng(2));
  const std::vector<float> v = RandomFloats(kAll * 12, Rng(3));
  const auto whole = [&](const Segments& segments) {
    return Attention(Tensor::From({kAll, 24}, q), Tensor::From({kAll, 12}, k),
                     Tensor::From({kAll, 12}, v), segments, shape);
  };
  const Tensor alone = whole(Alone(kAll));
  Segments cut;
  const int32_t prompt = cut.Append(kPrompt);
  cut.Append(kReply, prompt);
  const Tensor shared = whole(cut);
  EXPECT_EQ(std::memcmp(alone.data(), shared.data(), alone.size() * 4), 0);

  // The prompt at once, then one token at a time behind a copy of its last
  // tile.
  Store prompt_store(2, precision), reply_store(2, precision);
  const auto rows = [&](const std::vector<float>& x, int64_t begin,
                        int64_t count) {
    const int64_t width = static_cast<int64_t>(x.size()) / kAll;
    return Tensor::From({count, width},
                        std::span(x).subspan(begin * width, count * width));
  };
  const auto cached = [&](int64_t begin, int64_t count,
                          std::vector<KeySpan> spans) {
    return CachedAttention(
        rows(q, begin, count), rows(k, begin, count), rows(v, begin, count),
        {{.begin = 0, .rows = count, .spans = std::move(spans)}}, shape);
  };
  const Tensor prefill = cached(0, kPrompt, {prompt_store.Span(kPrompt)});
  EXPECT_EQ(std::memcmp(prefill.data(), alone.data(), prefill.size() * 4), 0);
  // Who does not ask stores its key and value all the same.
  Store some_store(2, precision);
  const std::vector<int32_t> asking = {3, kPrompt - 1};
  const Tensor some = CachedAttention(
      GatherRows(rows(q, 0, kPrompt), asking), rows(k, 0, kPrompt),
      rows(v, 0, kPrompt),
      {{.begin = 0, .rows = kPrompt, .spans = {some_store.Span(kPrompt)}}},
      shape, asking);
  for (int64_t i = 0; i < 2; ++i) {
    EXPECT_EQ(
        std::memcmp(some.data() + i * 24, prefill.data() + asking[i] * 24, 96),
        0)
        << i;
  }
  EXPECT_TRUE(some_store.HasBitsOf(prompt_store));
  reply_store.CopyTile(prompt_store, 1);
  for (int64_t row = kPrompt; row < kAll; ++row) {
    const Tensor one = cached(row, 1,
                              {prompt_store.Span(kTilePositions),
                               reply_store.Span(row + 1 - kTilePositions)});
    EXPECT_EQ(std::memcmp(one.data(), alone.data() + row * 24, 96), 0) << row;
  }
}

TEST(AttentionTest, RowsThatAreKeysAndValuesHaveTheBitsOfBoth) {
  constexpr int64_t kRows = 19, kDim = 6;
  const AttentionShape shape{.heads = 3, .kv_heads = 1, .head_dim = kDim};
  const std::vector<float> q = RandomFloats(kRows * 3 * kDim, Rng(1));
  const std::vector<float> k = RandomFloats(kRows * kDim, Rng(2));
  const Tensor both = Tensor::From({kRows, kDim}, k);
  const Tensor all = Attention(Tensor::From({kRows, 3 * kDim}, q), both, both,
                               Alone(kRows), shape);
  std::vector<float> first = k, second(k.size());
  first.resize(7 * kDim);
  for (int64_t row = 7; row < kRows; ++row) {
    const Tensor one = CachedAttention(
        Tensor::From({1, 3 * kDim},
                     std::span(q).subspan(row * 3 * kDim, 3 * kDim)),
        Tensor::From({1, kDim}, std::span(k).subspan(row * kDim, kDim)), {},
        {{.begin = 0,
          .rows = 1,
          .spans = {{.k = first.data(), .rows = 7},
                    {.k = second.data(), .rows = row - 6}}}},
        shape);
    EXPECT_EQ(std::memcmp(one.data(), all.data() + row * 3 * kDim, 72), 0);
  }
}

TEST(AttentionTest, GradientBitsDoNotDependOnThreads) {
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    const AttentionShape shape{
        .heads = 4, .kv_heads = 2, .head_dim = 8, .precision = precision};
    const Segments segments = Forest();
    const int64_t n = segments.rows();
    std::vector<std::vector<float>> results;
    for (int threads : {1, 2, 3, 4}) {
      SetThreads(threads);
      std::vector<float> q = RandomFloats(n * 32, Rng(1)), dq(q.size());
      std::vector<float> k = RandomFloats(n * 16, Rng(2)), dk(k.size());
      const Tensor out =
          Attention(Tensor::Leaf({n, 32}, q, dq), Tensor::Leaf({n, 16}, k, dk),
                    Tensor::Leaf({n, 16}, k, dk), segments, shape);
      Backward(out, RandomFloats(n * 32, Rng(4)));
      dq.insert(dq.end(), dk.begin(), dk.end());
      dq.insert(dq.end(), out.data(), out.data() + out.size());
      results.push_back(dq);
    }
    SetThreads(1);
    for (const std::vector<float>& other : results) {
      EXPECT_EQ(results[0], other);
    }
  }
}

}  // namespace
}  // namespace align
