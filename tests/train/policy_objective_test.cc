#include "align/train/policy_objective.h"

#include <cmath>

#include "align/dnnl/matmul.h"
#include "align/train/optimizer.h"
#include "align/train/reference.h"
#include "gtest/gtest.h"
#include "losses/policy_registry.h"
#include "tests/support/tiny_model.h"

namespace align::train {
namespace {

constexpr int64_t kLongest = 12;

// Completions 2 * first to 2 * (first + groups) - 1 of an endless series, two a
// prompt, with advantages, and old and reference log-probs of other models.
PolicyBatch Groups(int64_t first, int64_t groups, const Model& old) {
  PolicyBatch batch;
  for (int64_t g = first; g < first + groups; ++g) {
    Rng rng = Rng(29).Fork(static_cast<uint64_t>(g));
    const int32_t prefix = batch.packed.AppendPrompt(
        RandomTokens(2 + static_cast<int64_t>(rng.Below(6)), rng.Fork("p")));
    for (uint64_t k = 0; k < 2; ++k) {
      batch.packed.AppendCompletion(
          prefix, RandomTokens(1 + static_cast<int64_t>(rng.Below(kLongest)),
                               rng.Fork(k)));
      batch.advantages.push_back(rng.Normal());
      batch.ids.push_back(std::to_string(g) + "#" + std::to_string(k));
    }
  }
  const auto scores = FrozenReference(old)(batch.packed);
  batch.old_log_probs.assign(scores->begin(), scores->end());
  batch.reference_log_probs = batch.old_log_probs;
  for (double& log_prob : batch.reference_log_probs) log_prob -= 0.1;
  return batch;
}

NamedPolicyLoss Loss(
    const std::string& name,
    const std::vector<std::pair<std::string, std::string>>& values = {}) {
  auto loss = MakePolicyLoss(name, values);
  ALIGN_CHECK(loss.ok()) << loss.status().ToString();
  return *std::move(loss);
}

// Weights that differ from TinyModel(1) a little, as after some updates.
std::unique_ptr<Model> Moved() {
  auto model = TinyModel(1);
  Rng rng(5);
  for (size_t p = 0; p < model->params().specs().size(); ++p) {
    for (float& v : model->params().values(p)) {
      v *= 1 + 0.02f * static_cast<float>(rng.Normal());
    }
  }
  return model;
}

struct Outcome {
  double loss = 0;
  std::map<std::string, double> metrics;
  std::vector<float> gradients;  // of the mean loss
};

// The mean loss of `batches` as one step, and its gradients.
Outcome StepOn(Model& policy, const NamedPolicyLoss& loss,
               std::vector<PolicyBatch> batches,
               PolicyCoupling coupling = PolicyCoupling::kGlobal) {
  policy.params().EnableGradients();
  policy.params().ZeroGradients();
  const auto count = static_cast<int64_t>(batches.size());
  Source<PolicyBatch> source = [batches, next = size_t{0}]() mutable
      -> absl::StatusOr<std::optional<PolicyBatch>> {
    if (next == batches.size()) return std::optional<PolicyBatch>();
    return std::optional<PolicyBatch>(batches[next++]);
  };
  const MicroSteps steps =
      BindPolicy(std::move(source), policy, loss,
                 {.max_completion_length = kLongest}, count, coupling);
  double sum = 0, weight = 0;
  MetricSums metrics;
  for (int64_t i = 0; i < count; ++i) {
    const auto step = steps();
    ALIGN_CHECK(step.ok() && step->has_value()) << step.status().ToString();
    sum += (*step)->loss_sum;
    weight += (*step)->weight;
    for (const auto& [name, metric] : (*step)->metrics) {
      metrics[name].sum += metric.sum;
      metrics[name].weight += metric.weight;
    }
  }
  Outcome out{.loss = sum / weight};
  for (const auto& [name, m] : metrics) {
    if (m.weight > 0) out.metrics[name] = m.sum / m.weight;
  }
  for (float g : policy.params().grads()) {
    out.gradients.push_back(g / static_cast<float>(weight));
  }
  return out;
}

void ExpectSame(const Outcome& a, const Outcome& b, const std::string& name) {
  EXPECT_NEAR(a.loss, b.loss, 1e-12 * std::max(1.0, std::abs(b.loss))) << name;
  double largest = 0, apart = 0;
  ASSERT_EQ(a.gradients.size(), b.gradients.size());
  for (size_t i = 0; i < a.gradients.size(); ++i) {
    largest = std::max<double>(largest, std::abs(a.gradients[i]));
    apart = std::max<double>(apart, std::abs(a.gradients[i] - b.gradients[i]));
  }
  EXPECT_GT(largest, 0) << name;
  // Sums over some hundred rows in another order, in f32.
  EXPECT_LT(apart, 2e-5 * largest) << name;
}

TEST(PolicyObjective, OnFreshSamplesLossesAreMeansOfAdvantages) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto policy = TinyModel(1);
  const PolicyBatch batch = Groups(0, 4, *policy);
  const std::vector<int64_t> offsets = batch.packed.ScoredOffsets();
  double sum = 0, by_token = 0, tokens = 0;
  for (size_t i = 0; i < batch.advantages.size(); ++i) {
    const auto n = static_cast<double>(offsets[i + 1] - offsets[i]);
    sum += batch.advantages[i];
    by_token += n * batch.advantages[i];
    tokens += n;
  }
  const auto count = static_cast<double>(batch.advantages.size());
  const auto loss = [&](const std::string& name) {
    const Outcome out = StepOn(*policy, Loss(name), {batch});
    EXPECT_EQ(out.metrics.at("val/ratio"), 1) << name;
    EXPECT_EQ(out.metrics.at("policy/approxkl_avg"), 0) << name;
    return out.loss;
  };
  EXPECT_NEAR(loss("grpo"), -sum / count, 1e-12);
  EXPECT_NEAR(loss("gspo"), -sum / count, 1e-12);
  EXPECT_NEAR(loss("rloo"), -sum / count, 1e-12);
  EXPECT_NEAR(loss("bnpo"), -by_token / tokens, 1e-12);
  EXPECT_NEAR(loss("dapo"), -by_token / tokens, 1e-12);
  EXPECT_NEAR(loss("dr_grpo"), -by_token / count / kLongest, 1e-12);
  EXPECT_NEAR(loss("luspo"), -by_token / count, 1e-12);
}

TEST(PolicyObjective, OnFreshSamplesARatioHasTheGradientOfReinforce) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto policy = TinyModel(1);
  const PolicyBatch batch = Groups(0, 4, *policy);
  const Outcome reinforce = StepOn(*policy, Loss("reinforce"), {batch});
  for (const char* name : {"bnpo", "dapo", "ppo", "cispo"}) {
    Outcome other = StepOn(*policy, Loss(name), {batch});
    other.loss = reinforce.loss;  // values differ, gradients do not
    ExpectSame(other, reinforce, name);
  }
}

