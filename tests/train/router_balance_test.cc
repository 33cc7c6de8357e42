#include "align/train/router_balance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "align/data/batches.h"
#include "align/train/sft_objective.h"
#include "tests/support/tiny_model.h"

namespace align::train {
namespace {

constexpr double kWeight = 0.3;

struct Balanced {
  double loss = 0;  // before its weight
  std::vector<float> gradients;
};

// The auxiliary loss alone: nothing else is asked of the rows.
Balanced Measure(Model& model, const PackedBatch& packed) {
  model.params().EnableGradients();
  model.params().ZeroGradients();
  model.set_router_loss_weight(kWeight);
  RouterBalance balance(model);
  const Tensor hidden = balance.Hidden(packed, RowsOf(packed.scored));
  MicroStep step{.weight = 2};
  balance.Backward(hidden, std::vector<float>(hidden.size(), 0.0f), step);
  Balanced out{.loss = step.loss_sum / (2 * kWeight)};
  EXPECT_EQ(step.metrics.at("aux_loss").weight, 2);
  EXPECT_NEAR(step.metrics.at("aux_loss").sum, 2 * out.loss, 1e-12);
  for (const float g : model.params().grads()) {
    out.gradients.push_back(g / static_cast<float>(2 * kWeight));
  }
  return out;
}

double Norm(const std::vector<float>& values) {
  double squares = 0;
  for (const float v : values) squares += double{v} * v;
  return std::sqrt(squares);
}

std::vector<int32_t> Prompt() { return RandomTokens(13, Rng(1)); }
std::vector<std::vector<int32_t>> Replies() {
  return {RandomTokens(7, Rng(2)), RandomTokens(4, Rng(3)),
          RandomTokens(9, Rng(4))};
}

PackedBatch Shared() {
  PackedBatch packed;
  const int32_t prompt = packed.AppendPrompt(Prompt());
  for (const auto& reply : Replies()) packed.AppendCompletion(prompt, reply);
  return packed;
}

PackedBatch Alone(const std::vector<std::vector<int32_t>>& replies) {
  PackedBatch packed;
  for (const auto& reply : replies) {
    packed.AppendCompletion(packed.AppendPrompt(Prompt()), reply);
  }
  return packed;
}

class RouterBalanceTest : public ::testing::TestWithParam<Family> {
 protected:
  std::unique_ptr<Model> Create() const { return TinyModel(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Families, RouterBalanceTest,
                         ::testing::Values(Family::kMixtral,
                                           Family::kDeepseekV2,
                                           Family::kDeepseekV3),
                         [](const auto& info) {
                           return std::string(
                               FamilyOf(TinyConfig(info.param)).model_type);
                         });

TEST_P(RouterBalanceTest, APromptCountsOnceForEachReplyThatSharesIt) {
  const std::unique_ptr<Model> model = Create();
  const Balanced shared = Measure(*model, Shared());
  const Balanced alone = Measure(*model, Alone(Replies()));
  EXPECT_NEAR(shared.loss, alone.loss, 1e-12);
  EXPECT_GT(shared.loss, 0.5);
  ASSERT_GT(Norm(shared.gradients), 1e-3);
  std::vector<float> difference(shared.gradients.size());
  for (size_t i = 0; i < difference.size(); ++i) {
    difference[i] = shared.gradients[i] - alone.gradients[i];
  }
  // Gradients of shared rows are added up before or after the products.
  EXPECT_LT(Norm(difference), 1e-5 * Norm(shared.gradients));
}

TEST_P(RouterBalanceTest, DeepseeksIsTheMeanOverSequencesOneByOne) {
  if (GetParam() == Family::kMixtral) GTEST_SKIP();
  const std::unique_ptr<Model> model = Create();
  double mean = 0;
  for (const auto& reply : Replies()) {
    mean += Measure(*model, Alone({reply})).loss / 3;
  }
  EXPECT_NEAR(Measure(*model, Shared()).loss, mean, 1e-12);
}

// A step along the gradient changes the loss by step * |gradient|^2. The step
// is small enough that no token changes its experts.
TEST_P(RouterBalanceTest, GradientPredictsTheChangeOfTheLoss) {
  const std::unique_ptr<Model> model = Create();
  const PackedBatch packed = Shared();
  const Balanced at = Measure(*model, packed);
  const double squared = Norm(at.gradients) * Norm(at.gradients);
  const double step = 1e-4 / squared;
  const auto moved = [&](double by) {
    const std::span<float> values = model->params().values();
    const std::vector<float> before(values.begin(), values.end());
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] += static_cast<float>(by * at.gradients[i]);
    }
    const double loss = Measure(*model, packed).loss;
    std::copy(before.begin(), before.end(), values.begin());
    return loss;
  };
  // Logits of f32 carry about 1e-6 into the loss.
  EXPECT_NEAR((moved(step) - moved(-step)) / 2, 1e-4, 5e-6);
}

// transformers' load_balancing_loss_func, written down: routers of all layers
// one below the other.
TEST(RouterBalanceMixtralTest, IsTransformersFunctionOfTheRouterLogits) {
  const std::unique_ptr<Model> model = TinyModel(Family::kMixtral);
  const PackedBatch packed = Alone({Replies()[0]});
  std::vector<RouterOutput> routers;
  model->HiddenAndRouters(packed.tokens, packed.segments, routers);
  ASSERT_EQ(routers.size(), 2u);
  std::vector<double> chosen(4, 0), probability(4, 0);
  double tokens = 0;
  for (const RouterOutput& layer : routers) {
    for (int64_t t = 0; t < layer.logits.dim(0); ++t, ++tokens) {
      std::vector<double> p(4);
      double sum = 0;
      for (int e = 0; e < 4; ++e) {
        sum += p[e] = std::exp(double{layer.logits.data()[t * 4 + e]});
      }
      for (int e = 0; e < 4; ++e) {
        probability[e] += p[e] / sum;
        int higher = 0;
        for (int other = 0; other < 4; ++other) higher += p[other] > p[e];
        chosen[e] += higher < 2 ? 1 : 0;
      }
    }
  }
  double expected = 0;
  for (int e = 0; e < 4; ++e) {
    expected += 4 * (chosen[e] / tokens) * (probability[e] / tokens);
  }
  EXPECT_NEAR(Measure(*model, packed).loss, expected, 1e-12);
}

TEST(RouterBalanceDeepseekTest, SeqAuxFalseTakesAllTokensTogether) {
  ModelConfig config = TinyConfig(Family::kDeepseekV2);
  const auto loss = [&](bool by_sequence, const PackedBatch& packed) {
    config.experts.balance_by_sequence = by_sequence;
    const auto model = *CreateModel(config, Rng(1));
    const std::unique_ptr<Model> tiny = TinyModel(Family::kDeepseekV2);
    model->params().CopyValuesFrom(tiny->params());
    return Measure(*model, packed).loss;
  };
  const PackedBatch one = Alone({Replies()[0]});
  EXPECT_NEAR(loss(true, one), loss(false, one), 1e-12);
  EXPECT_GT(std::abs(loss(true, Shared()) - loss(false, Shared())), 1e-6);
}

SftBatch Batch() {
  SftBatch batch;
  batch.packed = Shared();
  batch.ids = {"a", "b", "c"};
  return batch;
}

TEST(RouterBalanceObjectiveTest, AddsToTheLossByTheWeightOfTheStep) {
  const std::unique_ptr<Model> model = TinyModel(Family::kMixtral);
  const double auxiliary = Measure(*model, Batch().packed).loss;
  const auto step = [&](double weight) {
    model->params().ZeroGradients();
    model->set_router_loss_weight(weight);
    return *SftObjective(*model)(Batch());
  };
  const MicroStep without = step(0);
  const double plain_norm = GradientNorm({&model->params()});
  EXPECT_FALSE(without.metrics.contains("aux_loss"));
  const MicroStep with = step(0.5);
  EXPECT_NEAR(with.loss_sum - without.loss_sum,
              0.5 * auxiliary * without.weight, 1e-9);
  EXPECT_NEAR(with.metrics.at("aux_loss").sum / with.weight, auxiliary, 1e-12);
  EXPECT_NE(GradientNorm({&model->params()}), plain_norm);
}

TEST(RouterBalanceObjectiveTest, ModelsWithoutExpertsHaveNone) {
  const std::unique_ptr<Model> model = TinyModel();
  model->params().EnableGradients();
  model->set_router_loss_weight(0.5);
  EXPECT_FALSE((*SftObjective(*model)(Batch())).metrics.contains("aux_loss"));
}

}  // namespace
}  // namespace align::train
