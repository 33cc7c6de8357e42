// Every loss on pairs through the real objective, on a tiny Llama.

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "align/train/preference_objective.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "losses/registry.h"
#include "tests/train/loss_checks.h"
#include "tests/train/tiny_pairs.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;
using Terms = std::vector<losses::PairLossTerm>;

// Every entry of the registry, every modifier, and two mixes.
std::vector<Terms> AllLosses() {
  std::vector<Terms> all;
  for (const losses::PairLossEntry& entry : losses::PairLosses()) {
    all.push_back({{.name = entry.name}});
  }
  for (const losses::PairLossTerm& term :
       Terms{{.name = "sigmoid", .values = {{"ld_alpha", "0.4"}}},
             {.name = "hinge", .values = {{"use_weighting", "true"}}},
             {.name = "sigmoid", .values = {{"rpo_alpha", "0.7"}}},
             {.name = "ipo",
             .values = {{"ld_alpha", "0.4"},
                        {"ld_reference", "false"},
                        {"rpo_alpha", "1"},
                        {"rpo_average", "sequences"}}},
             {.name = "orpo", .values = {{"prompt_nll", "true"}}}}) {
    all.push_back({term});
  }
  all.push_back({{.name = "sigmoid", .weight = 0.8},
                 {.name = "bco_pair", .weight = 0.2},
                 {.name = "sft", .weight = 1}});
  all.push_back({{.name = "orpo", .values = {{"prompt_nll", "true"}}},
                 {.name = "aot", .weight = 0.5}});
  return all;
}

std::string NameOf(const Terms& terms) {
  std::string name;
  for (const losses::PairLossTerm& term : terms) {
    name += (name.empty() ? "" : " + ") + term.name;
    for (const auto& [key, value] : term.values)
      name += " " + key + "=" + value;
  }
  return name;
}

// A model that is not its reference, and what trains it.
struct Trainer {
  std::unique_ptr<Model> model = TinyModel(1), reference = TinyModel(2);
  losses::RunningMoments moments;
  std::unique_ptr<Optimizer> optimizer;
  CoupledObjective<PreferenceBatch, PairScores> objective;
  std::vector<StepReport> reports;

  explicit Trainer(const Terms& terms) {
    model->params().EnableGradients();
    optimizer = std::make_unique<Optimizer>(
        OptimizerOptions{.learning_rate = 1e-3}, nullptr,
        std::vector<ParamStore*>{&model->params()});
    objective = PreferenceObjective(
        *model, CachedReference(FrozenReference(*reference)),
        *MakePairLoss(terms), {.moments = &moments});
  }

  // Steps on pairs 0 .. 7, in micro-batches of `size`; what came before stays.
  void Run(int64_t steps, int64_t size) {
    int64_t next = 0;
    const auto source =
        [&]() -> absl::StatusOr<std::optional<PreferenceBatch>> {
      next += size;
      return std::optional(TinyPairs((next - size) % 8, size));
    };
    const auto result = RunLoop(
        {.max_steps = steps, .accumulation = 8 / size},
        BindCoupled(source, objective, 8 / size), {&model->params()},
        *optimizer,
        {[this](const StepReport& report) -> absl::StatusOr<ObserverResult> {
          reports.push_back(report);
          return ObserverResult{};
        }});
    ASSERT_TRUE(result.ok()) << Message(result.status());
  }
};

TEST(EveryPairLoss, EightMicroBatchesOfOneEqualOneOfEight) {
  for (const Terms& terms : AllLosses()) {
    SCOPED_TRACE(NameOf(terms));
    Trainer one(terms), eight(terms);
    one.Run(2, 8);
    eight.Run(2, 1);
    ExpectSameSteps(one.reports, eight.reports);
    EXPECT_EQ(one.moments.count, eight.moments.count);
  }
}

TEST(EveryPairLoss, FallsAsItIsTrained) {
  for (const Terms& terms : AllLosses()) {
    SCOPED_TRACE(NameOf(terms));
    Trainer trainer(terms);
    trainer.Run(8, 8);
    const double before = trainer.reports.front().loss;
    EXPECT_LT(trainer.reports.back().loss, before - 0.02 * std::abs(before));
  }
}

// The loss of pairs 0 .. 7; adds its gradient if asked.
double LossAt(Trainer& trainer, bool gradient) {
  const PreferenceBatch batch = TinyPairs(0, 8);
  auto pass = trainer.objective.forward(batch);
  EXPECT_TRUE(pass.ok());
  auto shares =
      trainer.objective.evaluate(std::span<const PairScores>(&pass->scores, 1));
  EXPECT_TRUE(shares.ok());
  if (gradient) pass->backward((*shares)[0].seed, (*shares)[0].step);
  return (*shares)[0].step.loss_sum;
}

