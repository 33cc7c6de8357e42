#pragma once

// Rows [B, T] of values a token, as the peers of policy losses keep them, and
// what the losses make of them.

#include <span>
#include <string>
#include <vector>

#include "losses/advantages.h"
#include "losses/policy.h"
#include "tests/oracle/json_values.h"
#include "tests/oracle/reporter.h"

namespace align::oracle {

// Where B sequences of T tokens each begin, [B + 1].
std::vector<Eigen::Index> RowOffsets(Eigen::Index rows, Eigen::Index length);

// Sequences are the rows of `mask`, padding and holes included; the other
// arrays are still to be set.
losses::PolicyInputs PolicyRows(Json mask);
losses::AdvantageInputs AdvantageRows(Json mask);

// Compares where the mask is 1: elsewhere peers leave what they like.
void NearWithin(const Eigen::ArrayXd& mask, const std::string& what,
                const Eigen::ArrayXd& got, Json wanted, Tolerance tolerance,
                Case& result);

// Compares the metrics of both that `names` pairs: theirs first, then ours.
struct MetricPair {
  const char* theirs;
  const char* ours;
};
void CheckMetrics(const losses::PolicyResult& got, Json wanted,
                  std::span<const MetricPair> names, Tolerance tolerance,
                  Case& result);

// Loss and gradient of the batch: sums over `denominator`.
void CheckLossAndGradient(const losses::PolicyResult& got, double denominator,
                          Json loss, Json gradient, Tolerance tolerance,
                          Case& result);

}  // namespace align::oracle
