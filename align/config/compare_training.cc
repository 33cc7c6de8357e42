// The stages of `align compare` that learn from preferences.

#include <cmath>
#include <numbers>

#include "align/base/files.h"
#include "align/base/log.h"
#include "align/config/compare_plan.h"
#include "align/config/compare_stages.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "align/train/reward_objective.h"
#include "samplers/rejection.h"

namespace align {
namespace {

absl::Status SaveResult(const CompareContext& context, const Model& model) {
  return SaveModel(model, context.directory() + "/model",
                   TokenizerDirectory(context.config()));
}

void AddPair(const pb::SampledPrompt& prompt, int64_t chosen, int64_t rejected,
             pb::TokenPairs& pairs) {
  pb::TokenPair* pair = pairs.add_pairs();
  *pair->mutable_prompt() = prompt.prompt();
  *pair->mutable_chosen() = prompt.replies(chosen).tokens();
  *pair->mutable_rejected() = prompt.replies(rejected).tokens();
}

absl::StatusOr<std::vector<PairExample>> ReadPairs(
    const CompareContext& context, const std::string& stage) {
  const std::string path =
      StageDirectory(context.out(), stage) + "/pairs.binpb";
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
  pb::TokenPairs pairs;
  if (!pairs.ParseFromString(bytes)) {
    return DataLoss(path + ": not a file of pairs");
  }
  std::vector<PairExample> examples;
  for (const pb::TokenPair& pair : pairs.pairs()) {
    examples.push_back({.prompt = Ids(pair.prompt()),
                        .chosen = Ids(pair.chosen()),
                        .rejected = Ids(pair.rejected()),
                        .margin = 0,
                        .id = "#" + std::to_string(examples.size())});
  }
  return examples;
}

absl::StatusOr<train::Source<PreferenceBatch>> PairSource(
    const CompareContext& context, std::vector<PairExample> examples,
    const pb::StageTraining& training) {
  ALIGN_ASSIGN_OR_RETURN(
      PairLoader loader,
      PairLoader::Create(
          std::move(examples),
          {.batch_size = training.has_batch_size() ? training.batch_size() : 8,
           .epochs = 0,
           .seed = static_cast<uint64_t>(context.config().seed())}));
  const auto shared = std::make_shared<PairLoader>(std::move(loader));
  return [shared]() -> absl::StatusOr<std::optional<PreferenceBatch>> {
    return shared->Next();
  };
}

// Policy and reference from SFT, trained on pairs with a loss of the registry.
absl::Status TrainPreference(CompareContext& context,
                             std::vector<PairExample> pairs,
                             const pb::LossConfig& loss_config,
                             const pb::StageTraining& training) {
  std::vector<std::pair<std::string, std::string>> options;
  for (const pb::LossOption& option : loss_config.options()) {
    options.emplace_back(option.name(), option.value());
  }
  const std::string name =
      loss_config.has_name() ? loss_config.name() : "sigmoid";
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss,
                         train::MakePairLoss(name, options));
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> policy, context.LoadSft());
  const std::unique_ptr<Model> reference = CloneModel(*policy);
  policy->params().EnableGradients();
  ALIGN_ASSIGN_OR_RETURN(train::Source<PreferenceBatch> source,
                         PairSource(context, std::move(pairs), training));
  const auto check = [&](const train::StepReport& report)
      -> absl::StatusOr<train::ObserverResult> {
    if (report.step == 1) {
      std::optional<double> expected;
      if (name == "sigmoid") expected = std::numbers::ln2;
      ALIGN_RETURN_IF_ERROR(
          train::CheckInitialPreferenceStep(report, expected));
      LogInfo(context.stage() + ": at step 1 policy = reference" +
              (expected ? ", loss is ln 2" : ""));
    }
    return train::ObserverResult();
  };
  ALIGN_RETURN_IF_ERROR(context.Train(
      training,
      train::BindCoupled(
          std::move(source),
          train::PreferenceObjective(
              *policy,
              train::CachedReference(train::FrozenReference(*reference)), loss),
          training.accumulation()),
      {&policy->params()}, check));
  return SaveResult(context, *policy);
}

