// Every loss on a teacher's distributions through the real objective and
// source, on tiny Llamas.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "align/train/distillation_objective.h"
#include "align/train/distillation_source.h"
#include "align/train/optimizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "losses/distillation_registry.h"
#include "tests/support/tiny_model.h"
#include "tests/train/loss_checks.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

struct Setting {
  std::string name;
  losses::OptionValues values = {};
  double lmbda = 0;
  bool seq_kd = false;
};

// Every entry of the registry, its ends, and every author of replies.
std::vector<Setting> AllLosses() {
  std::vector<Setting> all;
  for (const losses::DistillationLossEntry& entry :
       losses::DistillationLosses()) {
    all.push_back({entry.name});
    all.push_back({entry.name, {}, 0.5, true});
  }
  all.push_back({"jsd", {{"beta", "0"}}});
  all.push_back({"jsd", {{"beta", "1"}}, 1});
  all.push_back({"jsd", {{"beta", "0.1"}, {"temperature", "2"}}, 1});
  return all;
}

std::string NameOf(const Setting& setting) {
  std::string name = setting.name;
  for (const auto& [key, value] : setting.values)
    name += " " + key + "=" + value;
  return name + " lmbda=" + std::to_string(setting.lmbda) +
         (setting.seq_kd ? " seq_kd" : "");
}

std::vector<SftExample> Examples() {
  std::vector<SftExample> examples;
  for (int64_t i = 0; i < 8; ++i) {
    const Rng rng = Rng(31).Fork(static_cast<uint64_t>(i));
    examples.push_back({.prompt = RandomTokens(1 + (5 * i) % 7, rng.Fork("p")),
                        .completion = RandomTokens(2 + (3 * i) % 8, rng),
                        .mask = {},
                        .id = "reply" + std::to_string(i)});
  }
  examples[3].mask.assign(examples[3].completion.size(), 1);
  examples[3].mask[1] = 0;
  return examples;
}

// A student that is not its teacher, and what trains it, in micro-batches of
// `size`, eight examples a step.
struct Trainer {
  std::unique_ptr<Model> model = TinyModel(1), teacher = TinyModel(2);
  DivergenceOptions loss;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<DistillationSource> source;
  int64_t size;
  std::vector<StepReport> reports;

  Trainer(const Setting& setting, int64_t batch_size) : size(batch_size) {
    model->params().EnableGradients();
    optimizer = std::make_unique<Optimizer>(
        OptimizerOptions{.learning_rate = 1e-3}, nullptr,
        std::vector<ParamStore*>{&model->params()});
    loss = *MakeDistillationLoss(setting.name, setting.values);
    source = *DistillationSource::Create(
        Examples(), *model, *teacher,
        {.loader = {.batch_size = size, .epochs = 0, .seed = 3},
         .accumulation = 8 / size,
         .lmbda = setting.lmbda,
         .seq_kd = setting.seq_kd,
         .sampling = {.max_new_tokens = 9, .stop_ids = {5, 6, 7}}},
        Rng(4));
  }

  void Run(int64_t until, int64_t first_step = 0) {
    const auto result = RunLoop(
        {.max_steps = until, .accumulation = 8 / size},
        Bind<DistillationBatch>([this] { return source->Next(); },
                                DistillationObjective(*model, *teacher, loss)),
        {&model->params()}, *optimizer,
        {[this](const StepReport& report) -> absl::StatusOr<ObserverResult> {
          reports.push_back(report);
          return ObserverResult{};
        }},
        first_step);
    ASSERT_TRUE(result.ok()) << Message(result.status());
  }
};

TEST(EveryDistillationLoss, EightMicroBatchesOfOneEqualOneOfEight) {
  for (const Setting& setting : AllLosses()) {
    SCOPED_TRACE(NameOf(setting));
    Trainer one(setting, 8), eight(setting, 1);
    one.Run(2);
    eight.Run(2);
    ExpectSameSteps(one.reports, eight.reports);
  }
}

TEST(EveryDistillationLoss, FallsAsItIsTrained) {
  for (const Setting& setting : AllLosses()) {
    SCOPED_TRACE(NameOf(setting));
    Trainer trainer(setting, 8);
    trainer.Run(12);
    EXPECT_LT(trainer.reports.back().loss, 0.9 * trainer.reports.front().loss);
  }
}

