#pragma once

// Estimators of advantages by name, as losses are.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "losses/advantages.h"
#include "losses/group_advantages.h"
#include "losses/registry_entry.h"

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
