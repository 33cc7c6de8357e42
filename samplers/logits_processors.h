#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "align/base/status.h"

namespace align::samplers {

// Which tokens may come next: transformers' options of the same names with its
// semantics, in the order in which it applies them, which is this one. Off by
// default. Each looks at the probabilities that those before it left, summed to
// one again.
struct LogitsOptions {
  // Of any choice, sampled or greedy; they look back at prompt and reply.
  double repetition_penalty = 1;     // > 0: RepeatTokensLess
  int64_t no_repeat_ngram_size = 0;  // tokens; 0: any n-gram may come again
  // Of sampling. Ties on a boundary stay, but for top_p, where lower ids do.
  int64_t top_k = 0;          // the largest; 0: all
  double top_p = 1;           // (0, 1]: fewest that hold so much probability
  double min_p = 0;           // [0, 1]: of the largest probability, at least
  double typical_p = 1;       // (0, 1]: the same mass, most typical ones first
  double epsilon_cutoff = 0;  // [0, 1): least probability
  // What top_p, min_p, typical_p and epsilon_cutoff leave at least.
  int64_t min_tokens_to_keep = 1;

  bool LooksBack() const {
    return repetition_penalty != 1 || no_repeat_ngram_size > 0;
  }
  bool Filters() const {
    return top_k > 0 || top_p < 1 || min_p > 0 || typical_p < 1 ||
           epsilon_cutoff > 0;
  }
};

// kInvalidArgument "sampling: ..." names the option that is out of its range.
absl::Status CheckLogitsOptions(const LogitsOptions& options);

// Holds back what `context`, prompt and reply so far, has in it. Each id there,
// once: its logit over repetition_penalty when positive, times it otherwise
// (Keskar et al. 2019, arXiv 1909.05858, section 4.1). Then -inf for what would
// complete an n-gram of no_repeat_ngram_size that is in `context` (Paulus et
// al. 2017, arXiv 1705.04304, section 2.5), unless that is the whole
// vocabulary. `logits` [V] may be divided by a temperature already: the two
// commute. Ids are below V.
void RepeatTokensLess(const LogitsOptions& options,
                      std::span<const int32_t> context,
                      std::span<double> logits);

// The ids, ascending, that top_k, top_p (Holtzman et al. 2020, arXiv
// 1904.09751), min_p (Nguyen et al. 2024, arXiv 2407.01082, eq. 2 and 3),
// typical_p (Meister et al. 2022, arXiv 2202.00666, eq. 11) and epsilon_cutoff
// (Hewitt et al. 2022, arXiv 2210.15191, section 4.2) leave of those with
// `logits` [V] above -inf. No more of a vocabulary is sorted than what is kept.
std::vector<int32_t> KeptTokens(const LogitsOptions& options,
                                std::span<const double> logits);

}  // namespace align::samplers