TEST(EveryDistillationLoss, HasTheSlopeOfItsValue) {
  for (const Setting& setting : AllLosses()) {
    SCOPED_TRACE(NameOf(setting));
    Trainer trainer(setting, 8);
    const auto batch = trainer.source->Next();
    ASSERT_TRUE(batch.ok() && batch->has_value());
    // The objective always adds gradients.
    ExpectSlope(trainer.model->params(), [&](bool) {
      return DistillationObjective(*trainer.model, *trainer.teacher,
                                   trainer.loss)(**batch)
          ->loss_sum;
    });
  }
}

TEST(DistillationObjective, AStudentThatIsItsTeacherHasNothingToLearn) {
  Trainer trainer({"jsd"}, 8);
  trainer.teacher = CloneModel(*trainer.model);
  trainer.Run(1);
  EXPECT_NEAR(trainer.reports[0].loss, 0, 1e-7);
  EXPECT_LT(trainer.reports[0].grad_norm, 1e-5);
}

TEST(DistillationObjective, ReportsByWhoWroteTheReplies) {
  Trainer off({"jsd"}, 8), on({"jsd", {}, 1}, 8);
  off.Run(1);
  on.Run(1);
  const auto &records = off.reports[0].metrics, &own = on.reports[0].metrics;
  EXPECT_EQ(records.at("off_policy_loss"), off.reports[0].loss);
  EXPECT_FALSE(records.contains("on_policy_loss"));
  EXPECT_FALSE(records.contains("completions/mean_length"));
  EXPECT_EQ(own.at("on_policy_loss"), on.reports[0].loss);
  EXPECT_FALSE(own.contains("off_policy_loss"));
  EXPECT_GE(own.at("completions/mean_length"), 1);
  EXPECT_LE(own.at("completions/clipped_ratio"), 1);
  EXPECT_GT(own.at("num_tokens"), 8);
}

TEST(DistillationObjective, NamesTheTeacherThatCannotTakeABatch) {
  Trainer trainer({"jsd"}, 8);
  ModelConfig shorter = TinyConfig();
  shorter.max_position_embeddings = 4;
  trainer.teacher = *CreateModel(shorter, Rng(1));
  const auto objective =
      DistillationObjective(*trainer.model, *trainer.teacher, {});
  EXPECT_THAT(Message(objective(**trainer.source->Next()).status()),
              HasSubstr("teacher: "));
}

// Of a source's first `count` batches.
std::vector<ReplyAuthor> Authors(DistillationSource& source, int64_t count) {
  std::vector<ReplyAuthor> authors;
  for (int64_t i = 0; i < count; ++i) {
    authors.push_back((*source.Next())->author);
  }
  return authors;
}

TEST(DistillationSource, ACoinAStepSaysWhoWrites) {
  Trainer mixed({"jsd", {}, 0.25}, 2);
  const std::vector<ReplyAuthor> authors = Authors(*mixed.source, 4 * 200);
  int64_t own = 0;
  for (size_t i = 0; i < authors.size(); ++i) {
    EXPECT_EQ(authors[i], authors[i - i % 4]) << "within a step";
    own += authors[i] == ReplyAuthor::kStudent ? 1 : 0;
  }
  // Four standard deviations of 200 coins.
  EXPECT_NEAR(static_cast<double>(own) / 800, 0.25, 0.125);
  Trainer all({"jsd", {}, 1}, 8), none({"jsd", {}, 0, true}, 8);
  EXPECT_EQ(Authors(*all.source, 2),
            std::vector<ReplyAuthor>(2, ReplyAuthor::kStudent));
  EXPECT_EQ(Authors(*none.source, 2),
            std::vector<ReplyAuthor>(2, ReplyAuthor::kTeacher));
}

