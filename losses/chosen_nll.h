#pragma once

#include <algorithm>
#include <string>

#include "losses/options.h"
#include "losses/pair.h"

namespace align::losses {

enum class NllAverage { kTokens, kSequences, kSum };

// The choice that every loss with an NLL term has.
inline void DescribeNllAverage(OptionList& list, NllAverage* average,
                               const std::string& name = "nll_average") {
  list.Choice(name, average,
              {{"tokens", NllAverage::kTokens},
               {"sequences", NllAverage::kSequences},
               {"sum", NllAverage::kSum}},
              "NLL as a mean over the batch's tokens (tokens: TRL), a mean a "
              "reply, then over replies (sequences: OpenRLHF, LLaMA-Factory), "
              "or summed over each reply (sum)");
}

// Adds weight * NLL of what is to be learnt, the chosen reply unless
// in.chosen_nll says more, so that the mean over pairs is
//   tokens: sum of NLL / sum of tokens;   sequences: mean of NLL_i / T_i;
//   sum: mean of NLL_i.
// Counts below 1 count as 1. Tokens couples the batch through its denominator.
inline void AddChosenNll(const PairInputs& in, double weight,
                         NllAverage average, PairLossResult& out) {
  const bool given = in.chosen_nll.size() > 0;
  const Eigen::ArrayXd nll =
      given ? in.chosen_nll : Eigen::ArrayXd(-in.policy_chosen);
  const Eigen::ArrayXd& tokens =
      given ? in.chosen_nll_tokens : in.chosen_tokens;
  Eigen::ArrayXd slope = Eigen::ArrayXd::Constant(nll.size(), weight);
  if (average == NllAverage::kTokens) {
    slope *= static_cast<double>(nll.size()) / std::max(tokens.sum(), 1.0);
  } else if (average == NllAverage::kSequences) {
    slope /= tokens.max(1.0);
  }
  out.loss += slope * nll;
  if (!given) {
    out.d_policy_chosen -= slope;
  } else if (out.d_chosen_nll.size() == 0) {
    out.d_chosen_nll = slope;
  } else {
    out.d_chosen_nll += slope;
  }
}

struct SftPairOptions {
  double beta = 0.1;
  NllAverage nll_average = NllAverage::kTokens;

  void Describe(OptionList& list) {
    list.Number("beta", &beta, {.low = 0, .open_low = true},
                "scale of the reported rewards alone");
    DescribeNllAverage(list, &nll_average);
  }
  PairNeeds Needs() const {
    return {.reference = true,
            .lengths = nll_average != NllAverage::kSum,
            .coupled = nll_average == NllAverage::kTokens};
  }
};

// NLL of the chosen replies, the rejected ones unused: a term of mixed losses
// (MPO, Wang et al. 2024, arXiv 2411.10442, eq. 6). The reference is read for
// the rewards it reports.
inline PairLossResult SftPairLoss(const PairInputs& in,
                                  const SftPairOptions& options) {
  PairLossResult out = ZeroResult(in, options.beta);
  AddChosenNll(in, 1.0, options.nll_average, out);
  return out;
}

}  // namespace align::losses
