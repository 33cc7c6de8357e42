// Every pair loss of the registry on 1,024 pairs and every policy loss on a
// million tokens, value and gradient, beside the least that any of them could
// do: one exp and one log1p a pair, one exp a token.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "losses/policy_registry.h"
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
  if (needs.policy_won) {
    in.policy_won = (series(0, 1.3) > 0).cast<double>();
  }
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

constexpr Eigen::Index kSequences = 2048, kLength = 512;
constexpr Eigen::Index kTokens = kSequences * kLength;

// 2,048 completions of 512 tokens after an update or two: ratios on both sides
// of both clips.
PolicyInputs Completions() {
  PolicyInputs in;
  for (Eigen::Index i = 0; i <= kSequences; ++i) {
    in.offsets.push_back(i * kLength);
  }
  const auto series = [](Eigen::Index count, double step) {
    return Eigen::ArrayXd::NullaryExpr(count, [=](Eigen::Index i) {
      return std::sin(step * static_cast<double>(i));
    });
  };
  in.old_log_prob = -2 + series(kTokens, 0.7);
  in.log_prob = in.old_log_prob + 0.3 * series(kTokens, 1.1);
  in.reference_log_prob = in.old_log_prob + 0.3 * series(kTokens, 1.9);
  in.advantages = series(kSequences, 2.3);
  in.max_completion_length = kLength;
  return in;
}

void RunPolicyLoss(benchmark::State& state, const std::string& name) {
  const PolicyLossOrError loss = MakePolicyLoss(name);
  if (!loss.ok()) return state.SkipWithError(loss.error.c_str());
  const PolicyInputs in = Completions();
  const std::string wrong = CheckPolicyInputs(in, loss.needs);
  if (!wrong.empty()) return state.SkipWithError(wrong.c_str());
  for (auto _ : state) {
    const PolicyResult result = loss.loss(in);
    benchmark::DoNotOptimize(result.loss.data());
    benchmark::DoNotOptimize(result.d_log_prob.data());
  }
  state.SetItemsProcessed(state.iterations() * kTokens);
}

void PlainTokenLoop(benchmark::State& state) {
  const PolicyInputs in = Completions();
  for (auto _ : state) {
    Eigen::ArrayXd loss(kTokens), gradient(kTokens);
    for (Eigen::Index t = 0; t < kTokens; ++t) {
      const double advantage = in.advantages[t / kLength];
      const double ratio = std::exp(in.log_prob[t] - in.old_log_prob[t]);
      const double free = ratio * advantage;
      const double limited = Clip(ratio, 0.8, 1.2) * advantage;
      loss[t] = -std::min(free, limited) / kLength;
      gradient[t] = free <= limited ? -free / kLength : 0.0;
    }
    benchmark::DoNotOptimize(loss.data());
    benchmark::DoNotOptimize(gradient.data());
  }
  state.SetItemsProcessed(state.iterations() * kTokens);
}

}  // namespace
}  // namespace align::losses

int main(int argc, char** argv) {
  benchmark::RegisterBenchmark("plain_loop", align::losses::PlainLoop);
  for (const auto& entry : align::losses::PairLosses()) {
    benchmark::RegisterBenchmark(("loss/" + entry.name).c_str(),
                                 align::losses::RunPairLoss, entry.name);
  }
  benchmark::RegisterBenchmark("plain_token_loop",
                               align::losses::PlainTokenLoop)
      ->Unit(benchmark::kMillisecond);
  for (const auto& entry : align::losses::PolicyLosses()) {
    benchmark::RegisterBenchmark(("policy_loss/" + entry.name).c_str(),
                                 align::losses::RunPolicyLoss, entry.name)
        ->Unit(benchmark::kMillisecond);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  return benchmark::RunSpecifiedBenchmarks() > 0 ? 0 : 1;
}
