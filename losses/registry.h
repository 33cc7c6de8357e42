#pragma once

// The losses by name. Adding one is one header and one line in PairLosses();
// configs, `align list losses` and tables follow from the entry.

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "losses/hinge.h"
#include "losses/ipo.h"
#include "losses/options.h"
#include "losses/pair.h"
#include "losses/sigmoid.h"

namespace align::losses {

// Option name and value as text, in the order given.
using OptionValues = std::vector<std::pair<std::string, std::string>>;

// A loss ready to be called, or `error` saying what was wrong with its name or
// options and what is allowed. `error` is empty exactly when `loss` is set.
struct PairLossOrError {
  PairLoss loss;
  PairNeeds needs;  // with these options
  double beta = 0;  // what implicit rewards are scaled by
  std::string error;
  bool ok() const { return error.empty(); }
};

struct PairLossEntry {
  std::string name;
  std::string paper;
  std::string summary;
  PairNeeds needs;                               // with default options
  std::function<std::vector<Option>()> options;  // for listing; do not set
  std::function<PairLossOrError(const OptionValues&)> create;
};

// Candidates close to `name` (at most 2 edits, or one contains the other), for
// "did you mean".
inline std::vector<std::string> NearMisses(
    const std::string& name, const std::vector<std::string>& candidates) {
  std::vector<std::string> near;
  for (const std::string& other : candidates) {
    std::vector<size_t> row(other.size() + 1);
    for (size_t j = 0; j <= other.size(); ++j) row[j] = j;
    for (size_t i = 1; i <= name.size(); ++i) {
      size_t diagonal = row[0]++;
      for (size_t j = 1; j <= other.size(); ++j) {
        const size_t replaced = diagonal + (name[i - 1] != other[j - 1]);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
      }
    }
    const bool contained =
        !name.empty() && (other.find(name) != std::string::npos ||
                          name.find(other) != std::string::npos);
    if (row.back() <= 2 || contained) near.push_back(other);
  }
  return near;
}

// "KIND 'NAME' is unknown; did you mean A? Known: A, B".
inline std::string UnknownName(const std::string& kind, const std::string& name,
                               const std::vector<std::string>& known) {
  std::string text = kind + " '" + name + "' is unknown";
  const std::vector<std::string> near = NearMisses(name, known);
  if (!near.empty()) text += "; did you mean '" + near.front() + "'?";
  text += " Known:";
  for (size_t i = 0; i < known.size(); ++i) {
    text += (i == 0 ? " " : ", ") + known[i];
  }
  return text;
}

// Sets options by name; returns an error text, empty if all were taken.
inline std::string SetOptions(const std::string& loss, const OptionList& list,
                              const OptionValues& values) {
  std::vector<std::string> known;
  for (const Option& option : list.options()) known.push_back(option.name);
  for (const auto& [name, text] : values) {
    const auto it = std::find(known.begin(), known.end(), name);
    if (it == known.end()) {
      return UnknownName("loss " + loss + ": option", name, known);
    }
    const Option& option = list.options()[it - known.begin()];
    if (!option.set(text)) {
      return "loss " + loss + ": " + name + " = " + text + "; expected " +
             option.allowed;
    }
  }
  return "";
}

// What a loss reads given its options; a struct without the field needs `base`.
template <typename Options>
PairNeeds NeedsWith(PairNeeds base, const Options& options) {
  if constexpr (requires { options.reference_free; }) {
    base.reference = base.reference && !options.reference_free;
  }
  if constexpr (requires { options.reduction; }) {
    base.lengths = options.reduction == IpoReduction::kMean;
  }
  return base;
}

// An entry from an options struct with Describe() and a loss function.
template <typename Options>
PairLossEntry MakePairEntry(std::string name, std::string paper,
                            std::string summary, PairNeeds needs,
                            PairLossResult (*loss)(const PairInputs&,
                                                   const Options&)) {
  auto list_options = [] {
    Options options;
    OptionList list;
    options.Describe(list);
    std::vector<Option> out = list.options();
    // The setters point into `options`, which ends here.
    for (Option& option : out) option.set = nullptr;
    return out;
  };
  auto create = [name, needs, loss](const OptionValues& values) {
    Options options;
    OptionList list;
    options.Describe(list);
    PairLossOrError out;
    out.error = SetOptions(name, list, values);
    if (!out.ok()) return out;
    out.needs = NeedsWith(needs, options);
    out.beta = options.beta;
    out.loss = [loss, options](const PairInputs& in) {
      return loss(in, options);
    };
    return out;
  };
  return {name,  std::move(paper), std::move(summary),
          needs, list_options,     create};
}

// Every loss on pairs, in the order they are listed.
inline std::vector<PairLossEntry> PairLosses() {
  return {
      MakePairEntry<SigmoidOptions>(
          "sigmoid", "Rafailov et al. 2023, arXiv 2305.18290, eq. 7",
          "DPO: logistic loss on the margin of log-ratios", {.reference = true},
          &SigmoidPairLoss),
      MakePairEntry<HingeOptions>(
          "hinge", "Liu et al. 2023, arXiv 2309.06657, eq. 10",
          "RSO hinge-norm: hinge on the margin of log-ratios",
          {.reference = true}, &HingePairLoss),
      MakePairEntry<IpoOptions>(
          "ipo", "Azar et al. 2023, arXiv 2310.12036, eq. 17",
          "squared distance of the margin to 1 / (2 beta)",
          {.reference = true, .lengths = true}, &IpoPairLoss),
  };
}

// The loss `name` with `values` set over its defaults, or an error text.
inline PairLossOrError MakePairLoss(const std::string& name,
                                    const OptionValues& values = {}) {
  std::vector<std::string> known;
  for (const PairLossEntry& entry : PairLosses()) {
    if (entry.name == name) return entry.create(values);
    known.push_back(entry.name);
  }
  PairLossOrError out;
  out.error = UnknownName("loss", name, known);
  return out;
}

}  // namespace align::losses
