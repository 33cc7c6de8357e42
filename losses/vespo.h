#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/policy.h"
#include "losses/policy_terms.h"
#include "losses/surrogate.h"

namespace align::losses {

struct VespoOptions {
  double k_pos = 2, lambda_pos = 3;
  double k_neg = 3, lambda_neg = 2;

  void Describe(OptionList& list) {
    list.Number("vespo_k_pos", &k_pos, {.low = 0},
                "power of the ratio where the advantage is not negative");
    list.Number("vespo_lambda_pos", &lambda_pos, {.low = 1e-4},
                "decay of the weight there");
    list.Number("vespo_k_neg", &k_neg, {.low = 0},
                "power of the ratio where it is");
    list.Number("vespo_lambda_neg", &lambda_neg, {.low = 1e-4},
                "decay of the weight there");
  }
};

// -sg(phi(W)) A log pi, with the sequence's ratio W = prod_t rho_t and
//   phi(W) = e^lambda W^k e^(-lambda W), so that phi(1) = 1.
// Log-ratios of tokens stay within +-20, log W within [log 1e-8, 20], as in
// TRL. Weights of a sampler correction are part of W. Shen et al. 2026 (arXiv
// 2602.10693), eq. 20.
struct VespoRule {
  static constexpr bool kOwnSamplerWeights = true;
  VespoOptions options;
  double log_weight = 0;  // log W
  double tokens = 0;
  WeightedSum phi_seen = {};

  static double Limited(double log_weight) {
    static constexpr double kLow = -18.420680743952367;  // log 1e-8
    return Clip(log_weight, kLow, 20.0);
  }

  void Begin(const PolicyInputs& in, const SamplerCorrectionRule& sampler,
             Eigen::Index i, const Eigen::ArrayXd& sampler_weights) {
    double sum = 0, correction = 0;
    tokens = 0;
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      if (!in.Scored(t)) continue;
      tokens += 1;
      if (in.old_log_prob.size() > 0) {
        sum += Clip(in.log_prob[t] - in.old_log_prob[t], -20.0, 20.0);
      }
      if (sampler_weights.size() == 0) continue;
      const double each = Limited(std::log(sampler_weights[t]));
      correction = sampler.per_sequence() ? each : correction + each;
    }
    log_weight = Limited(sum + correction);
    phi_seen.weight += 1;
  }

  SurrogateStep operator()(const SurrogatePoint& at) {
    const bool good = at.advantage >= 0;
    const double k = good ? options.k_pos : options.k_neg;
    const double lambda = good ? options.lambda_pos : options.lambda_neg;
    const double phi =
        std::exp(lambda + k * log_weight - lambda * std::exp(log_weight));
    phi_seen.sum += phi / tokens;
    SurrogateStep step;
    step.value = -phi * at.advantage * at.log_prob;
    step.by_log_prob = -phi * at.advantage;
    return step;
  }

  void AddMetrics(const ClipShares& /*clips*/,
                  std::vector<PolicyMetric>& metrics) const {
    metrics.push_back({"vespo/phi_seq_mean", phi_seen});
  }
};

inline PolicyResult VespoLoss(const PolicyInputs& in,
                              const VespoOptions& options,
                              const PolicyTerms& terms) {
  return SurrogateLoss(in, terms, RatioLevel::kToken,
                       VespoRule{.options = options});
}

}  // namespace align::losses
