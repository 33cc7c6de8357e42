#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "align/data/batches.h"
#include "align/train/preference_objective.h"
#include "align/train/reward_objective.h"
#include "tests/support/tiny_model.h"

namespace align::train {

// -log sigmoid(beta d) with its seeds: DPO, as the tests' own yardstick.
inline PairLossValues SigmoidPairLoss(const PairScores& pairs) {
  constexpr double kBeta = 0.1;
  PairLossValues values;
  for (size_t i = 0; i < pairs.chosen.size(); ++i) {
    const double chosen = kBeta * (pairs.chosen[i] - pairs.reference_chosen[i]);
    const double rejected =
        kBeta * (pairs.rejected[i] - pairs.reference_rejected[i]);
    const double x = chosen - rejected;
    values.loss.push_back(std::log1p(std::exp(-std::abs(x))) -
                          std::min(x, 0.0));
    values.chosen_seed.push_back(-kBeta / (1 + std::exp(x)));
    values.rejected_seed.push_back(kBeta / (1 + std::exp(x)));
    values.chosen_reward.push_back(chosen);
    values.rejected_reward.push_back(rejected);
  }
  return values;
}

// -log sigmoid(chosen - rejected - margin).
inline RewardLossValues BradleyTerry(std::span<const double> chosen,
                                     std::span<const double> rejected,
                                     std::span<const double> margins) {
  RewardLossValues values;
  for (size_t i = 0; i < chosen.size(); ++i) {
    const double x = chosen[i] - rejected[i] - margins[i];
    values.loss.push_back(std::log1p(std::exp(-x)));
    values.chosen_seed.push_back(-1 / (1 + std::exp(x)));
    values.rejected_seed.push_back(1 / (1 + std::exp(x)));
  }
  return values;
}

enum class Packing { kSharedPrefix, kSeparate };

// Pairs first..first + count - 1 of an endless series: pair i depends on i
// alone.
inline PreferenceBatch TinyPairs(int64_t first, int64_t count,
                                 Packing packing = Packing::kSharedPrefix) {
  PreferenceBatch batch;
  for (int64_t i = first; i < first + count; ++i) {
    Rng rng = Rng(17).Fork(static_cast<uint64_t>(i));
    const auto prompt =
        RandomTokens(3 + static_cast<int64_t>(rng.Below(9)), rng.Fork("p"));
    const auto chosen =
        RandomTokens(1 + static_cast<int64_t>(rng.Below(12)), rng.Fork("w"));
    const auto rejected =
        RandomTokens(1 + static_cast<int64_t>(rng.Below(12)), rng.Fork("l"));
    const int32_t prefix = batch.packed.AppendPrompt(prompt);
    batch.packed.AppendCompletion(prefix, chosen);
    batch.packed.AppendCompletion(packing == Packing::kSharedPrefix
                                      ? prefix
                                      : batch.packed.AppendPrompt(prompt),
                                  rejected);
    batch.ids.push_back("pair" + std::to_string(i));
    batch.margins.push_back(0.25 * static_cast<double>(i % 3));
  }
  return batch;
}

}  // namespace align::train
