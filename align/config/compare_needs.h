#pragma once

#include <string>

#include "align/base/status.h"

namespace align::pb {
class CompareConfig;
}  // namespace align::pb

namespace align {

// What `align compare` with `config` needs, as lines of text: the stages in
// order, each with the megabytes that the models it holds take (weights; for
// what it trains also gradients and the optimizer's state; the judge),
// the largest, and what the machine has. Activations come on top. Only
// config.json files are read; errors are those of PlanCompare and of a config
// that is not valid.
absl::StatusOr<std::string> DescribeCompareJob(const pb::CompareConfig& config);

}  // namespace align
