#include "align/eval/policy_eval.h"

#include <utility>

#include "align/ops/packed_batch.h"

namespace align {
namespace {

// Rows of a batch that is scored without gradients, unless one reply has more.
constexpr int64_t kMaxRows = 4096;

// log p of every whole reply under `reference`, in nats.
absl::StatusOr<std::vector<double>> ReplyLogProbs(
    std::span<const std::vector<int32_t>> prompts,
    std::span<const std::vector<int32_t>> replies,
    const train::ReferenceLogProbs& reference) {
  std::vector<double> sums;
  PackedBatch batch;
  for (size_t i = 0; i < replies.size(); ++i) {
    batch.AppendCompletion(batch.AppendPrompt(prompts[i]), replies[i]);
    const size_t next = i + 1;
    if (next < replies.size() &&
        batch.rows() + static_cast<int64_t>(prompts[next].size() +
                                            replies[next].size()) <=
            kMaxRows) {
      continue;
    }
    ALIGN_ASSIGN_OR_RETURN(const std::vector<float> log_probs,
                           reference(batch));
    const size_t first = sums.size();
    sums.resize(next, 0.0);
    for (size_t t = 0; t < log_probs.size(); ++t) {
      sums[first + batch.scored[t].sequence] += log_probs[t];
    }
    batch = PackedBatch();
  }
  return sums;
}

}  // namespace

absl::StatusOr<PolicyEvaluation> EvaluatePolicy(
    const Model& policy, std::span<const std::vector<int32_t>> prompts,
    const train::RewardFunction& reward,
    const train::ReferenceLogProbs& reference,
    const samplers::SamplingOptions& sampling, const Rng& rng) {
  if (prompts.empty()) {
    return InvalidArgument("evaluation: no prompts; expected at least one");
  }
  // A greedy reply is no sample, so its log-ratio says nothing of the KL.
  if (!(sampling.temperature > 0)) {
    return InvalidArgument("evaluation: temperature " +
                           std::to_string(sampling.temperature) +
                           "; expected a number above 0");
  }
  PolicyEvaluation evaluation;
  ALIGN_ASSIGN_OR_RETURN(evaluation.replies,
                         samplers::Generate(policy, prompts, 1, sampling, rng));
  std::vector<std::vector<int32_t>> replies;
  std::vector<double> log_probs;
  for (const samplers::Completion& reply : evaluation.replies) {
    replies.push_back(reply.tokens);
    evaluation.tokens += static_cast<int64_t>(reply.tokens.size());
    double sum = 0;
    for (float log_prob : reply.log_probs) sum += log_prob;
    log_probs.push_back(sum);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::vector<double> rewards,
                         reward(prompts, replies));
  ALIGN_RETURN_IF_ERROR(train::CheckRewards(rewards, replies.size()));
  evaluation.reward = MeanAndError(rewards);
  ALIGN_ASSIGN_OR_RETURN(const std::vector<double> reference_log_probs,
                         ReplyLogProbs(prompts, replies, reference));
  evaluation.kl = MeanLogRatio(log_probs, reference_log_probs);
  return evaluation;
}

}  // namespace align