TEST(PolicyObjective, EightMicroBatchesOfOneEqualOneOfEightForEveryLoss) {
  const auto old = TinyModel(1), policy = Moved();
  std::vector<PolicyBatch> eight;
  for (int64_t i = 0; i < 8; ++i) eight.push_back(Groups(i, 1, *old));
  const std::vector<PolicyBatch> one = {Groups(0, 8, *old)};
  std::vector<std::pair<std::string, losses::OptionValues>> cases;
  for (const auto& entry : losses::PolicyLosses()) {
    cases.push_back({entry.name, {{"beta", "0.04"}}});
  }
  cases.push_back({"grpo", {{"entropy_coef", "0.01"}}});
  cases.push_back({"dapo", {{"top_entropy_quantile", "0.5"}}});
  cases.push_back({"dr_grpo", {{"norm_batch", "sum"}}});
  for (const auto& [name, values] : cases) {
    const NamedPolicyLoss loss = Loss(name, values);
    ExpectSame(StepOn(*policy, loss, eight), StepOn(*policy, loss, one), name);
  }
}

TEST(PolicyObjective, MicroCouplingTakesEachMicroBatchOnItsOwn) {
  const auto old = TinyModel(1), policy = Moved();
  const std::vector<PolicyBatch> two = {Groups(0, 1, *old), Groups(5, 1, *old)};
  const NamedPolicyLoss loss = Loss("dapo", {{"top_entropy_quantile", "0.3"}});
  const double global = StepOn(*policy, loss, two).loss;
  const double micro = StepOn(*policy, loss, two, PolicyCoupling::kMicro).loss;
  double sum = 0, weight = 0;
  for (const PolicyBatch& batch : two) {
    const auto n = static_cast<double>(batch.packed.scored.size());
    sum += n * StepOn(*policy, loss, {batch}).loss;
    weight += n;
  }
  EXPECT_NEAR(micro, sum / weight, 1e-12);
  EXPECT_GT(std::abs(global - micro), 1e-6);
}

