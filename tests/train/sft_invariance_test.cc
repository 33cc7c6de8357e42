// What must not change the numbers of an SFT step: the order of the examples
// in a batch, and how they are cut into batches.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "align/data/loader.h"
#include "align/train/reference.h"
#include "align/train/sft_objective.h"
#include "tests/support/tiny_model.h"

namespace align::train {
namespace {

// Prompts and replies of all lengths, one of a single token, one with a token
// that is not scored.
std::vector<SftExample> Examples() {
  std::vector<SftExample> examples;
  for (int64_t i = 0; i < 6; ++i) {
    const Rng rng = Rng(23).Fork(static_cast<uint64_t>(i));
    examples.push_back({.prompt = RandomTokens(1 + 3 * i, rng.Fork("prompt")),
                        .completion = RandomTokens(1 + (5 * i) % 11, rng),
                        .mask = {},
                        .id = std::to_string(i)});
  }
  examples[1].mask.assign(examples[1].completion.size(), 1);
  examples[1].mask[2] = 0;
  return examples;
}

struct Sums {
  double loss = 0;
  double weight = 0;
  std::vector<float> gradients;
};

// The sums over `batches`, each a list of examples, on equal models.
Sums Train(const std::vector<std::vector<int64_t>>& batches) {
  const std::unique_ptr<Model> model = TinyModel();
  model->params().EnableGradients();
  const Objective<SftBatch> objective = SftObjective(*model);
  Sums sums;
  for (const std::vector<int64_t>& batch : batches) {
    const auto step = objective(Pack(Examples(), batch, {}));
    EXPECT_TRUE(step.ok()) << Message(step.status());
    if (!step.ok()) return sums;
    sums.loss += step->loss_sum;
    sums.weight += step->weight;
  }
  const std::span<float> all = model->params().grads();
  sums.gradients.assign(all.begin(), all.end());
  return sums;
}

double Norm(const std::vector<float>& values) {
  double squares = 0;
  for (const float v : values) squares += static_cast<double>(v) * v;
  return std::sqrt(squares);
}

// Losses and gradients within 1e-6 of their size: only the order in which f32
// gradients of a weight are added differs.
void ExpectSame(const Sums& a, const Sums& b) {
  EXPECT_EQ(a.weight, b.weight);
  EXPECT_NEAR(a.loss / b.loss, 1, 1e-6);
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  std::vector<float> difference(a.gradients.size());
  std::ranges::transform(a.gradients, b.gradients, difference.begin(),
                         std::minus<>());
  EXPECT_GT(Norm(b.gradients), 0);
  EXPECT_LT(Norm(difference), 1e-6 * Norm(b.gradients));
}

TEST(SftInvariance, OrderOfTheExamplesChangesNothing) {
  const Sums straight = Train({{0, 1, 2, 3, 4, 5}});
  EXPECT_EQ(straight.weight, 36);  // 37 tokens of replies, one not scored
  ExpectSame(straight, Train({{5, 3, 1, 0, 4, 2}}));
  ExpectSame(straight, Train({{2, 1, 0, 5, 4, 3}}));
}

TEST(SftInvariance, PackingChangesNothing) {
  const Sums together = Train({{0, 1, 2, 3, 4, 5}});
  ExpectSame(together, Train({{0}, {1}, {2}, {3}, {4}, {5}}));
  ExpectSame(together, Train({{0, 4}, {1, 2, 3}, {5}}));
}

// The loss of one batch of all examples, and the gradients.
Sums TrainWith(losses::TokenLoss loss) {
  const std::unique_ptr<Model> model = TinyModel();
  model->params().EnableGradients();
  const auto step = SftObjective(*model, {.loss = loss})(
      Pack(Examples(), std::vector<int64_t>{0, 1, 2, 3, 4, 5}, {}));
  EXPECT_TRUE(step.ok()) << Message(step.status());
  const std::span<float> all = model->params().grads();
  return {step->loss_sum, step->weight, {all.begin(), all.end()}};
}

// -p log p of every token, from the log-probs of a model in evaluation.
TEST(SftObjective, DftWeighsEveryTokenByItsProbability) {
  const std::unique_ptr<Model> model = TinyModel();
  const SftBatch batch =
      Pack(Examples(), std::vector<int64_t>{0, 1, 2, 3, 4, 5}, {});
  const auto log_probs = FrozenReference(*model)(batch.packed);
  ASSERT_TRUE(log_probs.ok());
  double nll = 0, dft = 0;
  for (double log_prob : *log_probs) {
    nll -= log_prob;
    dft -= std::exp(log_prob) * log_prob;
  }
  const Sums of_nll = TrainWith(&losses::TokenNll),
             of_dft = TrainWith(&losses::TokenDft);
  EXPECT_NEAR(of_nll.loss, nll, 1e-9 * nll);
  EXPECT_NEAR(of_dft.loss, dft, 1e-9 * dft);
  // Unlikely tokens, of which a new model has most, pull less.
  EXPECT_GT(Norm(of_dft.gradients), 0);
  EXPECT_LT(Norm(of_dft.gradients), 0.5 * Norm(of_nll.gradients));
}

}  // namespace
}  // namespace align::train
