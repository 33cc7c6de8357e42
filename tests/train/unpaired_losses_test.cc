// Every loss on single replies through the real objective, on a tiny Llama.

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "align/data/loader.h"
#include "align/train/checkpoint.h"
#include "align/train/unpaired_objective.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/tiny_model.h"
#include "tests/train/loss_checks.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

struct Setting {
  std::string name;
  losses::OptionValues values = {};
};

// Every entry of the registry, and what options change of its inputs.
std::vector<Setting> AllLosses() {
  std::vector<Setting> all;
  for (const losses::UnpairedLossEntry& entry : losses::UnpairedLosses()) {
    all.push_back({entry.name});
  }
  for (const Setting& setting : std::vector<Setting>{
           {"kto", {{"kl", "given"}, {"kl_value", "0.5"}}},
           {"kto", {{"undesirable_weight", "1.3"}, {"beta", "0.3"}}},
           {"bco", {{"delta", "batch"}}},
           {"bco", {{"udm", "true"}}},
           {"bco", {{"delta", "given"}, {"delta_value", "0.2"}}}}) {
    all.push_back(setting);
  }
  return all;
}

std::string NameOf(const Setting& setting) {
  std::string name = setting.name;
  for (const auto& [key, value] : setting.values)
    name += " " + key + "=" + value;
  return name;
}

std::vector<UnpairedExample> Examples() {
  std::vector<UnpairedExample> examples;
  for (int64_t i = 0; i < 8; ++i) {
    const Rng rng = Rng(29).Fork(static_cast<uint64_t>(i));
    examples.push_back({.prompt = RandomTokens(1 + (5 * i) % 7, rng.Fork("p")),
                        .completion = RandomTokens(1 + (3 * i) % 8, rng),
                        .desirable = i % 3 != 1,
                        .id = "reply" + std::to_string(i),
                        .density_ratio = 0.6 + 0.4 * static_cast<double>(i)});
  }
  return examples;
}

// Examples first .. first + count - 1, with the replies of the places before.
UnpairedBatch Replies(int64_t first, int64_t count, bool mismatched = true) {
  const std::vector<int64_t> all = MismatchedPartners(8, 8);
  std::vector<int64_t> indices, partners;
  for (int64_t i = first; i < first + count; ++i) {
    indices.push_back(i);
    if (mismatched) partners.push_back(all[i]);
  }
  return Pack(Examples(), indices, partners);
}

// A model that is not its reference, and what trains it.
struct Trainer {
  std::unique_ptr<Model> model = TinyModel(1), reference = TinyModel(2);
  losses::RunningMoments moments;
  std::unique_ptr<Optimizer> optimizer;
  CoupledObjective<UnpairedBatch, UnpairedScores> objective;
  bool mismatched = false;
  std::vector<StepReport> reports;

  explicit Trainer(const Setting& setting) {
    model->params().EnableGradients();
    optimizer = std::make_unique<Optimizer>(
        OptimizerOptions{.learning_rate = 1e-3}, nullptr,
        std::vector<ParamStore*>{&model->params()});
    const auto loss = MakeUnpairedLoss(setting.name, setting.values);
    EXPECT_TRUE(loss.ok()) << Message(loss.status());
    mismatched = loss->needs.mismatched;
    objective =
        UnpairedObjective(*model, CachedReference(FrozenReference(*reference)),
                          *loss, {.entropy = true, .moments = &moments});
  }

  // Steps on all eight replies, in micro-batches of `size`, up to step `until`.
  void Run(int64_t until, int64_t size, int64_t first_step = 0) {
    int64_t next = 0;
    const auto source = [&]() -> absl::StatusOr<std::optional<UnpairedBatch>> {
      next += size;
      return std::optional(Replies((next - size) % 8, size, mismatched));
    };
    const auto result = RunLoop(
        {.max_steps = until, .accumulation = 8 / size},
        BindCoupled(source, objective, 8 / size), {&model->params()},
        *optimizer,
        {[this](const StepReport& report) -> absl::StatusOr<ObserverResult> {
          reports.push_back(report);
          return ObserverResult{};
        }},
        first_step);
    ASSERT_TRUE(result.ok()) << Message(result.status());
  }
};

TEST(EveryUnpairedLoss, EightMicroBatchesOfOneEqualOneOfEight) {
  for (const Setting& setting : AllLosses()) {
    SCOPED_TRACE(NameOf(setting));
    Trainer one(setting), eight(setting);
    one.Run(2, 8);
    eight.Run(2, 1);
    // Single replies have no margin; only a coupled loss sees the others.
    ExpectSameSteps(one.reports, eight.reports, {"rewards/margins"});
    EXPECT_NEAR(one.moments.mean, eight.moments.mean, 1e-4);
    EXPECT_EQ(one.moments.count, eight.moments.count);
  }
}

TEST(EveryUnpairedLoss, FallsAsItIsTrained) {
  for (const Setting& setting : AllLosses()) {
    SCOPED_TRACE(NameOf(setting));
    Trainer trainer(setting);
    trainer.Run(10, 8);
    EXPECT_LT(trainer.reports.back().loss, 0.98 * trainer.reports.front().loss);
  }
}

// In coupled ones what rewards are compared with is a constant of the gradient
// that moves.
TEST(EveryUnpairedLoss, HasTheSlopeOfItsValue) {
  for (const Setting& setting : AllLosses()) {
    SCOPED_TRACE(NameOf(setting));
    const auto loss = MakeUnpairedLoss(setting.name, setting.values);
    if (loss->needs.coupled) continue;
    Trainer trainer(setting);
    ExpectSlope(trainer.model->params(), [&trainer](bool gradient) {
      auto pass = trainer.objective.forward(Replies(0, 8, trainer.mismatched));
      EXPECT_TRUE(pass.ok());
      auto shares = trainer.objective.evaluate(
          std::span<const UnpairedScores>(&pass->scores, 1));
      if (gradient) pass->backward((*shares)[0].seed, (*shares)[0].step);
      return (*shares)[0].step.loss_sum;
    });
  }
}

