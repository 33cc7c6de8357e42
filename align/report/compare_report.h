#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"

namespace align {

// What a comparison of methods shows, as text: a table for the terminal, one
// for Markdown, results.json and samples.md. Pure functions; any thread may
// call them.

// One method's row. A NaN is a number that is not known: "-" in tables ("?" as
// an error), null in JSON.
struct MethodResult {
  std::string method;      // sft, best_of_n, dpo, rso or ppo
  double gold_mean = 0;    // gold reward over held-out prompts
  double gold_stderr = 0;  // its standard error
  double win_rate = 0.5;   // against SFT by prompt, in [0, 1]; ties one half
  double win_low = 0.5;    // 95 % interval
  double win_high = 0.5;
  double kl = 0;  // nats per sequence, from SFT
  // "sampled": the mean log-ratio. "bound": log n - (n - 1) / n of best-of-n.
  std::string kl_kind = "sampled";
  double length = 0;           // mean tokens of a reply
  double distinct_2 = 0;       // distinct bigrams over all bigrams
  double seconds = 0;          // wall time with every earlier stage it needs
  double seconds_own = 0;      // without them
  int64_t tokens_sampled = 0;  // with earlier stages, as `seconds`
  int64_t tokens_trained = 0;
  double peak_rss_mb = 0;   // 2^20 bytes, of the largest process
  int64_t models_held = 0;  // at once, in that process
};

// An aligned plain-text table: two header lines (names, units), a rule, one
// line a method, and what the signs mean. At most 120 columns while method
// names have at most 11 bytes and rewards stay within +-99.
std::string RenderTable(std::span<const MethodResult> results);

// The same cells as a GitHub table, one header line with the units in it.
std::string RenderMarkdownTable(std::span<const MethodResult> results);

// results.json: an array of one object a method with the keys method,
// gold_mean, gold_stderr, win_rate, win_low, win_high, kl, length, distinct_2,
// seconds, tokens_sampled, tokens_trained, peak_rss_mb, seconds_own, kl_kind
// and models_held, in this order; units as in MethodResult. kInvalidArgument
// names the method whose kl_kind is neither "sampled" nor "bound", whose name
// is empty, not UTF-8 or there twice, or sft when its win rate against itself
// is not 0.5.
absl::StatusOr<std::string> ResultsJson(std::span<const MethodResult> results);

struct MethodSample {
  std::string method;
  std::string reply;  // as sampled
  double gold = 0;    // its gold reward
};
struct SamplesAcrossMethods {
  std::string prompt;
  std::vector<MethodSample> samples;  // one a method, in the table's order
};

// samples.md: a section a prompt; the prompt and each reply unedited in fenced
// blocks, with fences longer than any run of backticks inside.
std::string RenderSamplesMarkdown(
    std::span<const SamplesAcrossMethods> samples);

}  // namespace align
