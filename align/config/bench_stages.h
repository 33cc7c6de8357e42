#pragma once

#include <cstdint>
#include <string>

#include "align/base/status.h"
#include "align/config/bench_settings.h"

// The stages of `align bench`. Each is one process' work: it reads models and
// pairs that earlier ones left in the folder `work`.
namespace align::bench {

// What one stage cost and came to. Trivially copyable: it crosses processes.
struct StageResult {
  int64_t updates = 0;
  double seconds = 0;  // without loading models and looking at gold
  int64_t tokens_sampled = 0;
  int64_t tokens_trained = 0;  // reply tokens that gave a gradient
  double gold = 0;             // mean at the end
  double kl = 0;               // nats a reply, from the start
  bool reached = false;        // the goal
  bool needs_judge = false;    // Prepare: there is no gold reward yet
  double peak_rss_mb = 0;      // filled in by the parent
};

// Leaves prompts and pairs: those of the records, at no cost, or else samples
// of the policy judged by the gold reward. kInvalidArgument: neither pairs nor
// a gold reward.
absl::StatusOr<StageResult> Prepare(const Settings& settings);
// A reward model in `work`/name on the pairs `pairs`.
absl::StatusOr<StageResult> TrainReward(const Settings& settings,
                                        const std::string& pairs,
                                        const std::string& name);
// The gold reward of the policy at the start, on held-out prompts.
absl::StatusOr<StageResult> LookAtStart(const Settings& settings);

// How far a method runs. A goal of NaN is never looked at: for measuring what
// updates cost.
struct Goal {
  int64_t max_updates = 0;
  double gold = 0;
};
absl::StatusOr<StageResult> RunDpo(const Settings& settings, const Goal& goal);
absl::StatusOr<StageResult> RunPpo(const Settings& settings, const Goal& goal);

}  // namespace align::bench
