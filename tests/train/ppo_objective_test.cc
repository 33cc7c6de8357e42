#include "align/train/ppo_objective.h"

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

TEST(PpoObjective, RefusesSpansThatDoNotFit) {
  const auto policy = TinyModel(1), critic = TinyModel(2, false, true);
  PpoBatch batch = Batch(*policy, 1);
  batch.returns.pop_back();
  EXPECT_EQ(PpoObjective(*policy, *critic)(batch).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align::train
