#include "align/train/coupled.h"

#include <cmath>

#include "gtest/gtest.h"
#include "tests/train/toy_objective.h"

namespace align::train {
namespace {

// The variance of x_i * w over the whole step: every example's gradient needs
// the mean of all. Outputs are examples; the "model" is one weight.
using Examples = std::vector<double>;

struct Toy {
  std::unique_ptr<ParamStore> store = std::make_unique<ParamStore>(
      std::vector<ParamSpec>{{.name = "w", .shape = {1}}});
  int64_t forwards = 0, evaluations = 0;

  Toy() {
    store->values(0)[0] = 1.5f;
    store->EnableGradients();
  }

  CoupledObjective<Examples, Examples> Objective() {
    return {
        .forward = [this](const Examples& batch)
            -> absl::StatusOr<ForwardPass<Examples>> {
          ++forwards;
          Examples outputs = batch;
          for (double& x : outputs) x *= store->values(0)[0];
          return ForwardPass<Examples>{
              outputs, [this, batch](std::span<const float> seed, MicroStep&) {
                for (size_t i = 0; i < batch.size(); ++i) {
                  store->grads(0)[0] += static_cast<float>(batch[i] * seed[i]);
                }
              }};
        },
        .evaluate = [this](std::span<const Examples> all)
            -> absl::StatusOr<std::vector<SeededStep>> {
          ++evaluations;
          double sum = 0, count = 0;
          for (const Examples& outputs : all) {
            for (double y : outputs) sum += y, ++count;
          }
          std::vector<SeededStep> shares;
          for (const Examples& outputs : all) {
            SeededStep share;
            for (double y : outputs) {
              share.step.loss_sum += std::pow(y - sum / count, 2);
              share.step.weight += 1;
              share.seed.push_back(static_cast<float>(2 * (y - sum / count)));
            }
            shares.push_back(share);
          }
          return shares;
        }};
  }
};

// Examples 1, 2, 4, 8, ... in batches of `size`; `total` of them.
Source<Examples> Batches(int64_t size, int64_t total) {
  return
      [size, total,
       next = int64_t{0}]() mutable -> absl::StatusOr<std::optional<Examples>> {
        if (next == total) return std::optional<Examples>();
        Examples batch;
        for (int64_t i = 0; i < size && next < total; ++i) {
          batch.push_back(std::ldexp(1.0, static_cast<int>(next++)));
        }
        return std::optional<Examples>(batch);
      };
}

std::vector<StepReport> Train(Toy& toy, int64_t size, int64_t accumulation,
                              int64_t total) {
  std::vector<StepReport> reports;
  Optimizer optimizer({.learning_rate = 0.01}, nullptr, {toy.store.get()});
  EXPECT_TRUE(
      RunLoop({.accumulation = accumulation},
              BindCoupled(Batches(size, total), toy.Objective(), accumulation),
              {toy.store.get()}, optimizer,
              {[&](const StepReport& report) -> absl::StatusOr<ObserverResult> {
                reports.push_back(report);
                return ObserverResult{};
              }})
          .ok());
  return reports;
}

TEST(BindCoupled, EightMicroBatchesOfOneEqualOneOfEight) {
  Toy one, eight;
  const auto a = Train(one, 8, 1, 16), b = Train(eight, 1, 8, 16);
  ASSERT_EQ(a.size(), 2u);
  ASSERT_EQ(b.size(), 2u);
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_NEAR(a[i].loss / b[i].loss, 1, 1e-12);
    EXPECT_NEAR(a[i].grad_norm / b[i].grad_norm, 1, 1e-6);
  }
  EXPECT_EQ(one.forwards, 2);
  EXPECT_EQ(eight.forwards, 32);
  EXPECT_EQ(eight.evaluations, 2);
}

TEST(BindCoupled, TheLastStepMayHaveFewerMicroBatches) {
  Toy toy;
  const auto reports = Train(toy, 1, 3, 5);
  ASSERT_EQ(reports.size(), 2u);
  // w = 1.5 less two small steps: examples 8 and 16 differ by 8 w.
  EXPECT_NEAR(reports[1].loss, 16 * 1.49 * 1.49, 1e-4);
}

TEST(PerMicroBatch, SeesOneMicroBatchAtATime) {
  Toy toy;
  const auto step = PerMicroBatch(toy.Objective())({3.0});
  ASSERT_TRUE(step.ok());
  EXPECT_EQ(step->loss_sum, 0);
}

}  // namespace
}  // namespace align::train
