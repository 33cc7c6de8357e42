#include "align/train/pair_scores.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "align/ops/token_scores.h"
#include "align/train/router_balance.h"
#include "align/train/sequence_sums.h"

namespace align::train {
namespace {

absl::Status Check(const Model& model, const losses::PairNeeds& needs,
                   const PreferenceBatch& batch) {
  const PackedBatch& packed = batch.packed;
  if (packed.sequences % 2 != 0 || packed.scored.empty()) {
    return InvalidArgument("preference batch of " +
                           std::to_string(packed.sequences) + " replies, " +
                           std::to_string(packed.scored.size()) +
                           " scored tokens; expected pairs of replies");
  }
  const auto pairs = static_cast<size_t>(batch.pairs());
  if (needs.reward_margin && batch.margins.size() != pairs) {
    return InvalidArgument("preference batch of " + std::to_string(pairs) +
                           " pairs and " +
                           std::to_string(batch.margins.size()) +
                           " margins; the loss expects one a pair");
  }
  if (needs.policy_won && batch.policy_won.size() != pairs) {
    return InvalidArgument(
        "preference batch of " + std::to_string(pairs) + " pairs, " +
        std::to_string(batch.policy_won.size()) +
        " of them known as a sample of the policy and one of the reference; "
        "the loss expects all");
  }
  return model.CheckTokens(packed.tokens, packed.segments);
}

// Replies alternate: chosen, rejected.
enum Reply { kChosen, kRejected };

// Every second value, from that of the first pair's `reply`.
template <class Values>
Eigen::ArrayXd Take(const Values& values, Reply reply) {
  Eigen::ArrayXd taken(static_cast<Eigen::Index>(values.size() / 2));
  for (Eigen::Index i = 0; i < taken.size(); ++i) {
    taken[i] = static_cast<double>(values[2 * i + reply]);
  }
  return taken;
}

// One token a scored token; prompts are not among them.
std::vector<PairToken> ReplyTokens(const PackedBatch& packed) {
  const std::vector<int64_t> offsets = packed.ScoredOffsets();
  std::vector<PairToken> tokens;
  for (int32_t s = 0; s < packed.sequences; ++s) {
    const int32_t w = s - s % 2;
    const int64_t shorter =
        std::min(offsets[w + 1] - offsets[w], offsets[w + 2] - offsets[w + 1]);
    for (int64_t i = 0; i < offsets[s + 1] - offsets[s]; ++i) {
      tokens.push_back(
          {.pair = s / 2, .chosen = s % 2 == kChosen, .head = i < shorter});
    }
  }
  return tokens;
}

// The tokens that chosen replies continue, each scored where it is predicted.
std::vector<ScoredToken> PromptTokens(const PackedBatch& packed) {
  const std::vector<int64_t> offsets = packed.ScoredOffsets();
  std::vector<int32_t> owner(packed.rows());
  for (int32_t s = 0; s < packed.segments.count(); ++s) {
    const Segment& segment = packed.segments[s];
    std::fill_n(owner.begin() + segment.begin, segment.length, s);
  }
  std::vector<ScoredToken> tokens;
  for (int32_t s = kChosen; s < packed.sequences; s += 2) {
    // The row that predicts the reply's first token ends the prompt.
    const bool empty = offsets[s] == offsets[s + 1];
    const int32_t last =
        empty ? packed.last_rows[s] : packed.scored[offsets[s]].row;
    int32_t before = -1;
    for (int32_t index : packed.segments.Chain(owner[last])) {
      const Segment& segment = packed.segments[index];
      for (int64_t r = segment.begin; r < segment.begin + segment.length; ++r) {
        if (index == owner[last] && r > last) break;
        const auto row = static_cast<int32_t>(r);
        if (before >= 0) tokens.push_back({before, packed.tokens[row], s});
        before = row;
      }
    }
  }
  return tokens;
}

// The sums of `values` [R] over each reply's head.
std::vector<double> HeadSums(std::span<const float> values,
                             const std::vector<PairToken>& tokens,
                             const PackedBatch& packed) {
  std::vector<float> heads(values.begin(), values.end());
  for (size_t i = 0; i < heads.size(); ++i) {
    if (!tokens[i].head) heads[i] = 0;
  }
  return SumBySequence(heads, packed);
}

// The means over each reply's tokens of log p - log sum_v p_v^2.
std::vector<double> LogWeights(const TokenScores& scores,
                               const PackedBatch& packed) {
  std::vector<double> means(packed.sequences, 0.0);
  std::vector<double> counts(packed.sequences, 0.0);
  for (size_t i = 0; i < packed.scored.size(); ++i) {
    const int32_t s = packed.scored[i].sequence;
    means[s] += scores.log_probs()[i] -
                std::log(double{scores.statistics.sum_squares[i]});
    counts[s] += 1;
  }
  for (size_t s = 0; s < means.size(); ++s)
    means[s] /= std::max(counts[s], 1.0);
  return means;
}

void SetReplySums(const losses::PairNeeds& needs, std::span<const float> policy,
                  std::span<const float> reference,
                  const std::vector<PairToken>& tokens,
                  const PackedBatch& packed, losses::PairInputs& pairs) {
  const auto set = [&](const std::vector<double>& sums, Eigen::ArrayXd& chosen,
                       Eigen::ArrayXd& rejected) {
    chosen = Take(sums, kChosen);
    rejected = Take(sums, kRejected);
  };
  const std::vector<int64_t> offsets = packed.ScoredOffsets();
  std::vector<double> counts;
  for (int32_t s = 0; s < packed.sequences; ++s) {
    counts.push_back(static_cast<double>(offsets[s + 1] - offsets[s]));
  }
  set(counts, pairs.chosen_tokens, pairs.rejected_tokens);
  set(SumBySequence(policy, packed), pairs.policy_chosen,
      pairs.policy_rejected);
  if (needs.heads) {
    set(HeadSums(policy, tokens, packed), pairs.policy_chosen_head,
        pairs.policy_rejected_head);
  }
  if (reference.empty()) return;
  set(SumBySequence(reference, packed), pairs.reference_chosen,
      pairs.reference_rejected);
  if (needs.heads) {
    set(HeadSums(reference, tokens, packed), pairs.reference_chosen_head,
        pairs.reference_rejected_head);
  }
}

// NLL of the chosen replies and of their prompts, the scores of which follow
// those of the replies.
void SetPromptNll(std::span<const float> log_probs,
                  const std::vector<ScoredToken>& prompts, size_t first,
                  losses::PairInputs& pairs) {
  pairs.chosen_nll = -pairs.policy_chosen;
  pairs.chosen_nll_tokens = pairs.chosen_tokens;
  for (size_t i = 0; i < prompts.size(); ++i) {
    pairs.chosen_nll[prompts[i].sequence / 2] -= log_probs[first + i];
    pairs.chosen_nll_tokens[prompts[i].sequence / 2] += 1;
  }
}

void AddMetrics(const losses::PairInputs& pairs, const TokenScores& scores,
                const PackedBatch& packed, const PairScoreOptions& options,
                MetricSums& metrics) {
  const bool given = pairs.chosen_nll.size() > 0;
  for (Eigen::Index i = 0; i < pairs.policy_chosen.size(); ++i) {
    Observe(metrics, "logps/chosen", pairs.policy_chosen[i]);
    Observe(metrics, "logps/rejected", pairs.policy_rejected[i]);
    Observe(metrics, "nll_loss",
            given ? pairs.chosen_nll[i] : -pairs.policy_chosen[i],
            given ? pairs.chosen_nll_tokens[i] : pairs.chosen_tokens[i]);
  }
  metrics["num_tokens"] = Total(static_cast<double>(packed.rows()));
  for (size_t i = 0; i < packed.scored.size(); ++i) {
    if (options.entropy) Observe(metrics, "entropy", scores.entropies()[i]);
    if (!options.statistics) continue;
    const bool chosen = packed.scored[i].sequence % 2 == kChosen;
    Observe(metrics, chosen ? "logits/chosen" : "logits/rejected",
            scores.statistics.mean_logit[i]);
    if (chosen) {
      Observe(metrics, "mean_token_accuracy",
              scores.statistics.label_is_argmax[i]);
    }
  }
}

}  // namespace

absl::StatusOr<ForwardPass<PairScores>> ScorePairBatch(
    const Model& model, const ReferenceLogProbs& reference,
    const losses::PairNeeds& needs, const PairScoreOptions& options,
    const PreferenceBatch& batch) {
  ALIGN_RETURN_IF_ERROR(Check(model, needs, batch));
  const PackedBatch& packed = batch.packed;
  std::vector<float> reference_log_probs;
  if (reference) {
    ALIGN_ASSIGN_OR_RETURN(reference_log_probs, reference(packed));
  }
  std::vector<ScoredToken> prompts;
  if (needs.prompt_nll) prompts = PromptTokens(packed);
  std::vector<ScoredToken> scored = packed.scored;
  scored.insert(scored.end(), prompts.begin(), prompts.end());
  RouterBalance balance(model);
  const TokenScores scores =
      ScoreTokens(balance.Hidden(packed, RowsOf(scored)), model.Head(), scored,
                  {.entropy = options.entropy,
                   .statistics = options.statistics || needs.log_weights});

  const size_t replies = packed.scored.size();
  PairScores out;
  out.outputs = scores.values.size();
  out.tokens = ReplyTokens(packed);
  SetReplySums(needs, scores.log_probs().subspan(0, replies),
               reference_log_probs, out.tokens, packed, out.inputs);
  if (needs.log_weights) {
    const std::vector<double> weights = LogWeights(scores, packed);
    out.inputs.chosen_log_weight = Take(weights, kChosen);
    out.inputs.rejected_log_weight = Take(weights, kRejected);
  }
  if (needs.reward_margin) {
    out.inputs.reward_margin = Eigen::Map<const Eigen::ArrayXd>(
        batch.margins.data(), static_cast<Eigen::Index>(batch.margins.size()));
  }
  if (needs.policy_won) {
    out.inputs.policy_won =
        Eigen::Map<const Eigen::Array<uint8_t, Eigen::Dynamic, 1>>(
            batch.policy_won.data(), batch.pairs())
            .cast<double>();
  }
  if (needs.prompt_nll) {
    SetPromptNll(scores.log_probs(), prompts, replies, out.inputs);
  }
  for (const ScoredToken& token : prompts) {
    out.tokens.push_back(
        {.pair = token.sequence / 2, .chosen = true, .prompt = true});
  }
  out.step.record_ids = batch.ids;
  out.step.weight = static_cast<double>(batch.pairs());
  AddMetrics(out.inputs, scores, packed, options, out.step.metrics);
  return ForwardPass<PairScores>{
      std::move(out), BalancedBackward(scores.values, std::move(balance))};
}

}  // namespace align::train
