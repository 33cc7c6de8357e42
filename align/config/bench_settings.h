#pragma once

#include <functional>
#include <string>

#include "losses/options.h"

namespace align::bench {

// What `align bench` is told. Counts are whole numbers that are kept as the
// numbers that OptionList knows.
struct Settings {
  std::string model;  // directory of the policy at the start
  // Records of preference pairs or of prompts; empty: the openings that the
  // model writes are the prompts.
  std::string data;
  // "even", a lexicon (.txt) or a reward model directory; empty, with pairs: a
  // reward model trained on half of them, which no method sees.
  std::string gold;
  std::string work;            // a folder for what stages leave for each other
  std::function<bool()> stop;  // polled between updates

  double prompts = 128;      // to train on; of pairs, all
  double eval_prompts = 64;  // held out
  double max_length = 256;   // tokens of a prompt and its reply
  double prompt_tokens = 12;
  double reply_tokens = 48;
  double pairs_per_prompt = 4;
  double beta = 0.1;
  double kl_coef = 0.05;
  double batch_pairs = 16;      // of DPO and the reward model
  double rollout_prompts = 64;  // of PPO, in `minibatches`, `epochs` times
  double minibatches = 2;
  double epochs = 2;
  double reward_updates = 150;  // of the reward model
  double reward_rate = 5e-4;
  double dpo_rate = 5e-4;
  double ppo_rate = 3e-4;
  double goal = 0.2;         // gold reward above the start
  double cost_updates = 8;   // updates whose cost is measured
  double max_updates = 400;  // given up after
  double eval_every = 8;     // updates between looks at the gold reward
  double seed = 1;

  // Numbers with ranges and what they mean, for flags.
  void Describe(losses::OptionList& list);
};

}  // namespace align::bench