// WPO's weights and running means are constants of the gradient that move.
TEST(EveryPairLoss, HasTheSlopeOfItsValue) {
  for (const Terms& terms : AllLosses()) {
    SCOPED_TRACE(NameOf(terms));
    if (NameOf(terms).find("bco_pair") != std::string::npos ||
        NameOf(terms).find("use_weighting") != std::string::npos) {
      continue;
    }
    Trainer trainer(terms);
    ExpectSlope(trainer.model->params(), [&trainer](bool gradient) {
      return LossAt(trainer, gradient);
    });
  }
}

TEST(PreferenceObjective, AMicroBatchAtATimeIsAnOption) {
  const losses::OptionValues micro = {{"coupling", "micro"}};
  Trainer whole({{.name = "aot"}}), parts({{.name = "aot", .values = micro}});
  EXPECT_TRUE(whole.objective.whole_step);
  EXPECT_FALSE(parts.objective.whole_step);
  whole.Run(1, 2);
  parts.Run(1, 2);
  EXPECT_GT(std::abs(whole.reports[0].loss - parts.reports[0].loss), 1e-4);
  Trainer one({{.name = "aot", .values = micro}});
  one.Run(1, 8);
  EXPECT_NEAR(whole.reports[0].loss / one.reports[0].loss, 1, 1e-6);
  EXPECT_FALSE(Trainer({{.name = "sigmoid"}}).objective.whole_step);
}

TEST(PreferenceObjective, ARunningMeanTakesAValueAStepOrAMicroBatch) {
  Trainer whole({{.name = "bco_pair"}});
  whole.Run(3, 2);
  EXPECT_EQ(whole.moments.count, 3);
  Trainer parts({{.name = "bco_pair", .values = {{"coupling", "micro"}}}});
  parts.Run(3, 2);
  EXPECT_EQ(parts.moments.count, 12);
}

TEST(PreferenceObjective, OrpoReportsItsOddsByTrlsNames) {
  Trainer orpo({{.name = "orpo"}});
  Trainer mix({{.name = "sigmoid"}, {.name = "orpo", .weight = 0.5}});
  orpo.Run(1, 4);
  mix.Run(1, 4);
  const auto& metrics = orpo.reports[0].metrics;
  // The loss is NLL minus beta = 0.1 times the mean log sigmoid.
  EXPECT_NEAR(orpo.reports[0].loss,
              metrics.at("nll_loss") - 0.1 * metrics.at("log_odds_ratio"),
              1e-6);
  // log sigmoid is concave: at most that of the mean.
  EXPECT_LE(metrics.at("log_odds_ratio"),
            -std::log1p(std::exp(-metrics.at("log_odds_chosen"))));
  for (const char* name : {"log_odds_ratio", "log_odds_chosen"}) {
    EXPECT_EQ(mix.reports[0].metrics.at(name), metrics.at(name)) << name;
  }
}

// A user's loss: a function and what it needs.
TEST(PreferenceObjective, TakesAnyFunction) {
  Trainer trainer({{.name = "sigmoid"}});
  trainer.objective = PreferenceObjective(
      *trainer.model, nullptr, {.loss = [](const losses::PairInputs& in) {
        losses::PairLossResult out = losses::ZeroResult(in, 1);
        out.loss = -in.policy_chosen;
        out.d_policy_chosen.setConstant(-1);
        return out;
      }});
  trainer.Run(1, 4);
  const auto& metrics = trainer.reports[0].metrics;
  EXPECT_NEAR(trainer.reports[0].loss, -metrics.at("logps/chosen"), 1e-9);
  EXPECT_EQ(metrics.at("rewards/chosen"), metrics.at("logps/chosen"));
}

TEST(MakePairLoss, MixesSayWhichTermIsWrong) {
  EXPECT_THAT(Message(MakePairLoss(Terms{}).status()), HasSubstr("no terms"));
  EXPECT_THAT(
      Message(MakePairLoss(Terms{{.name = "sigmoid"}, {.name = "bco_par"}})
                  .status()),
      HasSubstr("did you mean 'bco_pair'"));
  EXPECT_THAT(
      Message(MakePairLoss(Terms{{.name = "sft", .weight = -1}}).status()),
      HasSubstr("loss sft: weight = -1"));
}

}  // namespace
}  // namespace align::train
