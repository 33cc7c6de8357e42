#pragma once

// Advantages of tokens from what follows them: GAE, REINFORCE++, ReMax.

#include <cmath>
#include <vector>

#include "losses/advantages.h"
#include "losses/gae.h"
#include "losses/numerics.h"
#include "losses/options.h"
#include "losses/sequence_rewards.h"

namespace align::losses {

// How advantages are whitened over the scored tokens of a batch.
struct AdvantageWhitening {
  bool whiten = true;
  bool unbiased = true;

  void Describe(OptionList& list) {
    list.Flag("whiten_advantages", &whiten,
              "mean 0 and deviation 1 over the batch's scored tokens (TRL, "
              "verl, OpenRLHF)");
    list.Flag("whiten_unbiased", &unbiased,
              "with Bessel's correction (TRL, verl) or without (false: "
              "OpenRLHF)");
  }
  Eigen::ArrayXd Apply(const Eigen::ArrayXd& values,
                       const Eigen::ArrayXd& mask) const {
    if (!whiten) return (mask != 0.0).select(values, 0.0);
    return WhitenedWithin(values, mask, {.bessel = unbiased});
  }
};

// What a token with mask 0 inside a sequence is to GAE.
enum class GaeHoles { kSkip, kZero };

struct GaeEstimatorOptions {
  GaeOptions gae;
  bool whiten_rewards = false;
  GaeHoles holes = GaeHoles::kSkip;
  AdvantageWhitening whitening;

  void Describe(OptionList& list) {
    list.Number("gamma", &gae.gamma, {.low = 0, .high = 1}, "discount a token");
    list.Number("lambda", &gae.lambda, {.low = 0, .high = 1},
                "0 trusts the critic, 1 the rewards: TRL 0.95, OpenRLHF 1");
    list.Flag("whiten_rewards", &whiten_rewards,
              "deviation 1 over the batch's rewards, their mean kept (TRL)");
    list.Choice("holes", &holes,
                {{"skip", GaeHoles::kSkip}, {"zero", GaeHoles::kZero}},
                "a token with mask 0 between scored ones is not there (skip: "
                "verl) or a step without reward and value (zero: TRL 0.7, "
                "OpenRLHF)");
    whitening.Describe(list);
  }
  AdvantageNeeds Needs() const {
    return {.values = true, .whole_batch = whiten_rewards || whitening.whiten};
  }
};

// Gae of each sequence, its score on its last scored token. Returns are formed
// before advantages are whitened. Huang et al. 2024 (arXiv 2403.17031), 13-17.
inline AdvantageResult GaeAdvantages(const AdvantageInputs& in,
                                     const GaeEstimatorOptions& options) {
  const Eigen::ArrayXd scores = SumRewards(in);
  const Eigen::ArrayXd mask = ScorableMask(in, scores);
  Eigen::ArrayXd rewards = TokenRewards(in, scores);
  if (options.whiten_rewards) {
    rewards = WhitenedWithin(rewards, mask, {.shift_mean = false});
  }
  const bool skip = options.holes == GaeHoles::kSkip;
  const Eigen::ArrayXd values = (mask != 0.0).select(in.values, 0.0);
  AdvantageResult out;
  out.returns = out.token_advantages = Eigen::ArrayXd::Zero(rewards.size());
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    const Eigen::Index begin = in.offsets[i];
    const Eigen::Index length = in.offsets[i + 1] - begin;
    const GaeResult row =
        Gae(rewards.segment(begin, length), values.segment(begin, length),
            options.gae,
            skip ? mask.segment(begin, length).eval() : Eigen::ArrayXd());
    out.token_advantages.segment(begin, length) = row.advantages;
    out.returns.segment(begin, length) = row.returns;
  }
  out.returns = (mask != 0.0).select(out.returns, 0.0);
  out.token_advantages = options.whitening.Apply(out.token_advantages, mask);
  return out;
}

// ReturnsToGo of each sequence, [N].
inline Eigen::ArrayXd ReturnsOfSequences(const AdvantageInputs& in,
                                         const Eigen::ArrayXd& rewards,
                                         double gamma,
                                         const Eigen::ArrayXd& mask) {
  Eigen::ArrayXd out(rewards.size());
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    const Eigen::Index begin = in.offsets[i];
    const Eigen::Index length = in.offsets[i + 1] - begin;
    out.segment(begin, length) = ReturnsToGo(
        rewards.segment(begin, length), gamma, mask.segment(begin, length));
  }
  return out;
}

