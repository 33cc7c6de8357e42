#include "align/train/ppo_objective.h"

#include <cmath>

#include "align/dnnl/matmul.h"
#include "align/train/optimizer.h"
#include "align/train/reference.h"
#include "gtest/gtest.h"
#include "tests/train/tiny_pairs.h"

namespace align::train {
namespace {

TokenLossValues Surrogate(std::span<const double> now,
                          std::span<const double> old,
                          std::span<const double> advantages) {
  TokenLossValues values;
  for (size_t i = 0; i < now.size(); ++i) {
    const double ratio = std::exp(now[i] - old[i]);
    values.loss.push_back(-advantages[i] * ratio);
    values.seed.push_back(-advantages[i] * ratio);
    values.clipped.push_back(0);
  }
  return values;
}

TokenLossValues Squared(std::span<const double> now, std::span<const double>,
                        std::span<const double> returns) {
  TokenLossValues values;
  for (size_t i = 0; i < now.size(); ++i) {
    const double error = now[i] - returns[i];
    values.loss.push_back(0.5 * error * error);
    values.seed.push_back(error);
    values.clipped.push_back(0);
  }
  return values;
}

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
        PpoObjective(*policy, *critic, Surrogate, Squared,
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
  const auto objective = PpoObjective(*policy, *critic, Surrogate, Squared);
  ASSERT_TRUE(objective(Batch(*policy, 1)).ok());
  EXPECT_GT(GradientNorm({&policy->params()}), 0);
  EXPECT_GT(GradientNorm({&critic->params()}), 0);
}

TEST(PpoObjective, RefusesSpansThatDoNotFit) {
  const auto policy = TinyModel(1), critic = TinyModel(2, false, true);
  PpoBatch batch = Batch(*policy, 1);
  batch.returns.pop_back();
  EXPECT_EQ(
      PpoObjective(*policy, *critic, Surrogate, Squared)(batch).status().code(),
      absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align::train
