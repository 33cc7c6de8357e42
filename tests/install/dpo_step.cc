// Three DPO steps on a tiny, new Llama: the loss starts at ln 2 and falls.

#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <vector>

#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/train/optimizer.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "align/train/run_loop.h"
#include "losses/sigmoid.h"

namespace {

align::ModelConfig TinyConfig() {
  align::ModelConfig config;
  config.vocab_size = 61;
  config.hidden_size = 32;
  config.intermediate_size = 48;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.num_key_value_heads = 2;
  config.head_dim = 8;
  config.max_position_embeddings = 64;
  config.rms_norm_eps = 1e-5;
  return config;
}

// Two replies to one prompt, of which the first is preferred.
align::PreferenceBatch OnePair() {
  align::PreferenceBatch batch;
  const std::vector<int32_t> prompt = {3, 14, 15}, chosen = {9, 26, 5},
                             rejected = {35, 8, 9, 7};
  const int32_t prefix = batch.packed.AppendPrompt(prompt);
  batch.packed.AppendCompletion(prefix, chosen);
  batch.packed.AppendCompletion(prefix, rejected);
  batch.ids = {"pair 0"};
  batch.margins = {0};
  return batch;
}

align::losses::PairLossResult Dpo(const align::losses::PairInputs& pairs) {
  return align::losses::SigmoidPairLoss(pairs, {.beta = 0.1});
}

}  // namespace

int main() {
  using namespace align::train;
  auto policy = align::CreateModel(TinyConfig(), align::Rng(1));
  if (!policy.ok()) return 2;
  const auto reference = align::CloneModel(**policy);
  (*policy)->params().EnableGradients();
  const std::vector<align::ParamStore*> stores = {&(*policy)->params()};
  Optimizer optimizer({.learning_rate = 1e-2}, nullptr, stores);

  std::vector<double> losses;
  const auto result = RunLoop(
      {.max_steps = 3},
      BindCoupled([] { return std::optional(OnePair()); },
                  PreferenceObjective(**policy, FrozenReference(*reference),
                                      {.loss = Dpo}),
                  1),
      stores, optimizer,
      {[&](const StepReport& report) -> absl::StatusOr<ObserverResult> {
        std::printf("step %d: loss %.6f\n", static_cast<int>(report.step),
                    report.loss);
        losses.push_back(report.loss);
        return ObserverResult{};
      }});
  if (!result.ok() || losses.size() != 3) return 2;
  const bool starts_at_ln_2 = std::abs(losses[0] - std::log(2.0)) < 1e-6;
  return starts_at_ln_2 && losses[2] < losses[1] && losses[1] < losses[0] ? 0
                                                                          : 1;
}
