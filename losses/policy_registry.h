#pragma once

// The losses on sampled completions by name. Adding one is one header and one
// line in PolicyLosses(); configs and tables follow from the entry.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "losses/cispo.h"
#include "losses/clipped_ratio.h"
#include "losses/gmpo.h"
#include "losses/policy.h"
#include "losses/policy_terms.h"
#include "losses/registry_entry.h"
#include "losses/reinforce.h"
#include "losses/sapo.h"
#include "losses/vespo.h"

namespace align::losses {

// A loss ready to be called, or `error` saying what was wrong with its name or
// options and what is allowed. `error` is empty exactly when `loss` is set.
struct PolicyLossOrError {
  PolicyLoss loss;
  PolicyNeeds needs;  // with these options
  // The weight of the KL penalty in the loss; 0: none.
  double beta = 0;
  std::string error;
  bool ok() const { return error.empty(); }
};

struct PolicyLossEntry {
  std::string name;
  std::string paper;
  std::string summary;
  PolicyNeeds needs;  // with default options
  // Its own and its average, for listing; do not set.
  std::function<std::vector<Option>()> options;
  // What every policy loss has besides, with the defaults of this one.
  std::function<std::vector<Option>()> terms;
  // Takes both.
  std::function<PolicyLossOrError(const OptionValues&)> create;
};

// What is wrong with options that are each in range; empty if nothing.
inline std::string PolicyConflict(const std::string& name,
                                  const PolicyTerms& terms) {
  if (terms.sampler.low <= terms.sampler.high) return "";
  return "loss " + name +
         ": sampler_ratio_low = " + NumberText(terms.sampler.low) +
         "; expected at most sampler_ratio_high = " +
         NumberText(terms.sampler.high);
}

// An entry from a loss function and its defaults. `Options` has Describe().
template <typename Options>
PolicyLossEntry MakePolicyEntry(std::string name, std::string paper,
                                std::string summary,
                                PolicyResult (*loss)(const PolicyInputs&,
                                                     const Options&,
                                                     const PolicyTerms&),
                                const Options& options,
                                const PolicyTerms& terms) {
  auto list_options = [options, terms] {
    Options own = options;
    AggregationRule average = terms.aggregation;
    OptionList list;
    own.Describe(list);
    average.Describe(list);
    return WithoutSetters(list);
  };
  auto list_terms = [terms] {
    PolicyTerms all = terms;
    OptionList list;
    all.Describe(list);
    return WithoutSetters(list);
  };
  auto create = [name, loss, options, terms](const OptionValues& values) {
    Options own = options;
    PolicyTerms all = terms;
    OptionList list;
    own.Describe(list);
    all.aggregation.Describe(list);
    all.Describe(list);
    PolicyLossOrError out;
    out.error = SetOptions(name, list, values);
    if (out.ok()) out.error = PolicyConflict(name, all);
    if (!out.ok()) return out;
    out.needs = all.Needs();
    out.beta = all.beta;
    out.loss = [loss, own, all](const PolicyInputs& in) {
      return loss(in, own, all);
    };
    return out;
  };
  return {std::move(name), std::move(paper), std::move(summary),
          terms.Needs(),   list_options,     list_terms,
          create};
}

// Every loss on sampled completions, in the order they are listed.
inline std::vector<PolicyLossEntry> PolicyLosses() {
  constexpr Aggregation kTokens = Aggregation::kTokenMean;
  constexpr Aggregation kMeans = Aggregation::kSequenceMeanTokenMean;
  constexpr Aggregation kSums = Aggregation::kSequenceMeanTokenSum;
  constexpr Aggregation kNorm = Aggregation::kSequenceMeanTokenSumNorm;
  const auto average = [](Aggregation aggregation) {
    PolicyTerms terms;
    terms.aggregation.aggregation = aggregation;
    return terms;
  };
  PolicyTerms nash = average(kSums);
  nash.beta = 0.1;
  nash.kl.estimator = KlEstimator::kK2;
  return {
      MakePolicyEntry("ppo", "Schulman et al. 2017, arXiv 1707.06347, eq. 7",
                      "clipped ratio, mean over tokens", &ClippedRatioLoss, {},
                      average(kTokens)),
      MakePolicyEntry("grpo", "Shao et al. 2024, arXiv 2402.03300, eq. 3",
                      "clipped ratio, mean over each reply's tokens",
                      &ClippedRatioLoss, {}, average(kMeans)),
      MakePolicyEntry("bnpo",
                      "TRL 0.16; the average of arXiv 2503.14476, eq. 8",
                      "GRPO averaged over the batch's tokens",
                      &ClippedRatioLoss, {}, average(kTokens)),
      MakePolicyEntry("dr_grpo", "Liu et al. 2025, arXiv 2503.20783, eq. 3",
                      "GRPO over a constant length: long replies weigh more",
                      &ClippedRatioLoss, {}, average(kNorm)),
      MakePolicyEntry("dapo", "Yu et al. 2025, arXiv 2503.14476, eq. 8",
                      "GRPO averaged over tokens, with a higher upper bound",
                      &ClippedRatioLoss, {.epsilon_high = 0.28},
                      average(kTokens)),
      MakePolicyEntry("luspo", "Liu et al. 2026, arXiv 2602.05261, LUSPO",
                      "GSPO times the reply's length", &ClippedRatioLoss,
                      {.epsilon = 2e-3,
                       .epsilon_high = 2.5e-3,
                       .level = RatioLevel::kSequence},
                      average(kSums)),
      MakePolicyEntry("gspo", "Zheng et al. 2025, arXiv 2507.18071, eq. 5",
                      "clipped geometric mean of a reply's ratios",
                      &ClippedRatioLoss,
                      {.epsilon = 3e-4,
                       .epsilon_high = 4e-4,
                       .level = RatioLevel::kSequence},
                      average(kMeans)),
      MakePolicyEntry("gmpo", "Zhao et al. 2025, arXiv 2507.20673, eq. 4",
                      "geometric mean of ratios clipped token by token",
                      &GmpoLoss, {}, average(kMeans)),
      MakePolicyEntry("cispo", "MiniMax 2025, arXiv 2506.13585, eq. 4",
                      "policy gradient weighted by clipped ratios", &CispoLoss,
                      {}, average(kTokens)),
      MakePolicyEntry("sapo", "Gao et al. 2025, arXiv 2511.20347, eq. 5",
                      "a soft gate on ratios instead of a clip", &SapoLoss, {},
                      average(kMeans)),
      MakePolicyEntry("vespo", "Shen et al. 2026, arXiv 2602.10693, eq. 20",
                      "policy gradient weighted by the reply's ratio",
                      &VespoLoss, {}, average(kTokens)),
      MakePolicyEntry("rloo", "Ahmadian et al. 2024, arXiv 2402.14740, eq. 8",
                      "clipped ratio of whole replies, for leave-one-out "
                      "advantages",
                      &ClippedRatioLoss,
                      {.level = RatioLevel::kSequenceProduct}, average(kMeans)),
      MakePolicyEntry("reinforce", "Hu et al. 2025, arXiv 2501.03262, eq. 1",
                      "policy gradient without a ratio (REINFORCE++, ReMax)",
                      &ReinforceLoss, {}, average(kTokens)),
      MakePolicyEntry("nash_md", "Munos et al. 2023, arXiv 2312.00886, eq. 8",
                      "policy gradient on the chance to win, less one half",
                      &ReinforceLoss, {}, nash),
  };
}

// The loss `name` with `values` set over its defaults, or an error text.
inline PolicyLossOrError MakePolicyLoss(const std::string& name,
                                        const OptionValues& values = {}) {
  std::vector<std::string> known;
  for (const PolicyLossEntry& entry : PolicyLosses()) {
    if (entry.name == name) return entry.create(values);
    known.push_back(entry.name);
  }
  PolicyLossOrError out;
  out.error = UnknownName("loss", name, known);
  return out;
}

}  // namespace align::losses
