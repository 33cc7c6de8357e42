#pragma once

// Estimators of advantages by name, as losses are.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "losses/advantages.h"
#include "losses/group_advantages.h"
#include "losses/leave_one_out.h"
#include "losses/registry_entry.h"
#include "losses/token_advantages.h"

namespace align::losses {

// An estimator ready to be called, or `error` saying what was wrong with its
// name or options and what is allowed. `error` is empty exactly when
// `estimator` is set.
struct AdvantageEstimatorOrError {
  AdvantageEstimator estimator;
  AdvantageNeeds needs;  // with these options
  std::string error;
  bool ok() const { return error.empty(); }
};

struct AdvantageEntry {
  std::string name;
  std::string paper;
  std::string summary;
  AdvantageNeeds needs;                          // with default options
  std::function<std::vector<Option>()> options;  // for listing; do not set
  std::function<AdvantageEstimatorOrError(const OptionValues&)> create;
};

// An entry from an estimator whose options struct has Describe() and Needs().
template <typename Options>
AdvantageEntry MakeAdvantageEntry(
    std::string name, std::string paper, std::string summary,
    AdvantageResult (*estimator)(const AdvantageInputs&, const Options&)) {
  auto create = [name, estimator](const OptionValues& values) {
    Options options;
    OptionList list;
    options.Describe(list);
    AdvantageEstimatorOrError out;
    out.error = SetOptions("advantage", name, list, values);
    if (!out.ok()) return out;
    out.needs = options.Needs();
    out.estimator = [estimator, options](const AdvantageInputs& in) {
      return estimator(in, options);
    };
    return out;
  };
  return {std::move(name),   std::move(paper),     std::move(summary),
          Options().Needs(), ListOptions<Options>, create};
}

// Every estimator, in the order they are listed.
inline std::vector<AdvantageEntry> AdvantageEstimators() {
  return {
      MakeAdvantageEntry("group",
                         "Shao et al. 2024, arXiv 2402.03300, section 4.1.2",
                         "GRPO: rewards normalised within a prompt's samples",
                         &GroupAdvantages),
      MakeAdvantageEntry("rloo",
                         "Ahmadian et al. 2024, arXiv 2402.14740, eq. 8",
                         "rewards less the mean of the prompt's other samples",
                         &LeaveOneOutAdvantages),
      MakeAdvantageEntry("opo", "Hao et al. 2025, arXiv 2505.23585, eq. 6",
                         "rewards less the prompt's mean weighted by length",
                         &OpoAdvantages),
      MakeAdvantageEntry(
          "gae", "Schulman et al. 2015, arXiv 1506.02438, eq. 16",
          "PPO: temporal differences of a critic", &GaeAdvantages),
      MakeAdvantageEntry("reinforce_plus_plus",
                         "Hu et al. 2025, arXiv 2501.03262, section 3",
                         "what follows a token, whitened over the batch",
                         &ReinforcePlusPlusAdvantages),
      MakeAdvantageEntry("reinforce_plus_plus_baseline",
                         "Hu et al. 2025, arXiv 2501.03262, section 3",
                         "the same less the mean of the prompt's samples",
                         &ReinforceBaselineAdvantages),
      MakeAdvantageEntry("remax", "Li et al. 2023, arXiv 2310.10505, eq. 5",
                         "what follows a token less the greedy reply's reward",
                         &RemaxAdvantages),
  };
}

// The estimator `name` with `values` set over its defaults, or an error text.
inline AdvantageEstimatorOrError MakeAdvantageEstimator(
    const std::string& name, const OptionValues& values = {}) {
  std::vector<std::string> known;
  for (const AdvantageEntry& entry : AdvantageEstimators()) {
    if (entry.name == name) return entry.create(values);
    known.push_back(entry.name);
  }
  AdvantageEstimatorOrError out;
  out.error = UnknownName("advantage", name, known);
  return out;
}

}  // namespace align::losses
