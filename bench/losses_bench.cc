// Every pair loss of the registry on 1,024 pairs, value and gradient, beside
// the least that any of them could do: one exp and one log1p a pair.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "losses/registry.h"

namespace align::losses {
namespace {

constexpr Eigen::Index kPairs = 1024;

// What a loss with `needs` reads: log-probs of replies of 40 tokens whose
// margins are on both sides of 0.
PairInputs Pairs(const PairNeeds& needs) {
  PairInputs in;
  const auto series = [](double centre, double step) {
    return Eigen::ArrayXd::NullaryExpr(kPairs, [=](Eigen::Index i) {
      return centre + 10 * std::sin(step * static_cast<double>(i));
    });
  };
  in.policy_chosen = series(-80, 0.7);
  in.policy_rejected = series(-81, 1.1);
  if (needs.reference) {
    in.reference_chosen = series(-80, 0.3);
    in.reference_rejected = series(-80, 1.9);
  }
  if (needs.lengths) {
    in.chosen_tokens = Eigen::ArrayXd::Constant(kPairs, 40);
    in.rejected_tokens = in.chosen_tokens;
  }
  if (needs.reward_margin) in.reward_margin = series(1, 2.3) / 5;
  if (needs.running_mean) in.running_mean = 0.4;
  return in;
}

void RunPairLoss(benchmark::State& state, const std::string& name) {
  const PairLossOrError loss = MakePairLoss(name);
  if (!loss.ok()) return state.SkipWithError(loss.error.c_str());
  const PairInputs in = Pairs(loss.needs);
  const std::string wrong = CheckPairInputs(in, loss.needs);
  if (!wrong.empty()) return state.SkipWithError(wrong.c_str());
  for (auto _ : state) {
    const PairLossResult result = loss.loss(in);
    benchmark::DoNotOptimize(result.loss.data());
    benchmark::DoNotOptimize(result.d_policy_chosen.data());
  }
  state.SetItemsProcessed(state.iterations() * kPairs);
}

void PlainLoop(benchmark::State& state) {
  const PairInputs in = Pairs({.reference = true});
  Eigen::ArrayXd loss(kPairs), gradient(kPairs);
  for (auto _ : state) {
    for (Eigen::Index i = 0; i < kPairs; ++i) {
      const double x = 0.1 * (in.policy_chosen[i] - in.reference_chosen[i] -
                              in.policy_rejected[i] + in.reference_rejected[i]);
      const double e = std::exp(-std::abs(x));
      loss[i] = std::max(-x, 0.0) + std::log1p(e);
      gradient[i] = -0.1 * (x >= 0 ? e : 1.0) / (1.0 + e);
    }
    benchmark::DoNotOptimize(loss.data());
    benchmark::DoNotOptimize(gradient.data());
  }
  state.SetItemsProcessed(state.iterations() * kPairs);
}

}  // namespace
}  // namespace align::losses

int main(int argc, char** argv) {
  benchmark::RegisterBenchmark("plain_loop", align::losses::PlainLoop);
  for (const auto& entry : align::losses::PairLosses()) {
    benchmark::RegisterBenchmark(("loss/" + entry.name).c_str(),
                                 align::losses::RunPairLoss, entry.name);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  return benchmark::RunSpecifiedBenchmarks() > 0 ? 0 : 1;
}
