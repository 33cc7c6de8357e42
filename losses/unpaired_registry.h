#pragma once

// The losses on single labelled replies by name. Adding one is one header and
// one line in UnpairedLosses(); configs and tables follow from the entry.

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "losses/apo_zero_unpaired.h"
#include "losses/bco.h"
#include "losses/coupling.h"
#include "losses/kto.h"
#include "losses/options.h"
#include "losses/registry_entry.h"
#include "losses/unpaired.h"

namespace align::losses {

// A loss ready to be called, or `error` saying what was wrong with its name or
// options and what is allowed. `error` is empty exactly when `loss` is set.
struct UnpairedLossOrError {
  UnpairedLoss loss;
  UnpairedNeeds needs;  // with these options
  double beta = 0;      // what implicit rewards are scaled by
  // If needs.coupled: what the loss should be given at a time.
  Coupling coupling = Coupling::kGlobal;
  std::string error;
  bool ok() const { return error.empty(); }
};

struct UnpairedLossEntry {
  std::string name;
  std::string paper;
  std::string summary;
  UnpairedNeeds needs;  // with default options
  // Its own and `coupling`, for listing; do not set.
  std::function<std::vector<Option>()> options;
  std::function<UnpairedLossOrError(const OptionValues&)> create;
};

// What each loss reads given its options.
inline UnpairedNeeds UnpairedNeedsOf(const KtoOptions& options) {
  const bool estimate = options.kl == KtoKl::kMismatched;
  return {.reference = true, .mismatched = estimate, .coupled = estimate};
}
inline UnpairedNeeds UnpairedNeedsOf(
    const ApoZeroUnpairedOptions& /*options*/) {
  return {.reference = true};
}
inline UnpairedNeeds UnpairedNeedsOf(const BcoOptions& options) {
  return {.reference = true,
          .density_ratio = options.udm,
          .moments = options.delta == BcoDelta::kRunning,
          .coupled = options.delta != BcoDelta::kGiven};
}

// What is wrong with options that are each in range; empty if nothing.
template <typename Options>
std::string UnpairedConflict(const Options& /*options*/) {
  return "";
}
inline std::string UnpairedConflict(const BcoOptions& options) {
  if (options.min_density_ratio <= options.max_density_ratio) return "";
  return "loss bco: min_density_ratio = " +
         NumberText(options.min_density_ratio) + "; expected at most " +
         "max_density_ratio = " + NumberText(options.max_density_ratio);
}

// An entry from an options struct with Describe() and its loss, called as
// loss(inputs, options, moments).
template <typename Options, typename Loss>
UnpairedLossEntry MakeUnpairedEntry(std::string name, std::string paper,
                                    std::string summary, Loss loss) {
  auto list_options = [] {
    Options options;
    Coupling coupling = Coupling::kGlobal;
    OptionList list;
    options.Describe(list);
    DescribeCoupling(list, &coupling);
    return WithoutSetters(list);
  };
  auto create = [name, loss](const OptionValues& values) {
    Options options;
    OptionList list;
    options.Describe(list);
    UnpairedLossOrError out;
    DescribeCoupling(list, &out.coupling);
    out.error = SetOptions(name, list, values);
    if (out.ok()) out.error = UnpairedConflict(options);
    if (!out.ok()) return out;
    out.needs = UnpairedNeedsOf(options);
    out.beta = options.beta;
    out.loss = [loss, options](const UnpairedInputs& in,
                               RunningMoments& moments) {
      return loss(in, options, moments);
    };
    return out;
  };
  return {name,
          std::move(paper),
          std::move(summary),
          UnpairedNeedsOf(Options()),
          list_options,
          create};
}

// Every loss on single replies, in the order they are listed.
inline std::vector<UnpairedLossEntry> UnpairedLosses() {
  return {
      MakeUnpairedEntry<KtoOptions>(
          "kto", "Ethayarajh et al. 2024, arXiv 2402.01306, eq. 8",
          "KTO: prospect-theoretic value of a reply against the batch's KL",
          [](const UnpairedInputs& in, const KtoOptions& options,
             RunningMoments&) { return KtoLoss(in, options); }),
      MakeUnpairedEntry<ApoZeroUnpairedOptions>(
          "apo_zero_unpaired",
          "D'Oosterlinck et al. 2024, arXiv 2408.06266, APO-zero",
          "APO-zero without pairs: KTO around 0",
          [](const UnpairedInputs& in, const ApoZeroUnpairedOptions& options,
             RunningMoments&) { return ApoZeroUnpairedLoss(in, options); }),
      MakeUnpairedEntry<BcoOptions>(
          "bco", "Jung et al. 2024, arXiv 2404.04656, Theorem 1",
          "BCO: binary classifier of shifted rewards, UDM weights",
          [](const UnpairedInputs& in, const BcoOptions& options,
             RunningMoments& moments) {
            return BcoLoss(in, options, moments);
          }),
  };
}

// The loss `name` with `values` set over its defaults, or an error text.
inline UnpairedLossOrError MakeUnpairedLoss(const std::string& name,
                                            const OptionValues& values = {}) {
  std::vector<std::string> known;
  for (const UnpairedLossEntry& entry : UnpairedLosses()) {
    if (entry.name == name) return entry.create(values);
    known.push_back(entry.name);
  }
  UnpairedLossOrError out;
  out.error = UnknownName("loss", name, known);
  return out;
}

}  // namespace align::losses
