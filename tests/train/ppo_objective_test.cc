#include "align/train/ppo_objective.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "align/base/check.h"
#include "align/dnnl/matmul.h"
#include "align/train/optimizer.h"
#include "align/train/reference.h"
#include "gtest/gtest.h"
#include "tests/train/tiny_pairs.h"

namespace align::train {
namespace {

PpoBatch Batch(const Model& policy, double temperature) {
  PpoBatch batch;
  batch.packed = TinyPairs(0, 4).packed;
  const auto old = FrozenReference(policy, temperature)(batch.packed);
  batch.old_log_probs.assign(old->begin(), old->end());
  const size_t count = old->size();
  batch.advantages.assign(count, 0.5);
  batch.old_values.assign(count, 0);
  batch.returns.assign(count, 1);
  return batch;
}

TEST(PpoObjective, TheFirstRatioIsExactlyOneAtAnyTemperature) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto policy = TinyModel(1), critic = TinyModel(2, false, true);
  policy->params().EnableGradients();
  critic->params().EnableGradients();
  for (double temperature : {1.0, 0.7}) {
    const auto step =
        PpoObjective(*policy, *critic,
                     {.temperature = temperature})(Batch(*policy, temperature));
    ASSERT_TRUE(step.ok()) << Message(step.status());
    EXPECT_EQ(step->metrics.at("val/ratio").sum, step->weight);
    EXPECT_EQ(step->metrics.at("policy/approxkl_avg").sum, 0);
  }
}

TEST(PpoObjective, TrainsPolicyAndCriticFromOneBackward) {
  const auto policy = TinyModel(1), critic = TinyModel(2, false, true);
  policy->params().EnableGradients();
  critic->params().EnableGradients();
  const auto objective = PpoObjective(*policy, *critic);
  ASSERT_TRUE(objective(Batch(*policy, 1)).ok());
  EXPECT_GT(GradientNorm({&policy->params()}), 0);
  EXPECT_GT(GradientNorm({&critic->params()}), 0);
}

TEST(PpoObjective, DropsABatchWhoseRatiosRanAway) {
  const auto policy = TinyModel(1), critic = TinyModel(2, false, true);
  policy->params().EnableGradients();
  critic->params().EnableGradients();
  PpoBatch batch = Batch(*policy, 1);
  for (double& log_prob : batch.old_log_probs) log_prob -= std::log(3.0);
  for (const auto& [threshold, dropped] :
       {std::pair(2.9, true), std::pair(3.1, false), std::pair(0.0, false)}) {
    const auto step =
        PpoObjective(*policy, *critic, {.ratio_threshold = threshold})(batch);
    ASSERT_TRUE(step.ok()) << Message(step.status());
    EXPECT_EQ(step->loss_sum == 0, dropped) << threshold;
    EXPECT_EQ(GradientNorm({&policy->params(), &critic->params()}) == 0,
              dropped)
        << threshold;
  }
}

// Gradients of the policy's parameters after one batch with a head on its
// trunk.
std::vector<float> SharedGradients(double advantage, double value_weight) {
  const auto policy = TinyModel(1);
  ValueHead head(policy->config().hidden_size);
  head.Draw(Rng(4));
  policy->params().EnableGradients();
  head.params().EnableGradients();
  PpoBatch batch = Batch(*policy, 1);
  batch.advantages.assign(batch.advantages.size(), advantage);
  const auto step =
      PpoObjective(*policy, head, {.value_weight = value_weight})(batch);
  ALIGN_CHECK(step.ok()) << step.status().ToString();
  const std::span<float> gradients = policy->params().grads();
  return {gradients.begin(), gradients.end()};
}

TEST(PpoObjective, ASharedTrunkLearnsFromPolicyAndValuesAtOnce) {
  const std::vector<float> both = SharedGradients(0.5, 0.1);
  const std::vector<float> of_policy = SharedGradients(0.5, 0);
  const std::vector<float> of_values = SharedGradients(0, 0.1);
  double policy_part = 0, value_part = 0, largest = 0;
  for (size_t i = 0; i < both.size(); ++i) {
    policy_part += std::abs(of_policy[i]);
    value_part += std::abs(of_values[i]);
    largest = std::max<double>(largest, std::abs(both[i]));
  }
  EXPECT_GT(policy_part, 0);
  EXPECT_GT(value_part, 0);
  for (size_t i = 0; i < both.size(); ++i) {
    // Sums over some hundred rows in another order.
    ASSERT_NEAR(both[i], of_policy[i] + of_values[i], 1e-5 * largest) << i;
  }
}

TEST(PpoObjective, ASharedHeadLearnsAndLeavesTheFirstRatioAtOne) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto policy = TinyModel(1);
  ValueHead head(policy->config().hidden_size);  // zero: it still learns
  policy->params().EnableGradients();
  head.params().EnableGradients();
  const auto step = PpoObjective(*policy, head)(Batch(*policy, 1));
  ASSERT_TRUE(step.ok()) << Message(step.status());
  EXPECT_EQ(step->metrics.at("val/ratio").sum, step->weight);
  EXPECT_GT(GradientNorm({&head.params()}), 0);
  // Values of 0 against returns of 1: half the squared error.
  EXPECT_EQ(step->metrics.at("loss/value_avg").sum, 0.5 * step->weight);
}

TEST(PpoObjective, RefusesSpansThatDoNotFit) {
  const auto policy = TinyModel(1), critic = TinyModel(2, false, true);
  PpoBatch batch = Batch(*policy, 1);
  batch.returns.pop_back();
  EXPECT_EQ(PpoObjective(*policy, *critic)(batch).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align::train
