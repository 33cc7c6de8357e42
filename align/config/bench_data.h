#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/config/bench_settings.h"
#include "align/data/loader.h"
#include "align/models/model.h"

// What the stages of `align bench` read: the user's records as tokens, split
// by prompt, and the files in the folder `work` that carry them from stage to
// stage.
namespace align::bench {

using Tokens = std::vector<int32_t>;

struct SplitPrompts {
  std::vector<Tokens> train;
  std::vector<Tokens> held_out;  // the gold reward is looked at on these
};

struct SplitPairs {
  SplitPrompts prompts;
  std::vector<PairExample> train;  // on prompts.train
  std::vector<PairExample> judge;  // on prompts of their own
};

// Pairs split by prompt, in an order drawn with the seed: `eval_prompts` of the
// distinct prompts are held out, without a gold reward half of the others are
// the judge's, and the rest is for training. kInvalidArgument names
// settings.data when its prompts are too few.
absl::StatusOr<SplitPairs> SplitByPrompt(std::vector<PairExample> pairs,
                                         const Settings& settings);

// Whether settings.data holds pairs, and then these. kInvalidArgument: records
// of other kinds among them, or lengths that leave no room for a prompt.
absl::StatusOr<bool> ReadDataPairs(const Settings& settings,
                                   const ModelConfig& config,
                                   std::vector<PairExample>& pairs);

// `prompts` + `eval_prompts` prompts, of settings.data or, when that is empty,
// openings that the policy writes itself. kInvalidArgument when they are fewer.
absl::StatusOr<SplitPrompts> ReadDataPrompts(const Settings& settings,
                                             const Model& policy);

// Files in settings.work.
absl::Status SavePrompts(const Settings& settings, const SplitPrompts& prompts);
absl::StatusOr<SplitPrompts> LoadPrompts(const Settings& settings);
absl::Status SavePairs(const Settings& settings, const std::string& name,
                       std::span<const PairExample> pairs);
// Endless, shuffled by the seed.
absl::StatusOr<PairLoader> LoadPairs(const Settings& settings,
                                     const std::string& name);

}  // namespace align::bench
