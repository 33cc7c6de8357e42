#include "align/train/online_objective.h"

#include <span>
#include <string>
#include <utility>

#include "align/train/sequence_sums.h"
#include "losses/xpo.h"

namespace align::train {
namespace {

absl::StatusOr<ForwardPass<SampledPairScores>> Forward(
    const CoupledObjective<PreferenceBatch, PairScores>& objective,
    const SampledPairs& batch) {
  ForwardPass<SampledPairScores> pass;
  pass.scores = {.pairs = {},
                 .scores = batch.scores,
                 .stopped = batch.stopped,
                 .policy_won = batch.policy_won,
                 .prompts_left_out = batch.prompts_left_out};
  pass.backward = [](std::span<const float>, MicroStep&) {};
  if (batch.pairs() == 0) return pass;
  ALIGN_ASSIGN_OR_RETURN(ForwardPass<PairScores> pairs,
                         objective.forward(batch));
  pass.scores.pairs = std::move(pairs.scores);
  pass.backward = std::move(pairs.backward);
  return pass;
}

// What is known of the two replies to a prompt, chosen and rejected.
void AddSampleMetrics(const SampledPairScores& all, bool xpo,
                      MetricSums& metrics) {
  const size_t pairs = all.scores.size() / 2;
  metrics["frac_left_out"] = {
      all.prompts_left_out, all.prompts_left_out + static_cast<double>(pairs)};
  for (size_t i = 0; i < pairs; ++i) {
    Observe(metrics, "objective/scores_margin",
            all.scores[2 * i] - all.scores[2 * i + 1]);
    for (size_t k : {0, 1}) {
      const double score = all.scores[2 * i + k];
      const double stopped = all.stopped[2 * i + k];
      if (!xpo) {
        Observe(metrics, "objective/scores", score);
        Observe(metrics, "val/contain_eos_token", stopped);
        continue;
      }
      const bool own = (all.policy_won[i] != 0) == (k == 0);
      const std::string whose = own ? "model" : "ref";
      Observe(metrics, "objective/" + whose + "_scores", score);
      Observe(metrics, "val/" + whose + "_contain_eos_token", stopped);
    }
  }
}

// What the models say of them.
void AddLogProbMetrics(const SampledPairScores& all, double beta, bool xpo,
                       MetricSums& metrics) {
  const losses::PairInputs& in = all.pairs.inputs;
  const auto add = [&](const Eigen::ArrayXd& policy,
                       const Eigen::ArrayXd& reference, size_t k) {
    for (Eigen::Index i = 0; i < policy.size(); ++i) {
      Observe(metrics, "objective/entropy", -policy[i]);
      if (reference.size() == 0) continue;
      const double kl = policy[i] - reference[i];
      Observe(metrics, "objective/kl", kl);
      Observe(metrics, "objective/non_score_reward", -beta * kl);
      if (xpo) continue;
      Observe(metrics, "objective/rlhf_reward",
              all.scores[2 * i + k] - beta * kl);
    }
  };
  add(in.policy_chosen, in.reference_chosen, 0);
  add(in.policy_rejected, in.reference_rejected, 1);
}

// The two parts of XPO's loss.
void SplitLoss(const losses::PairInputs& in, double alpha, MicroStep& step) {
  const double bonus = losses::ExplorationBonus(in, alpha).sum();
  const auto pairs = static_cast<double>(in.policy_chosen.size());
  step.metrics["loss/xpo"] = {bonus, pairs};
  step.metrics["loss/dpo"] = {step.loss_sum - bonus, pairs};
  step.metrics["alpha"] = {alpha * pairs, pairs};
}

// What OnlinePairObjective evaluates with.
struct OnlinePairs {
  CoupledObjective<PreferenceBatch, PairScores> objective = {};
  double beta = 0, alpha = 0;
  bool xpo = false;

  absl::StatusOr<std::vector<SeededStep>> Evaluate(
      std::span<const SampledPairScores> all) const {
    std::vector<PairScores> pairs;
    for (const SampledPairScores& part : all) {
      if (!part.scores.empty()) pairs.push_back(part.pairs);
    }
    std::vector<SeededStep> of_pairs;
    if (!pairs.empty()) {
      ALIGN_ASSIGN_OR_RETURN(of_pairs, objective.evaluate(pairs));
    }
    std::vector<SeededStep> shares;
    size_t next = 0;
    for (const SampledPairScores& part : all) {
      SeededStep share;
      if (!part.scores.empty()) share = std::move(of_pairs[next++]);
      MetricSums& metrics = share.step.metrics;
      AddSampleMetrics(part, xpo, metrics);
      AddLogProbMetrics(part, beta, xpo, metrics);
      metrics["beta"] = {beta, 1};
      if (xpo) SplitLoss(part.pairs.inputs, alpha, share.step);
      shares.push_back(std::move(share));
    }
    return shares;
  }
};

void AddNashMetrics(const PolicyScores& scores, MetricSums& metrics) {
  const losses::PolicyInputs& in = scores.inputs;
  const bool reference = in.reference_log_prob.size() > 0;
  for (Eigen::Index i = 0; i < in.sequences(); ++i) {
    const Eigen::Index begin = in.offsets[i];
    const Eigen::Index count = in.offsets[i + 1] - begin;
    const double own = in.log_prob.segment(begin, count).sum();
    Observe(metrics, "logps/chosen", own);
    Observe(metrics, "objective/entropy", -own);
    Observe(metrics, "loss/score", in.advantages[i] * own);
    if (!reference) continue;
    const double other = in.reference_log_prob.segment(begin, count).sum();
    Observe(metrics, "logps/rejected", other);
    Observe(metrics, "loss/kl", own - other);
    Observe(metrics, "rewards/margins", own - other);
    Observe(metrics, "rewards/accuracies", own > other ? 1 : 0);
  }
}

}  // namespace

CoupledObjective<SampledPairs, SampledPairScores> OnlinePairObjective(
    const Model& model, ReferenceLogProbs reference, NamedPairLoss loss,
    const OnlinePairOptions& options) {
  OnlinePairs pairs = {
      .beta = loss.beta, .alpha = options.alpha, .xpo = loss.needs.policy_won};
  pairs.objective = PreferenceObjective(model, std::move(reference),
                                        std::move(loss), options.preference);
  return {.forward =
              [objective = pairs.objective](const SampledPairs& batch) {
                return Forward(objective, batch);
              },
          .evaluate =
              [pairs](std::span<const SampledPairScores> all) {
                return pairs.Evaluate(all);
              },
          .whole_step = pairs.objective.whole_step};
}

CoupledObjective<PolicyBatch, PolicyScores> NashObjective(
    const Model& policy, const NamedPolicyLoss& loss,
    const PolicyObjectiveOptions& options, double mixture_coef) {
  CoupledObjective<PolicyBatch, PolicyScores> objective =
      PolicyObjective(policy, loss, options);
  return {
      .forward = objective.forward,
      .evaluate = [evaluate = std::move(objective.evaluate), beta = loss.beta,
                   mixture_coef](std::span<const PolicyScores> all)
          -> absl::StatusOr<std::vector<SeededStep>> {
        ALIGN_ASSIGN_OR_RETURN(std::vector<SeededStep> shares, evaluate(all));
        for (size_t i = 0; i < shares.size(); ++i) {
          AddNashMetrics(all[i], shares[i].step.metrics);
          shares[i].step.metrics["beta"] = {beta, 1};
          shares[i].step.metrics["mixture_coef"] = {mixture_coef, 1};
        }
        return shares;
      },
      .whole_step = loss.needs.coupled};
}

}  // namespace align::train