struct ReinforcePlusPlusOptions {
  double gamma = 1;
  AdvantageWhitening whitening;

  void Describe(OptionList& list) {
    list.Number("gamma", &gamma, {.low = 0, .high = 1}, "discount a token");
    whitening.Describe(list);
  }
  AdvantageNeeds Needs() const { return {.whole_batch = whitening.whiten}; }
};

// What follows a token, whitened over the batch. Hu et al. 2025 (arXiv
// 2501.03262), section 3.
inline AdvantageResult ReinforcePlusPlusAdvantages(
    const AdvantageInputs& in, const ReinforcePlusPlusOptions& options) {
  const Eigen::ArrayXd scores = SumRewards(in);
  const Eigen::ArrayXd mask = ScorableMask(in, scores);
  AdvantageResult out;
  out.returns =
      ReturnsOfSequences(in, TokenRewards(in, scores), options.gamma, mask);
  out.token_advantages = options.whitening.Apply(out.returns, mask);
  return out;
}

// What a token of REINFORCE++'s baseline form earns.
enum class BaselineReturns { kSequence, kTokens };

struct ReinforceBaselineOptions {
  BaselineReturns returns = BaselineReturns::kSequence;
  AdvantageWhitening whitening;

  void Describe(OptionList& list) {
    list.Choice("returns", &returns,
                {{"sequence", BaselineReturns::kSequence},
                 {"tokens", BaselineReturns::kTokens}},
                "a token's return is all that its sequence earned, KL "
                "included, less the prompt's mean (sequence: verl), or what "
                "follows it, the mean taken off the scores alone (tokens: "
                "OpenRLHF)");
    whitening.Describe(list);
  }
  AdvantageNeeds Needs() const {
    return {.groups = true, .whole_batch = whitening.whiten};
  }
};

// REINFORCE++ with the mean of the prompt's samples as baseline. Hu et al. 2025
// (arXiv 2501.03262), section 3.
inline AdvantageResult ReinforceBaselineAdvantages(
    const AdvantageInputs& in, const ReinforceBaselineOptions& options) {
  const bool by_token = options.returns == BaselineReturns::kTokens;
  Eigen::ArrayXd scores = by_token ? SumRewards(in) : SequenceRewards(in);
  const Eigen::ArrayXd mask = ScorableMask(in, scores);
  const std::vector<SampleStatistics> group =
      StatisticsOfGroups(scores, in.groups);
  AdvantageResult out;
  out.reward_std.resize(scores.size());
  for (Eigen::Index i = 0; i < scores.size(); ++i) {
    // A prompt's only sample has no baseline, in verl too.
    if (group[i].count > 1) scores[i] -= group[i].Mean();
    out.reward_std[i] = group[i].StandardDeviation();
  }
  Eigen::ArrayXd returns = Eigen::ArrayXd::Zero(in.offsets.back());
  if (by_token) {
    returns = ReturnsOfSequences(in, TokenRewards(in, scores), 1, mask);
  } else {
    for (Eigen::Index i = 0; i < scores.size(); ++i) {
      const Eigen::Index begin = in.offsets[i];
      if (!std::isnan(scores[i])) {
        returns.segment(begin, in.offsets[i + 1] - begin) = scores[i];
      }
    }
  }
  out.token_advantages = options.whitening.Apply(returns, mask);
  return out;
}

struct RemaxOptions {
  void Describe(OptionList& /*list*/) {}
  AdvantageNeeds Needs() const { return {.baselines = true}; }
};

// What follows a token less the reward of the prompt's greedy completion. Li et
// al. 2023 (arXiv 2310.10505), eq. 5.
inline AdvantageResult RemaxAdvantages(const AdvantageInputs& in,
                                       const RemaxOptions& /*options*/) {
  const Eigen::ArrayXd scores = SumRewards(in);
  const Eigen::ArrayXd mask = ScorableMask(in, scores);
  AdvantageResult out;
  out.returns = ReturnsOfSequences(in, TokenRewards(in, scores), 1, mask);
  out.token_advantages = Eigen::ArrayXd::Zero(out.returns.size());
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    for (Eigen::Index t = in.offsets[i]; t < in.offsets[i + 1]; ++t) {
      if (mask[t] != 0) {
        out.token_advantages[t] = out.returns[t] - in.baselines[i];
      }
    }
  }
  return out;
}

}  // namespace align::losses
