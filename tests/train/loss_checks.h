#pragma once

// What every loss that is trained must hold, whatever its objective.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "align/nn/param_store.h"
#include "align/train/optimizer.h"
#include "align/train/run_loop.h"

namespace align::train {

// Two steps from the same start on the same eight examples, as one micro-batch
// and as eight. Single examples may lack the metrics `of_many`.
inline void ExpectSameSteps(const std::vector<StepReport>& one,
                            const std::vector<StepReport>& eight,
                            const std::set<std::string>& of_many = {}) {
  ASSERT_EQ(one.size(), 2u);
  ASSERT_EQ(eight.size(), 2u);
  // The first step differs in the order of f32 sums of gradients alone, the
  // second in what Adam made of that.
  const StepReport &a = one[0], &b = eight[0];
  EXPECT_NEAR(a.loss / b.loss, 1, 1e-6);
  EXPECT_NEAR(a.grad_norm / b.grad_norm, 1, 1e-5);
  for (const auto& [name, value] : a.metrics) {
    if (of_many.contains(name) && !b.metrics.contains(name)) continue;
    ASSERT_TRUE(b.metrics.contains(name)) << name;
    EXPECT_NEAR(value, b.metrics.at(name),
                1e-6 * std::max(10.0, std::abs(value)))
        << name;
  }
  EXPECT_NEAR(one[1].loss / eight[1].loss, 1, 1e-3);
}

// Along the gradient a loss rises by the gradient's norm. `loss` gives the sum
// where `params` stand and, asked for, adds its gradient there.
inline void ExpectSlope(ParamStore& params,
                        const std::function<double(bool gradient)>& loss) {
  params.ZeroGradients();
  const double here = loss(true);
  const double norm = GradientNorm({&params});
  ASSERT_GT(norm, 0);
  const double step = 1e-3 * std::min(1.0, std::abs(here) / norm);
  const std::vector<float> start(params.values().begin(),
                                 params.values().end());
  const std::vector<float> slope(params.grads().begin(), params.grads().end());
  const auto at = [&](double distance) {
    for (size_t i = 0; i < start.size(); ++i) {
      params.values()[i] =
          static_cast<float>(start[i] + distance / norm * slope[i]);
    }
    return loss(false);
  };
  const double up = at(step), down = at(-step);
  // Log-probs are f32 sums near 100, and the loss is not straight.
  EXPECT_NEAR((up - down) / (2 * step * norm), 1, 0.02);
}

}  // namespace align::train