TEST(DistillationSource, RecordsKeepTheirMasksAndSamplesAreScoredWhole) {
  Trainer records({"jsd"}, 8), own({"jsd", {}, 1}, 8);
  size_t tokens = 0, masked = 1;
  for (const SftExample& example : Examples()) {
    tokens += example.completion.size();
  }
  EXPECT_EQ((*records.source->Next())->replies.packed.scored.size(),
            tokens - masked);
  const auto batch = *own.source->Next();
  const PackedBatch& packed = batch->replies.packed;
  EXPECT_EQ(packed.sequences, 8);
  int64_t prompts = 0;
  for (const SftExample& example : Examples()) {
    prompts += static_cast<int64_t>(example.prompt.size());
  }
  EXPECT_EQ(static_cast<int64_t>(packed.scored.size()),
            packed.rows() - prompts);
}

TEST(DistillationSource, GoesOnBetweenStepsToTheBit) {
  Trainer straight({"jsd", {}, 0.5}, 4), resumed({"jsd", {}, 0.5}, 4);
  straight.Run(3);
  const DistillationState state = straight.source->state();
  EXPECT_EQ(state.batches, 6);
  ASSERT_TRUE(resumed.source->set_state(state).ok());
  std::ranges::copy(straight.model->params().values(),
                    resumed.model->params().values().begin());
  for (int i = 0; i < 6; ++i) {
    const auto a = *straight.source->Next(), b = *resumed.source->Next();
    EXPECT_EQ(a->replies.packed.tokens, b->replies.packed.tokens) << i;
    EXPECT_EQ(a->replies.ids, b->replies.ids) << i;
    EXPECT_EQ(a->author, b->author) << i;
  }
}

TEST(DistillationSource, AnInterruptedStepStartsAgain) {
  bool stop = false;
  const auto model = TinyModel(1);
  const auto source =
      *DistillationSource::Create(Examples(), *model, *model,
                                  {.loader = {.batch_size = 2, .epochs = 0},
                                   .accumulation = 4,
                                   .lmbda = 1,
                                   .sampling = {.max_new_tokens = 4}},
                                  Rng(1), [&stop] { return stop; });
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(source->Next().ok());
  stop = true;
  EXPECT_EQ(source->Next().status().code(), absl::StatusCode::kCancelled);
  const DistillationState state = source->state();
  EXPECT_EQ(state.batches, 4);
  EXPECT_EQ(state.position.index, 8);
  // Interrupted where a step starts, nothing of it is lost or counted.
  ASSERT_TRUE(source->set_state(state).ok());
  EXPECT_FALSE(source->Next().ok());
  EXPECT_EQ(source->state().batches, 4);
  EXPECT_EQ(source->state().position, state.position);
}

TEST(DistillationSource, ALastStepMayBeShort) {
  const auto model = TinyModel(1);
  const auto source = *DistillationSource::Create(
      Examples(), *model, *model,
      {.loader = {.batch_size = 3, .epochs = 1}, .accumulation = 2, .lmbda = 0},
      Rng(1));
  for (int i = 0; i < 3; ++i) ASSERT_TRUE((*source->Next()).has_value());
  EXPECT_FALSE((*source->Next()).has_value());
  EXPECT_EQ(source->state().batches, 4);
  EXPECT_FALSE((*source->Next()).has_value());
}

TEST(DistillationSource, RefusesWhatItCannotGive) {
  const auto model = TinyModel(1);
  const auto message = [&](std::vector<SftExample> examples,
                           const DistillationSourceOptions& options) {
    return Message(DistillationSource::Create(std::move(examples), *model,
                                              *model, options, Rng(1))
                       .status());
  };
  EXPECT_THAT(message(Examples(), {.lmbda = 1.5}), HasSubstr("lmbda 1.5"));
  EXPECT_THAT(message(Examples(), {.accumulation = 0}),
              HasSubstr("accumulation 0"));
  EXPECT_THAT(message({}, {}), HasSubstr("no examples"));
  std::vector<SftExample> prompts = Examples();
  prompts[2].completion.clear();
  EXPECT_THAT(message(prompts, {.lmbda = 0.9}),
              HasSubstr("record reply2 has no reply"));
  EXPECT_EQ(message(prompts, {.lmbda = 1}), "");
  EXPECT_EQ(message(prompts, {.seq_kd = true}), "");
}

}  // namespace
}  // namespace align::train
