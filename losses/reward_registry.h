#pragma once

// The losses of reward models by name. Adding one is a function on a pair's
// rewards and one line in RewardLosses(); configs and tables follow from the
// entry.

#include <functional>
#include <string>
#include <vector>

#include "losses/options.h"
#include "losses/registry_entry.h"
#include "losses/reward.h"

namespace align::losses {

// A loss of B pairs' rewards of chosen and rejected, and margins, which are
// empty when there are none.
using RewardLoss = std::function<BradleyTerryResult(
    const Eigen::ArrayXd& chosen, const Eigen::ArrayXd& rejected,
    const Eigen::ArrayXd& margins)>;

// A loss ready to be called, or `error` saying what was wrong with a name or an
// option and what is allowed.
struct RewardLossOrError {
  RewardLoss loss;
  std::string error;
  bool ok() const { return error.empty(); }
};

// What is used besides the rewards, where the data has it.
struct RewardNeeds {
  bool margin = false;
};

struct RewardLossEntry {
  std::string name;
  std::string paper;
  std::string summary;
  RewardNeeds needs;
  std::function<std::vector<Option>()> options;  // for listing; do not set
  std::function<RewardLossOrError(const OptionValues&)> make;
};

inline RewardLossOrError MakeBradleyTerry(const OptionValues& values) {
  BradleyTerryOptions options;
  OptionList list;
  options.Describe(list);
  const std::string error = SetOptions("bradley_terry", list, values);
  if (!error.empty()) return {.error = error};
  return {.loss = [options](const Eigen::ArrayXd& chosen,
                            const Eigen::ArrayXd& rejected,
                            const Eigen::ArrayXd& margins) {
    return BradleyTerryLoss(chosen, rejected, margins, options);
  }};
}

inline RewardLossOrError MakeLogExp(const OptionValues& values) {
  const std::string error = SetOptions("log_exp", {}, values);
  if (!error.empty()) return {.error = error};
  return {.loss = [](const Eigen::ArrayXd& chosen,
                     const Eigen::ArrayXd& rejected, const Eigen::ArrayXd&) {
    return LogExpLoss(chosen, rejected);
  }};
}

// Every loss of reward models, in the order they are listed; the first is the
// default.
inline std::vector<RewardLossEntry> RewardLosses() {
  return {{.name = "bradley_terry",
           .paper = "Ouyang et al. 2022, arXiv 2203.02155, eq. 1",
           .summary = "logistic loss on the rewards' difference, less a margin",
           .needs = {.margin = true},
           .options = &ListOptions<BradleyTerryOptions>,
           .make = &MakeBradleyTerry},
          {.name = "log_exp",
           .paper = "Ouyang et al. 2022, arXiv 2203.02155, eq. 1",
           .summary = "the same as OpenRLHF's LogExpLoss: no margins, no "
                      "centring",
           .options = [] { return std::vector<Option>(); },
           .make = &MakeLogExp}};
}

// The loss `name` with `values` set over its defaults, or an error text.
inline RewardLossOrError MakeRewardLoss(const std::string& name,
                                        const OptionValues& values = {}) {
  std::vector<std::string> known;
  for (const RewardLossEntry& entry : RewardLosses()) {
    if (entry.name == name) return entry.make(values);
    known.push_back(entry.name);
  }
  return {.error = UnknownName("loss", name, known)};
}

}  // namespace align::losses
