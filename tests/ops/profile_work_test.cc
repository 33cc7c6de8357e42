// What operations say of their work, against counts by hand.

#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "align/base/profile.h"
#include "align/ops/ops.h"
#include "align/ops/packed_weight.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

// A leaf with gradients, all values 0.5.
struct Leaf {
  std::vector<float> values, grads;
  Tensor tensor;
  explicit Leaf(const Shape& shape)
      : values(ElementCount(shape), 0.5f), grads(values.size()) {
    tensor = Tensor::Leaf(shape, values, grads);
  }
};

// The work of `forward` and of its backward pass.
template <class Forward>
void Measure(const Forward& forward, Profile& profile) {
  const ProfileRun run(profile);
  const auto phase = ProfileScope::Phase("phase");
  const Tensor out = forward();
  Backward(out, std::vector<float>(out.size(), 1.0f));
}

TEST(ProfileWorkTest, LinearIsOneProductForwardAndTwoBackward) {
  constexpr int64_t kRows = 5, kIn = 3, kOut = 4;
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    const Leaf x({kRows, kIn}), weight({kOut, kIn});
    AttachPacked(weight.tensor, precision);
    Profile profile;
    Measure([&] { return Linear(x.tensor, weight.tensor); }, profile);
    const Profile::Entry& forward =
        profile.entries().at({"phase", "product", false});
    const Profile::Entry& backward =
        profile.entries().at({"phase", "product", true});
    EXPECT_EQ(forward.flops, 2 * kRows * kIn * kOut);
    EXPECT_EQ(backward.flops, 2 * forward.flops);
    const int64_t read = precision == Precision::kBf16 ? 2 : 4;  // bytes
    EXPECT_EQ(forward.bytes,
              read * (kRows * kIn + kIn * kOut) + 4 * kRows * kOut);
  }
}

TEST(ProfileWorkTest, AttentionCountsTheKeysThatQueriesSee) {
  Segments segments;
  const int32_t prompt = segments.Append(3);
  segments.Append(2, prompt);
  segments.Append(1, prompt);
  AttentionShape shape = {.heads = 4, .kv_heads = 2, .head_dim = 8};
  // The prompt's rows see 1, 2 and 3 keys, the replies' 4 and 5, and 4.
  for (const auto& [window, visible] : {std::pair{0, 19}, std::pair{2, 11}}) {
    shape.window = window;
    const Leaf q({6, 32}), k({6, 16}), v({6, 16});
    Profile profile;
    Measure(
        [&] {
          return Attention(q.tensor, k.tensor, v.tensor, segments, shape);
        },
        profile);
    EXPECT_EQ(profile.entries().at({"phase", "Attention", false}).flops,
              2 * visible * 4 * (8 + 8));
    EXPECT_EQ(profile.entries().at({"phase", "Attention", true}).flops,
              2 * visible * 4 * (3 * 8 + 2 * 8));
  }
}

TEST(ProfileWorkTest, RowsAreReadAndWrittenOnce) {
  const Leaf x({6, 32}), weight({32});
  Profile profile;
  Measure([&] { return RmsNorm(x.tensor, weight.tensor, 1e-5f); }, profile);
  EXPECT_EQ(profile.entries().at({"phase", "RmsNorm", false}).bytes,
            2 * 6 * 32 * 4);
  EXPECT_EQ(profile.entries().at({"phase", "RmsNorm", true}).bytes,
            4 * 6 * 32 * 4);
}

}  // namespace
}  // namespace align
