#pragma once

// The losses that compare a student with a teacher, distribution by
// distribution, by name. Adding one is one header and one line in
// DistillationLosses(); configs and tables follow from the entry.

#include <functional>
#include <string>
#include <vector>

#include "losses/jsd.h"
#include "losses/options.h"
#include "losses/registry_entry.h"

namespace align::losses {

// The divergence of each token's distributions, and what is done to the logits
// before it.
struct DistillationOptions {
  JsdOptions jsd;
  double temperature = 1;

  void Describe(OptionList& list) {
    jsd.Describe(list);
    list.Number("temperature", &temperature, {.low = 0, .open_low = true},
                "divides the logits of both: 1 is what TRL does, whose Liger "
                "path takes the temperature of its sampling instead");
  }
};

// Options ready to be used, or `error` saying what was wrong with a name or an
// option and what is allowed.
struct DistillationLossOrError {
  DistillationOptions options;
  std::string error;
  bool ok() const { return error.empty(); }
};

// What is asked for besides the student.
struct DistillationNeeds {
  bool teacher = false;  // its distribution at each token
};

struct DistillationLossEntry {
  std::string name;
  std::string paper;
  std::string summary;
  DistillationNeeds needs;
  std::function<std::vector<Option>()> options;  // for listing; do not set
};

// Every loss on whole distributions, in the order they are listed.
inline std::vector<DistillationLossEntry> DistillationLosses() {
  return {{.name = "jsd",
           .paper = "Agarwal et al. 2023, arXiv 2306.13649, eq. 1",
           .summary = "GKD: generalised Jensen-Shannon divergence, mean over "
                      "tokens",
           .needs = {.teacher = true},
           .options = &ListOptions<DistillationOptions>}};
}

// The loss `name` with `values` set over its defaults, or an error text.
inline DistillationLossOrError MakeDistillationLoss(
    const std::string& name, const OptionValues& values = {}) {
  DistillationLossOrError out;
  std::vector<std::string> known;
  for (const DistillationLossEntry& entry : DistillationLosses()) {
    known.push_back(entry.name);
    if (entry.name != name) continue;
    OptionList list;
    out.options.Describe(list);
    out.error = SetOptions(name, list, values);
    return out;
  }
  out.error = UnknownName("loss", name, known);
  return out;
}

}  // namespace align::losses
