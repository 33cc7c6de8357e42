#pragma once

// Importance weights for tokens whose sampler is not quite the policy that
// ratios compare with: another program, precision or weights a step old.

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "losses/options.h"
#include "losses/policy.h"

namespace align::losses {

enum class SamplerCorrection {
  kNone,
  kTokenTruncate,
  kTokenMask,
  kSequenceTruncate,
  kSequenceMask,
  kSequenceMaskTokenRatio,
};
enum class SequenceRatio { kProduct, kGeometricMean };

// With w_t = pi_old / pi_sampler of a token and W that of a sequence, a token's
// policy loss is multiplied by
//   token_truncate     w_t within [low, high]     TIS, Yao et al. 2025
//   token_mask         w_t if in [low, high], else 0      IcePop, Ling 2025
//   sequence_truncate  W within [low, high]
//   sequence_mask      W if in [low, high], else 0        MIS
//   seq_mask_tis       w_t if W is in [low, high], else 0
// a constant. KL and entropy terms are not.
struct SamplerCorrectionRule {
  SamplerCorrection correction = SamplerCorrection::kNone;
  double low = 0;
  double high = 3;
  SequenceRatio sequence_ratio = SequenceRatio::kProduct;

  void Describe(OptionList& list) {
    list.Choice(
        "sampler_correction", &correction,
        {{"none", SamplerCorrection::kNone},
         {"token_truncate", SamplerCorrection::kTokenTruncate},
         {"token_mask", SamplerCorrection::kTokenMask},
         {"sequence_truncate", SamplerCorrection::kSequenceTruncate},
         {"sequence_mask", SamplerCorrection::kSequenceMask},
         {"seq_mask_tis", SamplerCorrection::kSequenceMaskTokenRatio}},
        "weights for another sampler than the scorer. token_truncate: TIS of "
        "TRL, verl, OpenRLHF, NeMo-RL; token_mask: IcePop; sequence_truncate; "
        "sequence_mask: MIS, TRL's default with vLLM; seq_mask_tis: OpenRLHF "
        "and NeMo-RL, whose token weights are not truncated");
    list.Number("sampler_ratio_low", &low, {.low = 0},
                "least ratio: TRL and verl's TIS 0, OpenRLHF 0.5");
    list.Number("sampler_ratio_high", &high, {.low = 0, .open_low = true},
                "largest ratio: TRL 3, verl 2, OpenRLHF 5");
    list.Choice("sampler_sequence_ratio", &sequence_ratio,
                {{"product", SequenceRatio::kProduct},
                 {"geometric_mean", SequenceRatio::kGeometricMean}},
                "a sequence's ratio: of its whole text (product: TRL, verl) or "
                "per token (geometric_mean: OpenRLHF, NeMo-RL)");
  }

  bool active() const { return correction != SamplerCorrection::kNone; }
  bool per_sequence() const {
    return correction == SamplerCorrection::kSequenceTruncate ||
           correction == SamplerCorrection::kSequenceMask;
  }
};

// log pi_old - log pi_sampler of a token; 0 where either was not given.
inline double SamplerLogRatio(const PolicyInputs& in, Eigen::Index token) {
  if (in.sampler_log_prob.size() == 0) return 0;
  const Eigen::ArrayXd& old =
      in.old_log_prob.size() > 0 ? in.old_log_prob : in.log_prob;
  return old[token] - in.sampler_log_prob[token];
}

// The weight of each token, [N]; 0 where the mask is. `tokens` as from
// ScoredTokens.
inline Eigen::ArrayXd SamplerWeights(const PolicyInputs& in,
                                     const SamplerCorrectionRule& rule,
                                     const Eigen::ArrayXd& tokens) {
  const auto exponential = [](double x) {
    return std::exp(std::min(x, kMaxExponent));
  };
  const auto masked = [&rule](double ratio, double weight) {
    return ratio >= rule.low && ratio <= rule.high ? weight : 0.0;
  };
  Eigen::ArrayXd out = Eigen::ArrayXd::Zero(in.log_prob.size());
  for (Eigen::Index i = 0; i < tokens.size(); ++i) {
    double sum = 0;
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      if (in.Scored(t)) sum += SamplerLogRatio(in, t);
    }
    const bool mean = rule.sequence_ratio == SequenceRatio::kGeometricMean;
    const double whole =
        exponential(mean ? sum / std::max(tokens[i], 1.0) : sum);
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      if (!in.Scored(t)) continue;
      const double token = exponential(SamplerLogRatio(in, t));
      switch (rule.correction) {
        case SamplerCorrection::kNone:
          out[t] = 1;
          break;
        case SamplerCorrection::kTokenTruncate:
          out[t] = Clip(token, rule.low, rule.high);
          break;
        case SamplerCorrection::kTokenMask:
          out[t] = masked(token, token);
          break;
        case SamplerCorrection::kSequenceTruncate:
          out[t] = Clip(whole, rule.low, rule.high);
          break;
        case SamplerCorrection::kSequenceMask:
          out[t] = masked(whole, whole);
          break;
        case SamplerCorrection::kSequenceMaskTokenRatio:
          out[t] = masked(whole, token);
          break;
      }
    }
  }
  return out;
}

// TRL's sampling/* metrics of scored tokens, from weights as above.
inline void AddSamplerMetrics(const PolicyInputs& in,
                              const Eigen::ArrayXd& weights,
                              std::vector<PolicyMetric>& metrics) {
  WeightedSum difference, ratio;
  double largest = 0, ratio_low = 0, ratio_high = 0;
  for (Eigen::Index t = 0; t < weights.size(); ++t) {
    if (!in.Scored(t)) continue;
    const double gap = std::abs(SamplerLogRatio(in, t));
    difference.sum += gap;
    largest = std::max(largest, gap);
    ratio_low =
        ratio.weight == 0 ? weights[t] : std::min(ratio_low, weights[t]);
    ratio_high = std::max(ratio_high, weights[t]);
    ratio.sum += weights[t];
    difference.weight = ++ratio.weight;
  }
  const double any = ratio.weight > 0 ? 1 : 0;
  const std::string gap_name = "sampling/sampling_logp_difference/";
  const std::string ratio_name = "sampling/importance_sampling_ratio/";
  metrics.push_back({gap_name + "mean", difference});
  metrics.push_back({gap_name + "max", {largest, any}, MetricKind::kMax});
  metrics.push_back({ratio_name + "min", {ratio_low, any}, MetricKind::kMin});
  metrics.push_back({ratio_name + "mean", ratio});
  metrics.push_back({ratio_name + "max", {ratio_high, any}, MetricKind::kMax});
}

}  // namespace align::losses
