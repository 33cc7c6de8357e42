// A loss of your own, in your own program: a function on log-probs, what it
// reads, and the objective that trains it. Nothing is registered.
//
// The loss is a squared hinge on the margin of log-ratios m, flat once the
// chosen reply is `margin` nats ahead: 1/2 max(0, margin - m)^2. A new, tiny
// Llama learns from it which of two replies to a prompt is wanted.

#include <cstdio>
#include <vector>

#include "align/data/loader.h"
#include "align/models/model.h"
#include "align/train/optimizer.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "align/train/run_loop.h"
#include "losses/options.h"

using namespace align;
using Tokens = std::vector<int32_t>;

// Options with ranges, as the losses of the toolkit have them.
struct SquaredHingeOptions {
  double margin = 2;

  void Describe(losses::OptionList& list) {
    list.Number("margin", &margin, {.low = 0, .open_low = true},
                "how far ahead the chosen reply must be, in nats");
  }
};

// One value and one gradient a pair; the rewards are for the report.
losses::PairLossResult SquaredHinge(const losses::PairInputs& in,
                                    const SquaredHingeOptions& options) {
  losses::PairLossResult out = losses::ZeroResult(in, /*beta=*/1);
  const Eigen::ArrayXd missing =
      (options.margin - (out.chosen_rewards - out.rejected_rewards)).max(0.0);
  out.loss = 0.5 * missing.square();
  out.d_policy_chosen = -missing;
  out.d_policy_rejected = missing;
  return out;
}

// Sixteen prompts of two tokens; the reply that repeats them is wanted.
std::vector<PairExample> Pairs() {
  std::vector<PairExample> pairs;
  for (int32_t i = 0; i < 16; ++i) {
    const Tokens prompt = {i % 4, 4 + i / 4};
    pairs.push_back({prompt, prompt, {prompt[1], prompt[0]}});
  }
  return pairs;
}

// An error here is a bug: * on a status without a value ends the program.
int main() {
  const ModelConfig shape = {.vocab_size = 8,
                             .hidden_size = 32,
                             .intermediate_size = 64,
                             .num_hidden_layers = 1,
                             .num_attention_heads = 4,
                             .num_key_value_heads = 2,
                             .head_dim = 8};
  const auto policy = *CreateModel(shape, Rng(1));
  const auto start = CloneModel(*policy);
  policy->params().EnableGradients();

  SquaredHingeOptions options;
  losses::OptionList list;
  options.Describe(list);
  const std::string error =
      losses::SetOptions("loss", "squared_hinge", list, {{"margin", "4"}});
  if (!error.empty()) return std::puts(error.c_str()), 2;

  const train::NamedPairLoss loss = {.loss =
                                         [&](const losses::PairInputs& in) {
                                           return SquaredHinge(in, options);
                                         },
                                     .needs = {.reference = true}};
  auto loader = PairLoader::Create(Pairs(), {.batch_size = 16, .epochs = 0});
  const auto steps = train::BindCoupled(
      [&] { return loader->Next(); },
      train::PreferenceObjective(*policy, train::FrozenReference(*start), loss),
      1);
  train::Optimizer optimizer({.learning_rate = 1e-2}, {}, {&policy->params()});
  double first = 0, last = 0, accuracy = 0;
  const auto report = [&](const train::StepReport& step)
      -> absl::StatusOr<train::ObserverResult> {
    (step.step == 1 ? first : last) = step.loss;
    accuracy = step.metrics.at("rewards/accuracies");
    return train::ObserverResult{};
  };
  *train::RunLoop({.max_steps = 40}, steps, {&policy->params()}, optimizer,
                  {report});
  std::printf("loss %.3f at first, then %.3f; %.0f %% of pairs in order\n",
              first, last, 100 * accuracy);
  // At first policy and reference are one: 1/2 * 4^2.
  return first == 8 && last < 0.1 && accuracy == 1 ? 0 : 1;
}
