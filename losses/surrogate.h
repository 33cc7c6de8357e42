#pragma once

// The loop that every policy loss runs in: a loss is a rule that turns one
// token's ratio and advantage into a value and a slope.

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "losses/policy.h"
#include "losses/policy_terms.h"

namespace align::losses {

// Which ratio a token's loss sees. With r_t = log pi - log pi_old of a token:
//   token             exp(r_t)
//   sequence          exp(mean_t r_t), gradient to all tokens alike (GSPO,
//                     Zheng et al. 2025, arXiv 2507.18071, eq. 7)
//   sequence_token    the same value, gradient to token t alone (its eq. 14);
//                     differs where advantages or weights do within a sequence
//   sequence_product  exp(sum_t r_t) (RLOO)
enum class RatioLevel { kToken, kSequence, kSequenceToken, kSequenceProduct };

// What a rule sees of a token.
struct SurrogatePoint {
  double log_prob;
  double ratio;  // of the token or its sequence
  double advantage;
  double token_log_ratio;  // log pi - log pi_old of the token itself
};

enum class ClipSide { kNone, kLow, kHigh };

// What a rule makes of it: -advantage * ratio, say, and its slopes.
struct SurrogateStep {
  double value = 0;
  double by_log_ratio = 0;  // the log of SurrogatePoint::ratio
  double by_log_prob = 0;   // directly, without the ratio
  ClipSide clipped = ClipSide::kNone;
  bool dual_clipped = false;
};

// Fractions of clipped tokens, or of sequences where ratios are theirs.
struct ClipShares {
  WeightedSum low, high, dual;
  double low_min = 1, high_max = 0;  // over sequences

  void Add(double low_count, double high_count, double dual_count,
           double scored, bool per_sequence) {
    const double weight = per_sequence ? 1 : scored;
    low.sum += weight * low_count / scored;
    high.sum += weight * high_count / scored;
    dual.sum += weight * dual_count / scored;
    low.weight += weight;
    high.weight = dual.weight = low.weight;
    low_min = std::min(low_min, low_count / scored);
    high_max = std::max(high_max, high_count / scored);
  }
};

// One batch under one rule. A Rule is called as rule(SurrogatePoint) and has
// kOwnSamplerWeights: it takes sampler weights in itself, in Begin(). It may
// have
//   void Begin(in, sampler, sequence, sampler_weights): before its tokens
//   ValueSlope Limit(log_ratio, advantage): what enters a sequence's ratio
//   void AddMetrics(const ClipShares&, metrics)
template <class Rule>
class SurrogateLoop {
 public:
  SurrogateLoop(const PolicyInputs& in, const PolicyTerms& terms,
                RatioLevel level, Rule rule)
      : in_(in),
        terms_(terms),
        level_(level),
        rule_(std::move(rule)),
        tokens_(ScoredTokens(in)),
        shares_(
            SharesOf(terms.aggregation, tokens_, in.max_completion_length)) {
    if (terms.sampler.active()) {
      sampler_weights_ = SamplerWeights(in, terms.sampler, tokens_);
    }
    weights_ = TokenWeights(
        in, terms,
        Rule::kOwnSamplerWeights ? Eigen::ArrayXd() : sampler_weights_);
    out_.weight = shares_.weight;
    out_.loss = out_.d_log_prob = Eigen::ArrayXd::Zero(in.log_prob.size());
    if (terms.entropy_coef != 0) {
      out_.d_entropy = Eigen::ArrayXd::Zero(in.log_prob.size());
    }
  }

  PolicyResult Run() {
    for (Eigen::Index i = 0; i < in_.sequences(); ++i) {
      if (tokens_[i] == 0) continue;
      if constexpr (requires {
                      rule_.Begin(in_, terms_.sampler, i, sampler_weights_);
                    }) {
        rule_.Begin(in_, terms_.sampler, i, sampler_weights_);
      }
      Sequence(i);
    }
    AddEntropy();
    AddMetrics();
    if (terms_.batch_weight == BatchWeight::kMicro && out_.weight > 0) {
      out_.loss /= out_.weight;
      out_.d_log_prob /= out_.weight;
      if (out_.d_entropy.size() > 0) out_.d_entropy /= out_.weight;
      out_.weight = 1;
    }
    return std::move(out_);
  }

 private:
  double LogRatio(Eigen::Index t) const {
    return in_.old_log_prob.size() == 0 ? 0.0
                                        : in_.log_prob[t] - in_.old_log_prob[t];
  }
  double Advantage(Eigen::Index i, Eigen::Index t) const {
    return in_.token_advantages.size() > 0 ? in_.token_advantages[t]
                                           : in_.advantages[i];
  }
  // What of a token's log-ratio enters its sequence's, and the slope.
  ValueSlope Limited(Eigen::Index i, Eigen::Index t) const {
    const double r = LogRatio(t);
    if constexpr (requires { rule_.Limit(r, r); }) {
      return rule_.Limit(r, Advantage(i, t));
    } else {
      return {r, 1.0};
    }
  }
  bool Spreads() const {
    return level_ == RatioLevel::kSequence ||
           level_ == RatioLevel::kSequenceProduct;
  }
  double SequenceDivisor(Eigen::Index i) const {
    return level_ == RatioLevel::kSequenceProduct ? 1.0 : tokens_[i];
  }

