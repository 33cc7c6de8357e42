#pragma once

#include <cstdint>
#include <vector>

#include "losses/kl.h"
#include "losses/ppo.h"

namespace align::train {

// What a rollout of n sampled completions was scored with. R tokens stand
// completion by completion; completion i is [offsets[i], offsets[i + 1]) and
// has at least one token.
struct PpoScores {
  std::vector<int64_t> offsets;             // [n + 1]
  std::vector<double> log_probs;            // [R] the sampler's, in nats
  std::vector<double> reference_log_probs;  // [R]
  std::vector<double> values;  // [R] of the state each token was sampled in
  std::vector<double> scores;  // [n] rewards of whole completions

  int64_t completions() const {
    return static_cast<int64_t>(offsets.size()) - 1;
  }
};

struct PpoTargetOptions {
  losses::KlEstimator kl_estimator = losses::KlEstimator::kK1;
  losses::GaeOptions gae;
  bool whiten_rewards = false;  // over all tokens; the mean stays
  bool whiten_advantages = true;
};

// What the tokens of a rollout are trained towards, [R] each.
struct PpoTargets {
  std::vector<double> kl;          // estimate per token, nats
  std::vector<double> rewards;     // after whitening, if any
  std::vector<double> advantages;  // whitened over all R tokens, if asked
  std::vector<double> returns;     // advantages before whitening, plus values
};

// Rewards are -kl_coef * kl with the score added at each last token; then
// generalised advantages, one completion at a time. Huang et al. 2024 (arXiv
// 2403.17031), details 13 to 17, without padding.
PpoTargets MakePpoTargets(const PpoScores& scores, double kl_coef,
                          const PpoTargetOptions& options = {});

}  // namespace align::train
