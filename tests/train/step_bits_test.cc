// A training step has the same bits on any number of threads, in f32 and bf16.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "align/base/threads.h"
#include "align/dnnl/matmul.h"
#include "align/dnnl/packed_matrix.h"
#include "align/dnnl/precision.h"
#include "align/train/optimizer.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "tests/train/tiny_pairs.h"

namespace align::train {
namespace {

// Wide enough that every kernel has work for several threads.
std::unique_ptr<Model> WideModel(Precision precision) {
  ModelConfig config = TinyConfig();
  config.vocab_size = 700;
  config.hidden_size = 128;
  config.intermediate_size = 320;
  config.head_dim = 32;
  auto model = CreateModel(config, Rng(1));
  EXPECT_TRUE(model.ok()) << model.status();
  (*model)->params().SetPrecision(precision);
  return *std::move(model);
}

// Losses, gradient norms and, at the end, weights of two steps of DPO.
std::vector<double> TrainedOn(int threads, Precision precision) {
  SetThreads(threads);
  const std::unique_ptr<Model> policy = WideModel(precision);
  const std::unique_ptr<Model> reference = CloneModel(*policy);
  policy->params().EnableGradients();
  Optimizer optimizer({.learning_rate = 1e-2}, nullptr, {&policy->params()});
  const Objective<PreferenceBatch> objective = PerMicroBatch(
      PreferenceObjective(*policy, CachedReference(FrozenReference(*reference)),
                          *MakePairLoss("sigmoid")));
  std::vector<double> numbers;
  for (int step = 0; step < 2; ++step) {
    const auto micro = objective(TinyPairs(12 * step, 12));
    EXPECT_TRUE(micro.ok()) << micro.status();
    numbers.push_back(micro->loss_sum);
    numbers.push_back(GradientNorm({&policy->params()}, NormKind::kEuclidean));
    optimizer.Step(1 / micro->weight);
  }
  const auto values = policy->params().values();
  numbers.insert(numbers.end(), values.begin(), values.end());
  return numbers;
}

class StepBitsTest : public ::testing::TestWithParam<Precision> {
 protected:
  void TearDown() override { SetThreads(before_); }

 private:
  int before_ = Threads();
};

INSTANTIATE_TEST_SUITE_P(Precisions, StepBitsTest,
                         ::testing::Values(Precision::kF32, Precision::kBf16),
                         [](const auto& info) {
                           return std::string(PrecisionName(info.param));
                         });

TEST_P(StepBitsTest, AreThoseOfOneThreadOnTwoThreeAndFour) {
  if (GetParam() == Precision::kBf16
          ? !HasBf16() || !PackedRowsExact(Precision::kBf16)
          : GetMatmulMode() == MatmulMode::kTolerance) {
    GTEST_SKIP() << PrecisionName(GetParam())
                 << " products are not exact here: " << DescribeMatmul();
  }
  const std::vector<double> one = TrainedOn(1, GetParam());
  EXPECT_NE(one[0], one[2]);  // it learns
  for (const int threads : {2, 3, 4}) {
    EXPECT_EQ(TrainedOn(threads, GetParam()), one) << threads << " threads";
  }
}

}  // namespace
}  // namespace align::train
