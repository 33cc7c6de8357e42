#include "align/eval/policy_eval.h"

#include <gtest/gtest.h>

#include "align/dnnl/matmul.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

using Tokens = std::vector<int32_t>;

std::vector<Tokens> Prompts(int count) {
  std::vector<Tokens> prompts;
  for (int i = 0; i < count; ++i) {
    prompts.push_back(RandomTokens(3 + i % 5, Rng(50 + i)));
  }
  return prompts;
}

double Length(const Tokens& reply) { return static_cast<double>(reply.size()); }

absl::StatusOr<PolicyEvaluation> Evaluate(const Model& policy,
                                          const Model& reference, int prompts,
                                          double temperature = 0.9) {
  return EvaluatePolicy(
      policy, Prompts(prompts), train::RewardByReply(Length),
      train::FrozenReference(reference, temperature),
      {.max_new_tokens = 40, .temperature = temperature, .stop_ids = {5, 6, 7}},
      Rng(3));
}

TEST(EvaluatePolicy, RewardIsTheMeanOfWhatTheFunctionGaveTheReplies) {
  const auto model = TinyModel();
  const auto result = Evaluate(*model, *model, 9);
  ASSERT_TRUE(result.ok()) << Message(result.status());
  ASSERT_EQ(result->replies.size(), 9u);
  EXPECT_NEAR(result->reward.mean * 9, static_cast<double>(result->tokens),
              1e-9);
  EXPECT_GT(result->reward.stderr_of_mean, 0);
}

TEST(EvaluatePolicy, KlToItselfIsExactlyZero) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto model = TinyModel();
  EXPECT_EQ(Evaluate(*model, *model, 9)->kl, 0);
}

// 150 prompts of up to 47 tokens do not fit into one scored batch.
TEST(EvaluatePolicy, KlIsTheMeanLogRatioOfWholeReplies) {
  const auto policy = TinyModel(1), reference = TinyModel(2);
  const auto prompts = Prompts(150);
  const auto result = Evaluate(*policy, *reference, 150);
  ASSERT_TRUE(result.ok()) << Message(result.status());
  double sum = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    PackedBatch one;
    one.AppendCompletion(one.AppendPrompt(prompts[i]),
                         result->replies[i].tokens);
    for (float x : result->replies[i].log_probs) sum += x;
    const std::vector<float> log_probs =
        *train::FrozenReference(*reference, 0.9)(one);
    for (float x : log_probs) sum -= x;
  }
  EXPECT_NEAR(result->kl, sum / 150, 1e-4);
  EXPECT_GT(result->kl, 1);
}

TEST(EvaluatePolicy, RefusesGreedyRepliesAndNoPrompts) {
  const auto model = TinyModel();
  EXPECT_EQ(Evaluate(*model, *model, 3, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Evaluate(*model, *model, 0).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align
