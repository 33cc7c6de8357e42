// PPO (Schulman et al. 2017; Ouyang et al. 2022): sample, ask for the reward,
// train on it, and again. Beside the policy a critic learns what to expect.
//
// dpo.cc, rso.cc and ppo.cc are one program around three methods: their diff is
// the method. A new, tiny Llama writes letters; the more vowels, the better.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "align/eval/policy_eval.h"
#include "align/models/model.h"
#include "align/train/optimizer.h"
#include "align/train/ppo_objective.h"
#include "align/train/ppo_rollout.h"
#include "align/train/reference.h"
#include "align/train/reward_function.h"
#include "align/train/run_loop.h"
#include "samplers/generate.h"

using namespace align;
using Tokens = std::vector<int32_t>;

// Token i is the i-th of these letters; the first five are the vowels.
constexpr char kAlphabet[] = "aeioubcdfghjklmnpqrstvwxyz";
constexpr int64_t kLength = 12;  // letters of a reply

// The reward of a reply: its share of vowels. Random letters get 5 / 26.
double Vowels(const Tokens& reply) {
  const auto is_vowel = [](int32_t token) { return token < 5; };
  return std::ranges::count_if(reply, is_vowel) / double{kLength};
}

// An error here is a bug: * on a status without a value ends the program.
int main() {
  const ModelConfig shape = {.vocab_size = 26,
                             .hidden_size = 32,
                             .intermediate_size = 64,
                             .num_hidden_layers = 2,
                             .num_attention_heads = 4,
                             .num_key_value_heads = 2,
                             .head_dim = 8};
  const auto policy = *CreateModel(shape, Rng(1));
  const auto start = CloneModel(*policy);  // what it is pulled back to
  const auto reference = train::FrozenReference(*start);
  policy->params().EnableGradients();
  std::vector<Tokens> prompts;
  for (int32_t i = 0; i < 256; ++i) prompts.push_back({i / 26, i % 26});
  const samplers::SamplingOptions sampling = {.max_new_tokens = kLength};
  const auto reward = train::RewardByReply(Vowels);
  const auto evaluate = [&] {
    return *EvaluatePolicy(*policy, prompts, reward, reference, sampling,
                           Rng(2));
  };
  const PolicyEvaluation before = evaluate();
  const auto begin = std::chrono::steady_clock::now();

  // ---- The method.
  // The critic has the policy's trunk, as weights are drawn by their names.
  ModelConfig with_score = shape;
  with_score.architecture = Architecture::kLlamaForSequenceClassification;
  const auto critic = *CreateModel(with_score, Rng(1));
  critic->params().EnableGradients();
  // 24 times 64 replies, each trained on twice, while it is pulled to start.
  const auto rollouts =
      train::PpoRollouts::Create(
          {.prompts = prompts},
          {.generate = train::SampleReplies(*policy, sampling),
           .reward = reward,
           .reference = reference,
           .critic = critic.get()},
          {.prompts = 64, .rollouts = 24, .epochs = 2, .kl_coef = 0.02}, Rng(3))
          .value();
  const auto steps = train::Bind<train::PpoBatch>(
      [&] { return rollouts->Next(); }, train::PpoObjective(*policy, *critic));
  const std::vector<ParamStore*> stores = {&policy->params(),
                                           &critic->params()};
  train::Optimizer optimizer({.learning_rate = 1e-2}, {}, stores);
  *train::RunLoop({}, steps, stores, optimizer, {});
  const int64_t sampled = rollouts->state().tokens_sampled;
  const int64_t trained = rollouts->state().tokens_trained;
  // ---- What came of it.
  const std::chrono::duration<double> seconds =
      std::chrono::steady_clock::now() - begin;
  const PolicyEvaluation after = evaluate();
  for (const PolicyEvaluation& e : {before, after}) {
    std::printf("reward %.3f  KL %5.2f nats  ", e.reward.mean, e.kl);
    for (int32_t token : e.replies[0].tokens) std::putchar(kAlphabet[token]);
    std::putchar('\n');
  }
  std::printf("%.2f s, %ld tokens sampled, %ld trained\n", seconds.count(),
              sampled, trained);
  return after.reward.mean > before.reward.mean + 0.3 ? 0 : 1;
}
