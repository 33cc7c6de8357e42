#include "align/train/prompt_density.h"

#include <cmath>
#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "losses/density_ratio.h"
#include "tests/support/tiny_model.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

// Prompts of good replies are made of ids below 20, those of bad ones of others
// but for every fourth.
std::vector<UnpairedExample> Replies(int64_t count) {
  std::vector<UnpairedExample> replies;
  for (int64_t i = 0; i < count; ++i) {
    const bool good = i % 2 == 0;
    std::vector<int32_t> prompt =
        RandomTokens(3 + i % 5, Rng(8).Fork(static_cast<uint64_t>(i)), 20);
    if (!good && i % 8 != 7) {
      for (int32_t& id : prompt) id += 40;
    }
    replies.push_back({.prompt = std::move(prompt),
                       .completion = {1},
                       .desirable = good,
                       .id = "reply" + std::to_string(i)});
  }
  return replies;
}

TEST(EstimateDensityRatios, TellsLikelyPromptsFromUnlikelyOnes) {
  const auto model = TinyModel(1);
  std::vector<UnpairedExample> replies = Replies(512);
  ASSERT_TRUE(EstimateDensityRatios(*model, Rng(1), {}, replies).ok());
  double alike = 0, others = 0;  // means of the log ratios
  for (size_t i = 0; i < replies.size(); ++i) {
    EXPECT_EQ(replies[i].density_ratio.has_value(), !replies[i].desirable);
    if (replies[i].desirable) continue;
    const double log_ratio = std::log(*replies[i].density_ratio);
    if (i % 8 == 7) {
      alike += log_ratio / 64;
    } else {
      others += log_ratio / 192;
    }
  }
  // A quarter of the bad prompts are as the good ones: 4 times as likely there.
  EXPECT_NEAR(alike, std::log(4.0), 0.7);
  EXPECT_LT(others, -2);
}

// The classifier by hand, on one prompt at a time.
TEST(EstimateDensityRatios, IsTheClassifierOfMeanRows) {
  const auto model = TinyModel(1);
  std::vector<UnpairedExample> replies = Replies(12), batched = replies;
  Eigen::MatrixXd rows(12, model->config().hidden_size);
  losses::Labels desirable(12);
  // As the estimate has them: good ones first.
  std::vector<size_t> order;
  for (size_t i = 0; i < 12; i += 2) order.push_back(i);
  for (size_t i = 1; i < 12; i += 2) order.push_back(i);
  for (size_t k = 0; k < 12; ++k) {
    PackedBatch alone;
    alone.AppendPrompt(replies[order[k]].prompt);
    const Tensor hidden = model->Hidden(alone.tokens, alone.segments);
    rows.row(k) =
        Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic,
                                       Eigen::RowMajor>>(
            hidden.data(), hidden.dim(0), hidden.dim(1))
            .cast<double>()
            .colwise()
            .mean();
    desirable[static_cast<Eigen::Index>(k)] = replies[order[k]].desirable;
  }
  const Eigen::ArrayXd expected =
      losses::DensityRatio(losses::FitLogistic(rows, desirable).Logits(rows));
  ASSERT_TRUE(EstimateDensityRatios(*model, Rng(1), {}, replies).ok());
  ASSERT_TRUE(
      EstimateDensityRatios(*model, Rng(1), {.max_tokens = 9}, batched).ok());
  for (size_t k = 6; k < 12; ++k) {
    const double ratio = *replies[order[k]].density_ratio;
    EXPECT_NEAR(ratio / expected[static_cast<Eigen::Index>(k)], 1, 1e-6);
    EXPECT_EQ(ratio, *batched[order[k]].density_ratio) << "in small batches";
  }
}

TEST(EstimateDensityRatios, KeepsWhatRecordsSayAndDrawsItsSample) {
  const auto model = TinyModel(1);
  std::vector<UnpairedExample> a = Replies(40), b = a, c = a;
  a[1].density_ratio = b[1].density_ratio = c[1].density_ratio = 7;
  const PromptDensityOptions few = {.sample_size = 10};
  ASSERT_TRUE(EstimateDensityRatios(*model, Rng(1), few, a).ok());
  ASSERT_TRUE(EstimateDensityRatios(*model, Rng(1), few, b).ok());
  ASSERT_TRUE(EstimateDensityRatios(*model, Rng(2), few, c).ok());
  EXPECT_EQ(a[1].density_ratio, 7);
  EXPECT_EQ(a[3].density_ratio, b[3].density_ratio);
  EXPECT_NE(a[3].density_ratio, c[3].density_ratio);
}

TEST(EstimateDensityRatios, NeedsBothLabelsAndKnownIds) {
  const auto model = TinyModel(1);
  std::vector<UnpairedExample> replies = Replies(6);
  for (UnpairedExample& reply : replies) reply.desirable = false;
  EXPECT_THAT(Message(EstimateDensityRatios(*model, Rng(1), {}, replies)),
              HasSubstr("no desirable reply"));
  replies[0].desirable = true;
  replies[1].prompt = {61};
  EXPECT_EQ(EstimateDensityRatios(*model, Rng(1), {}, replies).code(),
            absl::StatusCode::kInvalidArgument);
  std::vector<UnpairedExample> good = Replies(1);
  EXPECT_TRUE(EstimateDensityRatios(*model, Rng(1), {}, good).ok());
}

}  // namespace
}  // namespace align::train
