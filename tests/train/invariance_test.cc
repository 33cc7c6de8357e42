// What must not change the numbers of a step: accumulation, packing, prefix
// sharing, resuming. On a real, tiny Llama.

#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>

#include "align/dnnl/matmul.h"
#include "align/train/checkpoint.h"
#include "align/train/preference_objective.h"
#include "align/train/reward_objective.h"
#include "align/train/run_loop.h"
#include "align/train/sft_objective.h"
#include "gtest/gtest.h"
#include "tests/train/tiny_pairs.h"

namespace align::train {
namespace {

// One way to train: on micro-batch (first example, how many).
using MicroBatch =
    std::function<absl::StatusOr<MicroStep>(int64_t first, int64_t count)>;

struct Trainer {
  std::unique_ptr<Model> model, reference;
  std::unique_ptr<Optimizer> optimizer;
  MicroBatch micro_batch;
  std::vector<StepReport> reports;

  void Run(int64_t until, int64_t accumulation, int64_t count,
           int64_t first_step = 0) {
    int64_t position = first_step * accumulation * count;
    const auto result = RunLoop(
        {.max_steps = until, .accumulation = accumulation},
        [&]() -> absl::StatusOr<std::optional<MicroStep>> {
          position += count;
          ALIGN_ASSIGN_OR_RETURN(MicroStep step,
                                 micro_batch(position - count, count));
          return std::optional<MicroStep>(std::move(step));
        },
        {&model->params()}, *optimizer,
        {[this](const StepReport& report) -> absl::StatusOr<ObserverResult> {
          reports.push_back(report);
          return ObserverResult{};
        }},
        first_step);
    ASSERT_TRUE(result.ok()) << Message(result.status());
  }
  std::vector<float> values() const {
    const std::span<const float> all = model->params().values();
    return {all.begin(), all.end()};
  }
};

std::unique_ptr<Trainer> NewTrainer(bool reward = false) {
  auto trainer = std::make_unique<Trainer>();
  trainer->model = TinyModel(1, false, reward);
  trainer->reference = CloneModel(*trainer->model);
  trainer->model->params().EnableGradients();
  trainer->optimizer = std::make_unique<Optimizer>(
      OptimizerOptions{.learning_rate = 1e-3, .weight_decay = 0.01}, nullptr,
      std::vector<ParamStore*>{&trainer->model->params()});
  return trainer;
}

std::unique_ptr<Trainer> Sft(losses::TokenLoss loss) {
  auto trainer = NewTrainer();
  trainer->micro_batch = [objective =
                              SftObjective(*trainer->model, {.loss = loss})](
                             int64_t first, int64_t count) {
    PreferenceBatch pairs = TinyPairs(first, count);
    return objective({.packed = pairs.packed, .ids = pairs.ids});
  };
  return trainer;
}

std::unique_ptr<Trainer> Dpo(Packing packing = Packing::kSharedPrefix) {
  auto trainer = NewTrainer();
  trainer->micro_batch =
      [packing,
       objective = PerMicroBatch(PreferenceObjective(
           *trainer->model,
           CachedReference(FrozenReference(*trainer->reference)),
           *MakePairLoss("sigmoid"), {.scores = {.statistics = true}}))](
          int64_t first, int64_t count) {
        return objective(TinyPairs(first, count, packing));
      };
  return trainer;
}

std::unique_ptr<Trainer> Reward(const losses::RewardLoss& loss) {
  auto trainer = NewTrainer(true);
  trainer->micro_batch = [objective = RewardObjective(*trainer->model, loss)](
                             int64_t first, int64_t count) {
    return objective(TinyPairs(first, count));
  };
  return trainer;
}

using Make = std::function<std::unique_ptr<Trainer>()>;

// DPO, and every loss of the registry on tokens and of reward models.
std::vector<std::pair<std::string, Make>> Methods() {
  std::vector<std::pair<std::string, Make>> all = {
      {"dpo", [] { return Dpo(); }}};
  for (const losses::TokenLossEntry& entry : losses::TokenLosses()) {
    all.push_back({entry.name, [entry] { return Sft(entry.loss); }});
  }
  for (const losses::RewardLossEntry& entry : losses::RewardLosses()) {
    all.push_back(
        {entry.name, [entry] { return Reward(entry.make({}).loss); }});
  }
  return all;
}

void ExpectClose(const Trainer& a, const Trainer& b, double tolerance) {
  ASSERT_EQ(a.reports.size(), b.reports.size());
  for (size_t i = 0; i < a.reports.size(); ++i) {
    EXPECT_NEAR(a.reports[i].loss / b.reports[i].loss, 1, tolerance);
    EXPECT_NEAR(a.reports[i].grad_norm / b.reports[i].grad_norm, 1, tolerance);
    for (const auto& [name, value] : a.reports[i].metrics) {
      // Rewards are differences of log-probs of order 100, hence the floor.
      if (name == "min_reward" || name == "max_reward") continue;
      if (name == "num_tokens") continue;
      EXPECT_NEAR(value, b.reports[i].metrics.at(name),
                  tolerance * std::max(10.0, std::abs(value)))
          << name;
    }
  }
}

TEST(Invariance, EightMicroBatchesOfOneEqualOneOfEight) {
  for (const auto& [name, make] : Methods()) {
    SCOPED_TRACE(name);
    const auto one = make(), eight = make();
    one->Run(1, 1, 8);
    eight->Run(1, 8, 1);
    // Only the order in which gradients are added in f32 differs.
    ExpectClose(*one, *eight, 1e-6);
    EXPECT_EQ(one->reports[0].metrics.at("num_tokens"),
              eight->reports[0].metrics.at("num_tokens"));
  }
}

TEST(Invariance, SharingThePromptChangesNothingButTheTokenCount) {
  const auto shared = Dpo(), separate = Dpo(Packing::kSeparate);
  shared->Run(1, 1, 6);
  separate->Run(1, 1, 6);
  ExpectClose(*shared, *separate, 1e-6);
  EXPECT_LT(shared->reports[0].metrics.at("num_tokens"),
            separate->reports[0].metrics.at("num_tokens"));
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  EXPECT_EQ(shared->reports[0].loss, separate->reports[0].loss);
  EXPECT_EQ(shared->reports[0].metrics.at("logps/chosen"),
            separate->reports[0].metrics.at("logps/chosen"));
}

TEST(Invariance, ResumedEqualsStraightThroughToTheBit) {
  for (const auto& [name, make] : Methods()) {
    SCOPED_TRACE(name);
    const std::string root = testing::TempDir() + "/invariance_resume_" + name;
    std::filesystem::remove_all(root);
    const auto straight = make();
    Checkpoints saved(root, 1, {{"policy", &straight->model->params()}},
                      *straight->optimizer);
    straight->Run(2, 2, 2);
    CheckpointState state;
    state.step = 2;
    ASSERT_TRUE(saved.Save(state).ok());
    straight->Run(5, 2, 2, 2);

    const auto resumed = make();
    Checkpoints found(root, 1, {{"policy", &resumed->model->params()}},
                      *resumed->optimizer);
    const auto restored = found.RestoreLatest("");
    ASSERT_TRUE(restored.ok()) << Message(restored.status());
    resumed->Run(5, 2, 2, (*restored)->step);
    EXPECT_EQ(resumed->values(), straight->values());
    EXPECT_EQ(resumed->reports.back().loss, straight->reports.back().loss);
  }
}

TEST(Invariance, LossesFall) {
  for (const auto& [name, make] : Methods()) {
    SCOPED_TRACE(name);
    const auto trainer = make();
    trainer->micro_batch = [&, step = trainer->micro_batch](int64_t, int64_t) {
      return step(0, 4);
    };
    trainer->Run(15, 1, 4);
    const StepReport &first = trainer->reports.front(),
                     &last = trainer->reports.back();
    if (name == "dft") {
      // Its value -p log p rises until p is 1/e; what it teaches shows.
      EXPECT_GT(last.metrics.at("mean_token_accuracy"),
                first.metrics.at("mean_token_accuracy") + 0.3);
      continue;
    }
    EXPECT_LT(last.loss, 0.8 * first.loss);
  }
}

TEST(PreferenceObjective, StartsAtLnTwoAndSaysWhenItDoesNot) {
  const auto good = Dpo();
  good->Run(1, 1, 4);
  EXPECT_TRUE(CheckInitialPreferenceStep(good->reports[0], std::log(2.0)).ok());
  // A reference that is another model.
  const auto bad = Dpo();
  bad->reference->params().CopyValuesFrom(TinyModel(2)->params());
  bad->Run(1, 1, 4);
  EXPECT_EQ(CheckInitialPreferenceStep(bad->reports[0], std::log(2.0)).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(CheckInitialPreferenceStep(StepReport{}, {}).ok());
}

TEST(PreferenceObjective, RefusesWhatIsNotPairsOrNotInTheVocabulary) {
  const auto trainer = NewTrainer();
  const auto objective = PerMicroBatch(
      PreferenceObjective(*trainer->model, FrozenReference(*trainer->reference),
                          *MakePairLoss("sigmoid")));
  PreferenceBatch odd = TinyPairs(0, 1);
  odd.packed.AppendCompletion(0, RandomTokens(3, Rng(1)));
  EXPECT_EQ(objective(odd).status().code(), absl::StatusCode::kInvalidArgument);
  PreferenceBatch foreign = TinyPairs(0, 1);
  foreign.packed.tokens[2] = 61;
  EXPECT_EQ(objective(foreign).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(CachedReference, AsksOncePerSequenceHoweverItIsPacked) {
  const auto trainer = NewTrainer();
  int calls = 0;
  const ReferenceLogProbs frozen = FrozenReference(*trainer->reference);
  const ReferenceLogProbs cached =
      CachedReference([&](const PackedBatch& batch) {
        ++calls;
        return frozen(batch);
      });
  const PackedBatch four = TinyPairs(0, 4).packed;
  const auto fresh = cached(four);
  ASSERT_TRUE(fresh.ok());
  EXPECT_EQ(*fresh, *frozen(four));
  const PackedBatch two = TinyPairs(2, 2, Packing::kSeparate).packed;
  const auto known = cached(two);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(*known,
            std::vector<float>(fresh->end() - known->size(), fresh->end()));
  ASSERT_TRUE(cached(TinyPairs(9, 1).packed).ok());
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace align::train
