// What losses on pairs read of the model, against plain sums.

#include "align/train/pair_scores.h"

#include <cmath>

#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "align/train/sequence_sums.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/train/tiny_pairs.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

// One prompt of three tokens, replies of four and two.
PreferenceBatch OnePair() {
  PreferenceBatch batch;
  const std::vector<int32_t> prompt = {3, 14, 15}, chosen = {9, 26, 5, 35},
                             rejected = {8, 9};
  const int32_t prefix = batch.packed.AppendPrompt(prompt);
  batch.packed.AppendCompletion(prefix, chosen);
  batch.packed.AppendCompletion(prefix, rejected);
  batch.ids = {"pair"};
  return batch;
}

PairScores Score(const Model& model, const losses::PairNeeds& needs,
                 const PreferenceBatch& batch,
                 const ReferenceLogProbs& reference = nullptr) {
  const NoGrad no_grad;
  auto pass = ScorePairBatch(model, reference, needs, {}, batch);
  EXPECT_TRUE(pass.ok()) << Message(pass.status());
  return std::move(pass->scores);
}

TEST(ScorePairBatch, HeadsAreTheFirstTokensOfBothReplies) {
  const auto model = TinyModel(), other = TinyModel(2);
  const PreferenceBatch batch = OnePair();
  const PairScores scores =
      Score(*model, {.heads = true}, batch, FrozenReference(*other));
  const auto p = *FrozenReference(*model)(batch.packed);
  const auto q = *FrozenReference(*other)(batch.packed);
  const losses::PairInputs& in = scores.inputs;
  EXPECT_FLOAT_EQ(in.policy_chosen[0], p[0] + p[1] + p[2] + p[3]);
  EXPECT_FLOAT_EQ(in.policy_chosen_head[0], p[0] + p[1]);
  EXPECT_FLOAT_EQ(in.policy_rejected_head[0], p[4] + p[5]);
  EXPECT_EQ(in.policy_rejected_head[0], in.policy_rejected[0]);
  EXPECT_FLOAT_EQ(in.reference_chosen_head[0], q[0] + q[1]);
  EXPECT_FLOAT_EQ(in.reference_rejected[0], q[4] + q[5]);
  EXPECT_EQ(in.chosen_tokens[0], 4);
  EXPECT_EQ(in.rejected_tokens[0], 2);
}

TEST(ScorePairBatch, WithoutAReferenceItsFieldsAreEmpty) {
  const auto model = TinyModel();
  const PairScores scores = Score(*model, {.heads = true}, OnePair());
  EXPECT_EQ(scores.inputs.reference_chosen.size(), 0);
  EXPECT_EQ(scores.inputs.reference_chosen_head.size(), 0);
  EXPECT_EQ(scores.inputs.reward_margin.size(), 0);
  EXPECT_EQ(scores.inputs.chosen_nll.size(), 0);
}

// The NLL of a text whose first token alone is the prompt.
TEST(ScorePairBatch, PromptsAreLearntFromTheirSecondToken) {
  const auto model = TinyModel();
  const PairScores scores = Score(*model, {.prompt_nll = true}, OnePair());
  PackedBatch text;
  const std::vector<int32_t> first = {3}, rest = {14, 15, 9, 26, 5, 35};
  text.AppendCompletion(text.AppendPrompt(first), rest);
  const double nll = -SumBySequence(*FrozenReference(*model)(text), text).at(0);
  EXPECT_NEAR(scores.inputs.chosen_nll[0] / nll, 1, 1e-6);
  EXPECT_EQ(scores.inputs.chosen_nll_tokens[0], 6);
  EXPECT_EQ(scores.tokens.size(), 8u);  // 4 + 2 of replies, 2 of the prompt
}

TEST(ScorePairBatch, AnEmptyChosenReplyLeavesItsPrompt) {
  const auto model = TinyModel();
  PreferenceBatch batch;
  const std::vector<int32_t> prompt = {3, 14, 15}, rejected = {8, 9};
  const int32_t prefix = batch.packed.AppendPrompt(prompt);
  batch.packed.AppendCompletion(prefix, {});
  batch.packed.AppendCompletion(prefix, rejected);
  const PairScores scores =
      Score(*model, {.heads = true, .prompt_nll = true}, batch);
  EXPECT_EQ(scores.inputs.chosen_nll_tokens[0], 2);
  EXPECT_EQ(scores.inputs.policy_rejected_head[0], 0);
}

// Probabilities one by one, from the logits of a reply's tokens.
TEST(ScorePairBatch, LogWeightsAreMeansOfLogProbLessThatOfAReplyOfItsOwn) {
  const auto model = TinyModel();
  const PreferenceBatch batch = OnePair();
  const PairScores scores = Score(*model, {.log_weights = true}, batch);
  const NoGrad no_grad;
  const HeadLogits head = ComputeHeadLogits(
      model->Hidden(batch.packed.tokens, batch.packed.segments), model->Head(),
      1);
  double sum[2] = {0, 0};
  for (const ScoredToken& token : batch.packed.scored) {
    const std::span<const float> row =
        head.logits.values().subspan(token.row * 61, 61);
    double squares = 0;
    for (float logit : row) {
      squares += std::exp(2.0 * (logit - head.log_sum_exp[token.row]));
    }
    sum[token.sequence] +=
        row[token.label] - head.log_sum_exp[token.row] - std::log(squares);
  }
  EXPECT_NEAR(scores.inputs.chosen_log_weight[0], sum[0] / 4, 1e-5);
  EXPECT_NEAR(scores.inputs.rejected_log_weight[0], sum[1] / 2, 1e-5);
}

TEST(ScorePairBatch, MarginsThatAreNeededMustBeThere) {
  const auto model = TinyModel();
  PreferenceBatch batch = OnePair();
  const losses::PairNeeds needs = {.reward_margin = true};
  EXPECT_THAT(
      Message(ScorePairBatch(*model, nullptr, needs, {}, batch).status()),
      HasSubstr("1 pairs and 0 margins"));
  batch.margins = {0.75};
  EXPECT_EQ(Score(*model, needs, batch).inputs.reward_margin[0], 0.75);
}

TEST(ScorePairBatch, WhoseSampleWonMustBeThereWhereItIsNeeded) {
  const auto model = TinyModel();
  PreferenceBatch batch = OnePair();
  const losses::PairNeeds needs = {.policy_won = true};
  EXPECT_THAT(
      Message(ScorePairBatch(*model, nullptr, needs, {}, batch).status()),
      HasSubstr("1 pairs, 0 of them known as a sample of the policy"));
  batch.policy_won = {1};
  EXPECT_EQ(Score(*model, needs, batch).inputs.policy_won[0], 1);
}

}  // namespace
}  // namespace align::train
