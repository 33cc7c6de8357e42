#pragma once

// How losses of tokens become the loss of a batch, under the names that verl
// gives them.

#include <string>

#include "losses/options.h"
#include "losses/policy.h"

namespace align::losses {

// With l_it the loss of token t of sequence i, n_i its scored tokens, B the
// sequences and L the longest completion allowed:
//   token-mean               sum_it l_it / sum_i n_i
//   seq-mean-token-mean      1/B sum_i (1/n_i) sum_t l_it
//   seq-mean-token-sum       1/B sum_it l_it
//   seq-mean-token-sum-norm  1/(B L) sum_it l_it, or 1/L sum_it l_it
enum class Aggregation {
  kTokenMean,
  kSequenceMeanTokenMean,
  kSequenceMeanTokenSum,
  kSequenceMeanTokenSumNorm,
};

// What seq-mean-token-sum-norm divides by.
enum class NormBatch { kMean, kSum };

struct AggregationRule {
  Aggregation aggregation = Aggregation::kTokenMean;
  NormBatch norm_batch = NormBatch::kMean;
  bool count_empty = true;

  void Describe(OptionList& list) {
    list.Choice(
        "aggregation", &aggregation,
        {{"token-mean", Aggregation::kTokenMean},
         {"seq-mean-token-mean", Aggregation::kSequenceMeanTokenMean},
         {"seq-mean-token-sum", Aggregation::kSequenceMeanTokenSum},
         {"seq-mean-token-sum-norm", Aggregation::kSequenceMeanTokenSumNorm}},
        "how token losses become one. token-mean: TRL's bnpo (of a "
        "micro-batch), dapo, cispo and vespo, verl's and OpenRLHF's default; "
        "seq-mean-token-mean: TRL's grpo, sapo and rloo, the GRPO paper; "
        "seq-mean-token-sum: TRL's luspo, verl; seq-mean-token-sum-norm: TRL's "
        "dr_grpo, verl's Dr. GRPO");
    list.Choice("norm_batch", &norm_batch,
                {{"mean", NormBatch::kMean}, {"sum", NormBatch::kSum}},
                "seq-mean-token-sum-norm divides by the number of sequences "
                "and the longest completion (mean: TRL's dr_grpo) or by the "
                "latter alone (sum: verl in January 2026)");
    list.Flag("count_empty", &count_empty,
              "a sequence without scored tokens counts as one with loss 0 "
              "(TRL) or not at all (false: verl)");
  }

  bool NeedsMaxLength() const {
    return aggregation == Aggregation::kSequenceMeanTokenSumNorm;
  }
  // Whether the shares below depend on the other sequences of the batch.
  bool coupled() const {
    return NeedsMaxLength() && norm_batch == NormBatch::kSum;
  }
};

// The batch's denominator, and the factor of each token's loss in the sum that
// it divides.
struct AggregationShares {
  double weight = 0;
  Eigen::ArrayXd token_factor;  // [B], for each token of a sequence
};

// `tokens`: scored tokens of each sequence, [B].
inline AggregationShares SharesOf(const AggregationRule& rule,
                                  const Eigen::ArrayXd& tokens,
                                  double max_completion_length) {
  const auto all = static_cast<double>(tokens.size());
  const double counted =
      rule.count_empty ? all : (tokens > 0.0).cast<double>().sum();
  const Eigen::ArrayXd ones = Eigen::ArrayXd::Ones(tokens.size());
  switch (rule.aggregation) {
    case Aggregation::kTokenMean:
      return {tokens.sum(), ones};
    case Aggregation::kSequenceMeanTokenMean:
      return {counted, tokens.max(1.0).inverse()};
    case Aggregation::kSequenceMeanTokenSum:
      return {counted, ones};
    case Aggregation::kSequenceMeanTokenSumNorm:
      return {counted,
              ones * (rule.norm_batch == NormBatch::kSum ? counted : 1.0) /
                  max_completion_length};
  }
  return {};
}

}  // namespace align::losses
