#pragma once

// The losses on sampled completions by name. Adding one is one header and one
// line in PolicyLosses(); configs and tables follow from the entry.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "losses/clipped_ratio.h"
#include "losses/policy.h"
#include "losses/policy_terms.h"
#include "losses/registry_entry.h"

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
  // Its own and its average; those of PolicyTerms come on top. Do not set.
  std::function<std::vector<Option>()> options;
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
                                Options options, Aggregation aggregation) {
  PolicyTerms terms;
  terms.aggregation.aggregation = aggregation;
  auto list_options = [options, terms] {
    Options own = options;
    AggregationRule average = terms.aggregation;
    OptionList list;
    own.Describe(list);
    average.Describe(list);
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
          terms.Needs(),   list_options,     create};
}

// Every loss on sampled completions, in the order they are listed.
inline std::vector<PolicyLossEntry> PolicyLosses() {
  const auto clipped = [](std::string name, std::string paper,
                          std::string summary, ClippedRatioOptions options,
                          Aggregation aggregation) {
    return MakePolicyEntry(std::move(name), std::move(paper),
                           std::move(summary), &ClippedRatioLoss, options,
                           aggregation);
  };
  return {
      clipped("ppo", "Schulman et al. 2017, arXiv 1707.06347, eq. 7",
              "clipped ratio, mean over tokens", {}, Aggregation::kTokenMean),
      clipped("grpo", "Shao et al. 2024, arXiv 2402.03300, eq. 3",
              "clipped ratio, mean over tokens, then over sequences", {},
              Aggregation::kSequenceMeanTokenMean),
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