TEST(UnpairedObjective, AMicroBatchAtATimeIsAnOption) {
  for (const char* name : {"kto", "bco"}) {
    SCOPED_TRACE(name);
    Trainer whole({name}), parts({name, {{"coupling", "micro"}}});
    EXPECT_TRUE(whole.objective.whole_step);
    EXPECT_FALSE(parts.objective.whole_step);
    whole.Run(1, 2);
    parts.Run(1, 2);
    EXPECT_GT(std::abs(whole.reports[0].loss - parts.reports[0].loss), 1e-4);
  }
  EXPECT_FALSE(Trainer({"apo_zero_unpaired"}).objective.whole_step);
}

TEST(UnpairedObjective, MetricsHaveTrlsNames) {
  Trainer kto({"kto"}), bco({"bco"});
  kto.Run(1, 8);
  bco.Run(1, 8);
  const auto& metrics = kto.reports[0].metrics;
  for (const char* name : {"rewards/chosen", "rewards/rejected", "logps/chosen",
                           "logps/rejected", "entropy", "num_tokens"}) {
    EXPECT_TRUE(metrics.contains(name)) << name;
  }
  EXPECT_NEAR(metrics.at("rewards/margins"),
              metrics.at("rewards/chosen") - metrics.at("rewards/rejected"),
              1e-12);
  EXPECT_GE(metrics.at("kl"), 0);
  EXPECT_EQ(bco.reports[0].metrics.at("delta"), bco.moments.mean);
}

// Row i's mismatched reply is that of row i - 1 on the prompt of row i.
TEST(UnpairedObjective, MismatchedRepliesAreScoredAndNotLearnt) {
  Trainer trainer({"kto"});
  const UnpairedBatch batch = Replies(0, 8);
  auto pass = trainer.objective.forward(batch);
  ASSERT_TRUE(pass.ok()) << Message(pass.status());
  const losses::UnpairedInputs& in = pass->scores.inputs;
  ASSERT_EQ(in.mismatched_policy.size(), 8);
  PackedBatch alone;  // prompt 3 with the reply of example 2
  alone.AppendCompletion(alone.AppendPrompt(Examples()[3].prompt),
                         Examples()[2].completion);
  const auto expected = FrozenReference(*trainer.reference)(alone);
  double sum = 0;
  for (float log_prob : *expected) sum += log_prob;
  EXPECT_NEAR(in.mismatched_reference[3], sum, 1e-4);
  const auto shares = trainer.objective.evaluate(
      std::span<const UnpairedScores>(&pass->scores, 1));
  const std::vector<float>& seed = (*shares)[0].seed;
  for (size_t i = 0; i < batch.packed.scored.size(); ++i) {
    EXPECT_EQ(seed[i] != 0, batch.packed.scored[i].sequence < 8) << i;
  }
}

TEST(UnpairedObjective, ARunningDeltaResumesToTheBit) {
  const std::string root = testing::TempDir() + "/unpaired_resume";
  Trainer straight({"bco"});
  straight.Run(2, 4);
  CheckpointState state;
  SaveMoments(straight.moments, state);
  Checkpoints saved(root, 1, {{"policy", &straight.model->params()}},
                    *straight.optimizer);
  state.step = 2;
  ASSERT_TRUE(saved.Save(state).ok());
  straight.Run(4, 4, 2);

  Trainer resumed({"bco"});
  Checkpoints found(root, 1, {{"policy", &resumed.model->params()}},
                    *resumed.optimizer);
  const auto restored = found.RestoreLatest("");
  ASSERT_TRUE(restored.ok() && restored->has_value());
  ASSERT_TRUE(RestoreMoments(**restored, resumed.moments).ok());
  resumed.Run(4, 4, (*restored)->step);
  EXPECT_EQ(resumed.reports.back().loss, straight.reports.back().loss);
  EXPECT_EQ(resumed.reports.back().grad_norm,
            straight.reports.back().grad_norm);
  EXPECT_EQ(resumed.moments.variance, straight.moments.variance);
  EXPECT_EQ(RestoreMoments(CheckpointState{}, resumed.moments).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(UnpairedObjective, RefusesBatchesWithoutWhatTheLossNeeds) {
  const auto message = [](const Setting& setting, const UnpairedBatch& batch) {
    return Message(Trainer(setting).objective.forward(batch).status());
  };
  EXPECT_THAT(message({"kto"}, Replies(0, 2, false)),
              HasSubstr("no mismatched replies"));
  UnpairedBatch batch = Replies(0, 2);
  batch.density_ratios.clear();
  EXPECT_THAT(message({"bco", {{"udm", "true"}}}, batch),
              HasSubstr("0 density ratios"));
  batch.desirable.pop_back();
  EXPECT_THAT(message({"kto"}, batch), HasSubstr("1 labels"));
}

TEST(MakeUnpairedLoss, SaysWhatIsAllowed) {
  EXPECT_THAT(Message(MakeUnpairedLoss("kot").status()),
              HasSubstr("did you mean 'kto'"));
  EXPECT_THAT(Message(MakeUnpairedLoss("bco", {{"coupling", "no"}}).status()),
              HasSubstr("global | micro"));
}

}  // namespace
}  // namespace align::train
