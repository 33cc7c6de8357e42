// RSO (Liu et al. 2023): DPO on better pairs. Rejection sampling turns replies
// of the start into replies of the best policy, which then meet in pairs.
//
// dpo.cc, rso.cc and ppo.cc are one program around three methods: their diff is
// the method. A new, tiny Llama writes letters; the more vowels, the better.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "align/data/loader.h"
#include "align/eval/policy_eval.h"
#include "align/models/model.h"
#include "align/train/optimizer.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "align/train/reward_function.h"
#include "align/train/run_loop.h"
#include "samplers/generate.h"
#include "samplers/rejection.h"

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
  // Of 16 replies 4, as if drawn from start * exp(reward / beta).
  std::vector<PairExample> pairs;
  Rng rng(3);
  const auto replies = *samplers::Generate(*policy, prompts, 16, sampling, rng);
  const int64_t sampled = kLength * std::ssize(replies);
  for (size_t p = 0; p < prompts.size(); ++p) {
    std::vector<Tokens> candidates;
    std::vector<double> rewards;
    for (size_t k = 16 * p; k < 16 * (p + 1); ++k) {
      candidates.push_back(replies[k].tokens);
      rewards.push_back(Vowels(replies[k].tokens));
    }
    const auto best = *samplers::RejectionSample(
        candidates, rewards, {.accept = 4, .beta = 0.1}, rng);
    for (auto [w, l] : samplers::FirstRoundPairs(best.accepted, rewards, rng)) {
      pairs.push_back({prompts[p], candidates[w], candidates[l]});
    }
  }
  // Raises log pi / start of the chosen reply until it is 1 / beta nats ahead.
  const auto hinge = *train::MakePairLoss("hinge", {{"beta", "0.1"}});
  auto loader = PairLoader::Create(pairs, {.batch_size = 32, .epochs = 2});
  const auto steps = train::BindCoupled(
      [&] { return loader->Next(); },
      train::PreferenceObjective(*policy, reference, hinge), 1);
  train::Optimizer optimizer({.learning_rate = 1e-2}, {}, {&policy->params()});
  *train::RunLoop({}, steps, {&policy->params()}, optimizer, {});
  const int64_t trained = 2 * 2 * kLength * std::ssize(pairs);  // two epochs
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