TEST(PolicyObjective, AnEntropyBonusRaisesTheEntropy) {
  const auto policy = TinyModel(1);
  PolicyBatch batch = Groups(0, 4, *policy);
  batch.advantages.assign(batch.advantages.size(), 0);
  const NamedPolicyLoss loss = Loss("grpo", {{"entropy_coef", "1"}});
  const double before = StepOn(*policy, loss, {batch}).metrics.at("entropy");
  Optimizer optimizer({.learning_rate = 1e-3}, {}, {&policy->params()});
  optimizer.Step(1);
  const Outcome after = StepOn(*policy, loss, {batch});
  EXPECT_GT(after.metrics.at("entropy"), before + 1e-3);
  EXPECT_NEAR(after.loss, -after.metrics.at("entropy"), 1e-9);
}

TEST(PolicyObjective, TheKlPenaltyIsThatOfTheReference) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const auto policy = TinyModel(1);
  const PolicyBatch batch = Groups(0, 4, *policy);
  const Outcome with =
      StepOn(*policy, Loss("dapo", {{"beta", "0.5"}}), {batch});
  const Outcome without = StepOn(*policy, Loss("dapo"), {batch});
  const double k3 = std::exp(-0.1) - 1 + 0.1;  // log pi - log ref is 0.1
  EXPECT_NEAR(with.metrics.at("kl"), k3, 1e-9);
  EXPECT_NEAR(with.loss - without.loss, 0.5 * k3, 1e-9);
}

TEST(PolicyObjective, ACompletionWithoutTokensCountsAndTeachesNothing) {
  const auto policy = TinyModel(1);
  PolicyBatch batch = Groups(0, 1, *policy), empty;
  const Outcome full = StepOn(*policy, Loss("grpo"), {batch});
  empty.packed.AppendCompletion(
      empty.packed.AppendPrompt(RandomTokens(3, Rng(1))), {});
  empty.advantages = {2};
  const Outcome both = StepOn(*policy, Loss("grpo"), {batch, empty});
  EXPECT_NEAR(both.loss, full.loss * 2 / 3, 1e-12);
}

TEST(PolicyObjective, RefusesArraysThatDoNotFit) {
  const auto policy = TinyModel(1);
  policy->params().EnableGradients();
  const PolicyBatch good = Groups(0, 2, *policy);
  const auto code = [&](const PolicyBatch& batch, const NamedPolicyLoss& loss,
                        int64_t longest = kLongest) {
    return PerMicroBatch(PolicyObjective(
        *policy, loss, {.max_completion_length = longest}))(batch)
        .status()
        .code();
  };
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(code(good, Loss("grpo")), absl::StatusCode::kOk);
  PolicyBatch bad = good;
  bad.old_log_probs.pop_back();
  EXPECT_EQ(code(bad, Loss("grpo")), kInvalid);
  bad = good;
  bad.advantages.pop_back();
  EXPECT_EQ(code(bad, Loss("grpo")), kInvalid);
  bad = good;
  bad.token_advantages.assign(good.old_log_probs.size(), 1);
  EXPECT_EQ(code(bad, Loss("grpo")), kInvalid);
  bad = good;
  bad.reference_log_probs.clear();
  EXPECT_EQ(code(bad, Loss("grpo")), absl::StatusCode::kOk);
  EXPECT_EQ(code(bad, Loss("grpo", {{"beta", "0.1"}})), kInvalid);
  EXPECT_EQ(code(good, Loss("dr_grpo"), 0), kInvalid);
  bad = good;
  bad.packed.tokens[0] = 61;
  EXPECT_EQ(code(bad, Loss("grpo")), kInvalid);
  EXPECT_EQ(MakePolicyLoss("gpro").status().code(), kInvalid);
  EXPECT_EQ(MakePolicyLoss("grpo", {{"epsilon", "x"}}).status().code(),
            kInvalid);
}

}  // namespace
}  // namespace align::train
