#pragma once

// What becomes of a reward before advantages are made of it.

#include <Eigen/Core>
#include <algorithm>

#include "losses/numerics.h"
#include "losses/options.h"

namespace align::losses {

// What a completion without an end is charged.
enum class MissingEos { kSubtract, kReplace };

struct CompletionPenaltyOptions {
  MissingEos rule = MissingEos::kSubtract;
  double missing_eos = 0;
  double min_tokens = 0;

  void Describe(OptionList& list) {
    list.Choice("missing_eos_rule", &rule,
                {{"subtract", MissingEos::kSubtract},
                 {"replace", MissingEos::kReplace}},
                "the penalty is taken off the score (subtract: TRL) or its "
                "negative becomes the score (replace: OpenAI and Huang et al. "
                "with 1, torchtune with 3)");
    list.Number("missing_eos_penalty", &missing_eos, {.low = 0},
                "penalty of a completion that does not end; 0 is off");
    list.Number("min_response_length", &min_tokens, {.low = 0},
                "shorter completions, in tokens, are penalised too (torchtune "
                "18); 0 is off");
  }
};

// Scores [B] of completions that ended or not, with their lengths in tokens.
inline Eigen::ArrayXd PenalizeCompletions(
    const Eigen::ArrayXd& scores,
    const Eigen::Array<bool, Eigen::Dynamic, 1>& ended,
    const Eigen::ArrayXd& tokens, const CompletionPenaltyOptions& options) {
  Eigen::ArrayXd out = scores;
  if (options.missing_eos == 0) return out;
  for (Eigen::Index i = 0; i < out.size(); ++i) {
    if (ended[i] && tokens[i] >= options.min_tokens) continue;
    const bool replace = options.rule == MissingEos::kReplace;
    out[i] = (replace ? 0.0 : out[i]) - options.missing_eos;
  }
  return out;
}

struct OverlongOptions {
  double max_tokens = 0;
  double buffer_tokens = 0;
  double factor = 1;

  void Describe(OptionList& list) {
    list.Number("overlong_max_tokens", &max_tokens, {.low = 0},
                "the longest completion; 0 is off");
    list.Number("overlong_buffer_tokens", &buffer_tokens, {.low = 0},
                "how many tokens before that the penalty starts to grow");
    list.Number("overlong_factor", &factor, {.low = 0},
                "penalty at the end of the buffer");
  }
};

// Soft overlong punishment of completions of n tokens, [B]: 0 up to max -
// buffer, then linear down to -factor at max, and -factor beyond. Yu et al.
// 2025 (DAPO, arXiv 2503.14476), eq. 13.
inline Eigen::ArrayXd OverlongPenalty(const Eigen::ArrayXd& tokens,
                                      const OverlongOptions& options) {
  if (options.max_tokens == 0) return Eigen::ArrayXd::Zero(tokens.size());
  const double start = options.max_tokens - options.buffer_tokens;
  if (options.buffer_tokens == 0) {
    return -options.factor * (tokens > start).cast<double>();
  }
  return -options.factor *
         ((tokens - start) / options.buffer_tokens).max(0.0).min(1.0);
}

}  // namespace align::losses
