#include "align/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "align/base/threads.h"
#include "gtest/gtest.h"
#include "tests/train/toy_objective.h"

namespace align::train {
namespace {

void FillGradients(ParamStore& store, uint64_t seed) {
  Rng rng(seed);
  for (size_t p = 0; p < store.specs().size(); ++p) {
    for (float& g : store.grads(p)) g = static_cast<float>(rng.Normal());
  }
}

void CheckAgainstDouble(bool decay_vectors) {
  const OptimizerOptions options = {.learning_rate = 0.01,
                                    .weight_decay = 0.1,
                                    .decay_vectors = decay_vectors};
  auto store = ToyStore(3);
  Optimizer optimizer(options, [](int64_t step) { return 1.0 / (1.0 + step); },
                      {store.get()});
  std::vector<double> w(store->values().begin(), store->values().end());
  std::vector<double> m(w.size()), v(w.size());
  const size_t matrix_end = store->offset(1);
  for (int t = 1; t <= 10; ++t) {
    FillGradients(*store, t);
    const double rate = 0.01 / t;
    EXPECT_DOUBLE_EQ(optimizer.learning_rate(), rate);
    for (size_t i = 0; i < w.size(); ++i) {
      const double g = 0.25 * store->grads()[i];
      if (decay_vectors || i < matrix_end) w[i] *= 1 - rate * 0.1;
      m[i] = 0.9 * m[i] + 0.1 * g;
      v[i] = 0.999 * v[i] + 0.001 * g * g;
      w[i] -= rate * (m[i] / (1 - std::pow(0.9, t))) /
              (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + 1e-8);
    }
    optimizer.Step(0.25);
  }
  // Ten roundings of values of order 1 in f32.
  for (size_t i = 0; i < w.size(); ++i) {
    ASSERT_NEAR(store->values()[i], w[i], 3e-6) << i;
    ASSERT_EQ(store->grads()[i], 0.0f);
  }
}

TEST(Optimizer, EqualsAdamWInDouble) { CheckAgainstDouble(false); }

TEST(Optimizer, DecaysNormsAndBiasesWhenAsked) { CheckAgainstDouble(true); }

// Two steps of rate 0.1 on gradients 1 and -3 from value 0, by hand.
float AfterTwoSteps(OptimizerOptions options) {
  options.learning_rate = 0.1;
  auto store = ToyStore(3);
  std::ranges::fill(store->values(), 0.0f);
  Optimizer optimizer(options, nullptr, {store.get()});
  for (const float gradient : {1.0f, -3.0f}) {
    std::ranges::fill(store->grads(), gradient);
    optimizer.Step(1);
  }
  EXPECT_EQ(optimizer.state()[0].size(), StateNames(options).size());
  const std::span<float> values = store->values(0);
  for (const float v : values) EXPECT_EQ(v, values[0]);
  return values[0];
}

TEST(Optimizer, EachRuleTakesTheStepsOfItsPaper) {
  constexpr OptimizerKind kSgd = OptimizerKind::kSgd;
  EXPECT_NEAR(AfterTwoSteps({.kind = kSgd}), -0.1 * (1 - 3), 1e-7);
  EXPECT_NEAR(AfterTwoSteps({.kind = kSgd, .momentum = 0.5}),
              -0.1 * (1 + (0.5 - 3)), 1e-7);
  EXPECT_NEAR(AfterTwoSteps({.kind = kSgd, .momentum = 0.5, .nesterov = true}),
              -0.1 * ((1 + 0.5) + (-3 + 0.5 * -2.5)), 1e-7);
  EXPECT_NEAR(AfterTwoSteps({.kind = OptimizerKind::kAdaGrad}),
              -0.1 * (1 - 3 / std::sqrt(10.0)), 1e-7);
  EXPECT_NEAR(AfterTwoSteps({.kind = OptimizerKind::kRmsProp, .beta2 = 0.5}),
              -0.1 * (1 / std::sqrt(0.5) - 3 / std::sqrt(0.25 + 4.5)), 1e-6);
  // Adam's first step is the rate; with beta2 = 0 the second moment is g^2.
  EXPECT_NEAR(AfterTwoSteps({.kind = OptimizerKind::kAdam, .beta1 = 0}),
              -0.1 * (1 - 3 / std::sqrt((0.999 + 9) / 1.999)), 1e-6);
}

TEST(Optimizer, AmsGradRemembersTheLargestSecondMoment) {
  std::vector<float> values;
  for (const bool amsgrad : {false, true}) {
    auto store = ToyStore(3);
    store->values(0)[0] = 0;
    Optimizer optimizer(
        {.learning_rate = 1, .beta1 = 0, .beta2 = 0.5, .amsgrad = amsgrad},
        nullptr, {store.get()});
    for (const float gradient : {4.0f, 0.0f, 1.0f}) {
      store->grads(0)[0] = gradient;
      optimizer.Step(1);
    }
    values.push_back(store->values(0)[0]);
  }
  // Second moments 8, 4, 2.5; corrections 1/2, 3/4, 7/8.
  EXPECT_NEAR(values[0], -1 - 1 / std::sqrt(2.5 / 0.875), 1e-6);
  EXPECT_NEAR(values[1], -1 - 1 / std::sqrt(8 / 0.875), 1e-6);
}

TEST(Optimizer, CoupledDecayIsPartOfTheGradient) {
  auto store = ToyStore(3);
  std::ranges::fill(store->values(), 2.0f);
  Optimizer optimizer({.kind = OptimizerKind::kSgd,
                       .learning_rate = 0.1,
                       .weight_decay = 0.5,
                       .decay_vectors = true},
                      nullptr, {store.get()});
  optimizer.Step(1);
  for (const float v : store->values(0)) EXPECT_FLOAT_EQ(v, 2 - 0.1 * 0.5 * 2);
}

TEST(Optimizer, NamesAreThoseThatParseKnows) {
  EXPECT_EQ(*ParseOptimizerKind("rmsprop"), OptimizerKind::kRmsProp);
  EXPECT_EQ(Message(ParseOptimizerKind("adamm").status()),
            "optimizer 'adamm' is unknown; expected adamw, adam, sgd, rmsprop "
            "or adagrad");
  EXPECT_EQ(*ParseNormKind("inf"), NormKind::kMaximum);
  EXPECT_EQ(Message(ParseNormKind("3").status()),
            "norm '3' is unknown; expected 1, 2 or inf");
}

TEST(Optimizer, BitsDoNotDependOnThreads) {
  const int before = Threads();
  std::vector<std::vector<float>> results;
  std::vector<double> norms;
  for (int threads : {1, 3}) {
    SetThreads(threads);
    auto store = ToyStore(3);
    Optimizer optimizer({.learning_rate = 0.1}, nullptr, {store.get()});
    FillGradients(*store, 7);
    norms.push_back(GradientNorm({store.get()}));
    optimizer.Step(1);
    results.emplace_back(store->values().begin(), store->values().end());
  }
  SetThreads(before);
  EXPECT_EQ(norms[0], norms[1]);
  EXPECT_EQ(results[0], results[1]);
}

TEST(GradientNorm, IsTheNormOverAllStores) {
  auto a = ToyStore(1);
  auto b = ToyStore(2);
  FillGradients(*a, 5);
  FillGradients(*b, 6);
  double squares = 0;
  for (float g : a->grads()) squares += static_cast<double>(g) * g;
  for (float g : b->grads()) squares += static_cast<double>(g) * g;
  EXPECT_NEAR(GradientNorm({a.get(), b.get()}) / std::sqrt(squares), 1, 1e-13);
}

TEST(GradientNorm, OtherNormsAndWhatIsNotFinite) {
  auto a = ToyStore(1);
  auto b = ToyStore(2);
  FillGradients(*a, 5);
  FillGradients(*b, 6);
  a->grads(0).back() = -7;
  double sum = 0;
  for (float g : a->grads()) sum += std::abs(static_cast<double>(g));
  for (float g : b->grads()) sum += std::abs(static_cast<double>(g));
  EXPECT_NEAR(GradientNorm({a.get(), b.get()}, NormKind::kSum) / sum, 1, 1e-13);
  EXPECT_EQ(GradientNorm({a.get(), b.get()}, NormKind::kMaximum), 7);
  a->grads().front() = std::nanf("");
  for (const NormKind kind :
       {NormKind::kEuclidean, NormKind::kSum, NormKind::kMaximum}) {
    EXPECT_TRUE(std::isnan(GradientNorm({a.get(), b.get()}, kind)));
  }
}

}  // namespace
}  // namespace align::train
