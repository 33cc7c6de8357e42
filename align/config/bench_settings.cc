#include "align/config/bench_settings.h"

namespace align::bench {

void Settings::Describe(losses::OptionList& list) {
  const losses::Range count = {.low = 1, .high = 1e6};
  const losses::Range positive = {.low = 0, .open_low = true};
  list.Number("prompts", &prompts, count, "to train on; of pairs, all");
  list.Number("eval_prompts", &eval_prompts, count, "prompts held out");
  list.Number("max_length", &max_length, count,
              "tokens of a prompt and its reply");
  list.Number("prompt_tokens", &prompt_tokens, count, "of sampled openings");
  list.Number("reply_tokens", &reply_tokens, count, "at most, of a reply");
  list.Number("pairs_per_prompt", &pairs_per_prompt, count,
              "pairs sampled and judged before training");
  list.Number("beta", &beta, positive, "DPO's pull to the start");
  list.Number("kl_coef", &kl_coef, {.low = 0}, "PPO's pull to the start");
  list.Number("batch_pairs", &batch_pairs, count,
              "of an update of DPO or of the reward model");
  list.Number("rollout_prompts", &rollout_prompts, count, "of a PPO rollout");
  list.Number("minibatches", &minibatches, count, "of a rollout, each epoch");
  list.Number("epochs", &epochs, count, "of a rollout");
  list.Number("reward_updates", &reward_updates, count, "of the reward model");
  list.Number("reward_rate", &reward_rate, positive, "its learning rate");
  list.Number("dpo_rate", &dpo_rate, positive, "DPO's learning rate");
  list.Number("ppo_rate", &ppo_rate, positive, "PPO's learning rate");
  list.Number("goal", &goal, positive, "gold reward above the start");
  list.Number("cost_updates", &cost_updates, count,
              "updates whose cost is measured, rounded up to whole rollouts");
  list.Number("max_updates", &max_updates, count,
              "updates after which the goal is given up");
  list.Number("eval_every", &eval_every, count,
              "updates between looks at the gold reward");
  list.Number("seed", &seed, {.low = 0, .high = 1e9}, "of all that is drawn");
}

}  // namespace align::bench