// Scores every reply with the reward model.
absl::Status ScoreReplies(const Model& reward_model, pb::Samples& samples) {
  std::vector<std::vector<int32_t>> prompts, replies;
  for (const pb::SampledPrompt& prompt : samples.prompts()) {
    for (const pb::SampledReply& reply : prompt.replies()) {
      prompts.push_back(Ids(prompt.prompt()));
      replies.push_back(Ids(reply.tokens()));
    }
  }
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<double> scores,
      train::RewardModelFunction(reward_model)(prompts, replies));
  size_t next = 0;
  for (pb::SampledPrompt& prompt : *samples.mutable_prompts()) {
    for (pb::SampledReply& reply : *prompt.mutable_replies()) {
      reply.set_score(scores[next++]);
    }
  }
  return absl::OkStatus();
}

using Pairing = std::vector<samplers::RankedPair> (*)(
    std::span<const int64_t> accepted, std::span<const double> rewards,
    Rng& rng);

absl::StatusOr<Pairing> PairingOf(const pb::CompareConfig::Rso& config) {
  if (!config.has_pairing() || config.pairing() == "first_round") {
    return samplers::FirstRoundPairs;
  }
  if (config.pairing() == "tournament") return samplers::TournamentPairs;
  if (config.pairing() == "neighbours") {
    return
        [](std::span<const int64_t> accepted, std::span<const double> rewards,
           Rng&) { return samplers::NeighbourPairs(accepted, rewards); };
  }
  return InvalidArgument("rso.pairing: '" + config.pairing() +
                         "'; expected first_round, tournament or neighbours");
}

absl::StatusOr<pb::TokenPairs> RejectionPairs(const CompareContext& context,
                                              const pb::Samples& samples) {
  const pb::CompareConfig::Rso& config = context.config().rso();
  ALIGN_ASSIGN_OR_RETURN(const auto rank, PairingOf(config));
  samplers::RejectionOptions options;
  if (config.has_accepted()) options.accept = config.accepted();
  if (config.has_beta()) options.beta = config.beta();
  pb::TokenPairs pairs;
  int64_t short_of = 0;
  double acceptance = 0;
  for (const pb::SampledPrompt& prompt : samples.prompts()) {
    std::vector<std::vector<int32_t>> keys;
    std::vector<double> scores;
    for (const pb::SampledReply& reply : prompt.replies()) {
      keys.push_back(Ids(reply.tokens()));
      scores.push_back(reply.score());
    }
    Rng rng = context.rng().Fork("reject").Fork(prompt.number());
    ALIGN_ASSIGN_OR_RETURN(
        const samplers::RejectionResult result,
        samplers::RejectionSample(std::span<const std::vector<int32_t>>(keys),
                                  scores, options, rng));
    short_of += result.short_of;
    acceptance += result.expected_acceptance / samples.prompts_size();
    for (const samplers::RankedPair& pair :
         rank(result.accepted, scores, rng)) {
      AddPair(prompt, pair.chosen, pair.rejected, pairs);
    }
  }
  LogInfo("rso: " + std::to_string(pairs.pairs_size()) +
          " pairs, first-pass acceptance " + std::to_string(acceptance) +
          ", short of " + std::to_string(short_of) + " distinct candidates");
  return pairs;
}

}  // namespace

