#include "align/train/optimizer.h"

#include <cmath>
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
  const AdamWOptions options = {.learning_rate = 0.01,
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

}  // namespace
}  // namespace align::train
