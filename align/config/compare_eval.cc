// The stages of `align compare` that measure a method on held-out prompts.

#include <algorithm>

#include "align/config/compare_plan.h"
#include "align/config/compare_stages.h"
#include "align/train/reference.h"
#include "samplers/rejection.h"

namespace align {
namespace {

// log p of every reply under `reference`, a few prompts at a time.
absl::Status ScoreUnder(const Model& reference, double temperature,
                        pb::Samples& samples) {
  const train::ReferenceLogProbs score =
      train::FrozenReference(reference, temperature);
  for (pb::SampledPrompt& prompt : *samples.mutable_prompts()) {
    PackedBatch batch;
    const int32_t prefix = batch.AppendPrompt(Ids(prompt.prompt()));
    for (const pb::SampledReply& reply : prompt.replies()) {
      batch.AppendCompletion(prefix, Ids(reply.tokens()));
    }
    ALIGN_ASSIGN_OR_RETURN(const std::vector<float> log_probs, score(batch));
    std::vector<double> sums(batch.sequences, 0.0);
    for (size_t i = 0; i < log_probs.size(); ++i) {
      sums[batch.scored[i].sequence] += log_probs[i];
    }
    for (int k = 0; k < prompt.replies_size(); ++k) {
      prompt.mutable_replies(k)->set_reference_log_prob(sums[k]);
    }
  }
  return absl::OkStatus();
}

// Keeps of every n consecutive replies the one that the reward model scores
// highest.
absl::Status KeepBest(const Model& reward_model, int64_t n,
                      pb::Samples& samples) {
  const train::RewardFunction score = train::RewardModelFunction(reward_model);
  for (pb::SampledPrompt& prompt : *samples.mutable_prompts()) {
    std::vector<std::vector<int32_t>> replies;
    for (const pb::SampledReply& r : prompt.replies()) {
      replies.push_back(Ids(r.tokens()));
    }
    const std::vector<std::vector<int32_t>> prompts(replies.size(),
                                                    Ids(prompt.prompt()));
    ALIGN_ASSIGN_OR_RETURN(const std::vector<double> scores,
                           score(prompts, replies));
    pb::SampledPrompt kept;
    for (size_t first = 0; first + n <= scores.size(); first += n) {
      const int64_t best =
          samplers::BestOfN(std::span(scores).subspan(first, n));
      *kept.add_replies() = prompt.replies(static_cast<int>(first + best));
    }
    prompt.mutable_replies()->Swap(kept.mutable_replies());
  }
  return absl::OkStatus();
}

}  // namespace

// Writes samples.binpb: judged replies to the held-out prompts, with their
// log-probabilities under the SFT policy. Every method draws from the same
// random streams.
absl::Status Evaluate(CompareContext& context, const std::string& method) {
  const pb::CompareConfig& config = context.config();
  const bool trained = method != "sft" && method != "best_of_n";
  ALIGN_ASSIGN_OR_RETURN(
      const std::unique_ptr<Model> policy,
      trained ? context.Load(StageDirectory(context.out(), method) + "/model")
              : context.LoadSft());
  ALIGN_ASSIGN_OR_RETURN(const pb::Samples prompts,
                         context.ReadSamples("prompts", "eval.binpb"));
  const int64_t count = config.has_eval_samples() ? config.eval_samples() : 1;
  const int64_t n = method != "best_of_n"        ? 1
                    : config.best_of_n().has_n() ? config.best_of_n().n()
                                                 : 8;
  if (n < 1 || count < 1) {
    return InvalidArgument("expected best_of_n.n >= 1 and eval_samples >= 1");
  }
  ALIGN_ASSIGN_OR_RETURN(pb::Samples samples,
                         context.Sample(*policy, prompts, count * n,
                                        Rng(config.seed()).Fork("eval")));
  context.record().set_models_held(1);
  if (method == "best_of_n") {
    ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> reward_model,
                           context.LoadTrainedRewardModel());
    ALIGN_RETURN_IF_ERROR(KeepBest(*reward_model, n, samples));
    context.record().set_models_held(2);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> reference,
                         context.LoadSft());
  ALIGN_RETURN_IF_ERROR(
      ScoreUnder(*reference, context.sampling().temperature, samples));
  return context.Write("samples.binpb", samples);
}

}  // namespace align