// Writes pairs.binpb: replies of the SFT policy to the training prompts, two at
// a time, labelled by the judge with Bradley-Terry noise, P(first preferred) =
// sigmoid((gold_1 - gold_2) / label_temperature).
absl::Status MakePairs(CompareContext& context) {
  const pb::CompareConfig::Pairs& config = context.config().pairs();
  const int64_t count =
      config.has_samples_per_prompt() ? config.samples_per_prompt() : 2;
  const double temperature =
      config.has_label_temperature() ? config.label_temperature() : 1;
  if (count < 2 || !(temperature > 0)) {
    return InvalidArgument(
        "pairs: expected samples_per_prompt >= 2 and label_temperature > 0");
  }
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> policy,
                         context.LoadSft());
  ALIGN_ASSIGN_OR_RETURN(const pb::Samples prompts,
                         context.ReadSamples("prompts", "train.binpb"));
  ALIGN_ASSIGN_OR_RETURN(
      const pb::Samples samples,
      context.Sample(*policy, prompts, count, context.rng()));
  pb::TokenPairs pairs;
  for (const pb::SampledPrompt& prompt : samples.prompts()) {
    Rng rng = context.rng().Fork("label").Fork(prompt.number());
    for (int64_t k = 0; k + 1 < count; k += 2) {
      const pb::SampledReply& a = prompt.replies(k);
      const pb::SampledReply& b = prompt.replies(k + 1);
      if (Ids(a.tokens()) == Ids(b.tokens())) continue;
      const double first =
          1 / (1 + std::exp((b.gold() - a.gold()) / temperature));
      const bool wins = rng.Uniform() < first;
      AddPair(prompt, wins ? k : k + 1, wins ? k + 1 : k, pairs);
    }
  }
  context.record().set_models_held(1);
  return context.Write("pairs.binpb", pairs);
}

// Writes model/: the SFT trunk with a reward head, trained on the pairs.
absl::Status TrainRewardModel(CompareContext& context) {
  ALIGN_ASSIGN_OR_RETURN(std::vector<PairExample> pairs,
                         ReadPairs(context, "pairs"));
  ALIGN_ASSIGN_OR_RETURN(
      std::unique_ptr<Model> model,
      LoadRewardModel(SftModelDirectory(context.config(), context.out()),
                      context.rng().Fork("head")));
  model->params().SetPrecision(context.precision());
  model->params().EnableGradients();
  const pb::StageTraining& training = context.config().reward_model();
  ALIGN_ASSIGN_OR_RETURN(train::Source<PreferenceBatch> source,
                         PairSource(context, std::move(pairs), training));
  ALIGN_RETURN_IF_ERROR(context.Train(
      training,
      train::Bind(std::move(source),
                  train::RewardObjective(*model, train::BradleyTerry())),
      {&model->params()}));
  context.record().set_models_held(1);
  return SaveResult(context, *model);
}

// Writes model/: the SFT policy trained on the pairs.
absl::Status TrainDpo(CompareContext& context) {
  ALIGN_ASSIGN_OR_RETURN(std::vector<PairExample> pairs,
                         ReadPairs(context, "pairs"));
  context.record().set_models_held(2);  // policy, reference
  return TrainPreference(context, std::move(pairs),
                         context.config().dpo().loss(),
                         context.config().dpo().training());
}

// Writes pairs.binpb and model/: candidates of the SFT policy, rejection by the
// reward model (Liu et al. 2023, algorithm 1), pairs, and a pair loss.
absl::Status TrainRso(CompareContext& context) {
  const pb::CompareConfig::Rso& config = context.config().rso();
  {
    ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> policy,
                           context.LoadSft());
    ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> reward_model,
                           context.LoadTrainedRewardModel());
    ALIGN_ASSIGN_OR_RETURN(const pb::Samples prompts,
                           context.ReadSamples("prompts", "train.binpb"));
    ALIGN_ASSIGN_OR_RETURN(
        pb::Samples samples,
        context.Sample(*policy, prompts,
                       config.has_candidates() ? config.candidates() : 64,
                       context.rng()));
    ALIGN_RETURN_IF_ERROR(ScoreReplies(*reward_model, samples));
    ALIGN_ASSIGN_OR_RETURN(const pb::TokenPairs pairs,
                           RejectionPairs(context, samples));
    ALIGN_RETURN_IF_ERROR(context.Write("pairs.binpb", pairs));
  }
  ALIGN_ASSIGN_OR_RETURN(std::vector<PairExample> pairs,
                         ReadPairs(context, "rso"));
  context.record().set_models_held(2);  // at any time
  return TrainPreference(context, std::move(pairs), config.loss(),
                         config.training());
}

}  // namespace align