  void Sequence(Eigen::Index i) {
    const Eigen::Index begin = in_.offsets[i], end = in_.offsets[i + 1];
    const double factor = shares_.token_factor[i];
    const bool by_token = level_ == RatioLevel::kToken;
    const bool with_kl = terms_.beta != 0;
    const double limit = terms_.max_log_ratio;
    double log_ratio = 0, ratio = 0;
    if (!by_token) {
      for (Eigen::Index t = begin; t < end; ++t) {
        if (in_.Scored(t)) log_ratio += Limited(i, t).value;
      }
      log_ratio /= SequenceDivisor(i);
      ratio = std::exp(Clip(log_ratio, -limit, limit));
    }
    double low = 0, high = 0, dual = 0, spread = 0;
    for (Eigen::Index t = begin; t < end; ++t) {
      if (!in_.Scored(t)) continue;
      const double own_log_ratio = LogRatio(t);
      if (by_token) {
        log_ratio = own_log_ratio;
        ratio = std::exp(Clip(log_ratio, -limit, limit));
      }
      const SurrogateStep step = rule_(SurrogatePoint{
          in_.log_prob[t], ratio, Advantage(i, t), own_log_ratio});
      const double g = weights_.size() > 0 ? factor * weights_[t] : factor;
      double value = g * step.value;
      double direct = g * step.by_log_prob;
      double by_ratio = g * step.by_log_ratio;
      if (with_kl) {
        const ValueSlope kl =
            terms_.kl.At(in_.log_prob[t] - in_.reference_log_prob[t]);
        const double scale = terms_.use_bias_correction_kl ? ratio : 1.0;
        const double penalty = factor * terms_.beta * scale;
        value += penalty * kl.value;
        direct += penalty * kl.slope;
        if (terms_.use_bias_correction_kl) by_ratio += penalty * kl.value;
        kl_ += scale * kl.value;
      }
      if (std::abs(log_ratio) > limit) by_ratio = 0;
      out_.loss[t] = value;
      out_.d_log_prob[t] = Spreads() ? direct : direct + by_ratio;
      spread += by_ratio;
      low += step.clipped == ClipSide::kLow;
      high += step.clipped == ClipSide::kHigh;
      dual += step.dual_clipped;
      ratio_ += ratio;
      drift_ += own_log_ratio;
      square_ += own_log_ratio * own_log_ratio;
    }
    if (Spreads()) {
      spread /= SequenceDivisor(i);
      for (Eigen::Index t = begin; t < end; ++t) {
        if (in_.Scored(t)) out_.d_log_prob[t] += spread * Limited(i, t).slope;
      }
    }
    clips_.Add(low, high, dual, tokens_[i], Spreads());
  }

  // Takes entropy_coef times the mean entropy off the loss.
  void AddEntropy() {
    if (in_.entropy.size() == 0) return;
    const double tokens = tokens_.sum();
    const bool own_mean = terms_.entropy_average == EntropyAverage::kTokens;
    if (terms_.entropy_coef != 0) policy_loss_ = out_.loss.sum();
    for (Eigen::Index i = 0; i < in_.sequences(); ++i) {
      const double factor =
          own_mean ? out_.weight / tokens : shares_.token_factor[i];
      for (Eigen::Index t = in_.offsets[i]; t < in_.offsets[i + 1]; ++t) {
        if (!in_.Scored(t)) continue;
        entropy_ += in_.entropy[t];
        if (terms_.entropy_coef == 0) continue;
        out_.d_entropy[t] = -terms_.entropy_coef * factor;
        out_.loss[t] += out_.d_entropy[t] * in_.entropy[t];
      }
    }
  }

  void AddMetrics() {
    const double tokens = tokens_.sum();
    auto& metrics = out_.metrics;
    metrics.push_back({"val/ratio", {ratio_, tokens}});
    metrics.push_back({"policy/approxkl_avg", {0.5 * square_, tokens}});
    metrics.push_back({"actor/ppo_kl", {-drift_, tokens}});
    if (terms_.beta != 0) metrics.push_back({"kl", {kl_, tokens}});
    if (in_.entropy.size() > 0) {
      metrics.push_back({"entropy", {entropy_, tokens}});
    }
    if (terms_.entropy_coef != 0) {
      metrics.push_back({"policy_loss", {policy_loss_, out_.weight}});
    }
    if constexpr (requires { rule_.AddMetrics(clips_, metrics); }) {
      rule_.AddMetrics(clips_, metrics);
    }
    if (terms_.sampler.active()) {
      AddSamplerMetrics(in_, sampler_weights_, metrics);
    }
  }

  const PolicyInputs& in_;
  const PolicyTerms& terms_;
  RatioLevel level_;
  Rule rule_;
  Eigen::ArrayXd tokens_;  // [B] scored
  AggregationShares shares_;
  Eigen::ArrayXd sampler_weights_;  // [N] or empty
  Eigen::ArrayXd weights_;          // [N] or empty
  PolicyResult out_;
  ClipShares clips_;
  double kl_ = 0, ratio_ = 0, drift_ = 0, square_ = 0, entropy_ = 0;
  double policy_loss_ = 0;
};

// The loss of `rule` on a batch. Inputs as CheckPolicyInputs wants them.
template <class Rule>
PolicyResult SurrogateLoss(const PolicyInputs& in, const PolicyTerms& terms,
                           RatioLevel level, Rule rule) {
  return SurrogateLoop<Rule>(in, terms, level, std::move(rule)).Run();
}

}  // namespace align::losses
