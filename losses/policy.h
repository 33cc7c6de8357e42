#pragma once

// What every loss on sampled completions takes and gives.

#include <Eigen/Core>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "losses/numerics.h"

namespace align::losses {

// A batch of B sequences of sampled tokens, N in all, laid end to end.
// Log-probs are of the sampled tokens, in nats. Fields that a loss does not
// need (PolicyNeeds) may be left empty.
struct PolicyInputs {
  // Sequence i owns tokens offsets[i] to offsets[i + 1] - 1; [B + 1], from 0 to
  // N, never falling. A sequence is never split over two calls.
  std::vector<Eigen::Index> offsets;
  Eigen::ArrayXd log_prob;  // [N] under the policy that learns
  // [N] under the policy that ratios compare with. Empty: log_prob itself, held
  // constant, so that ratios are 1 and have a gradient (the first step on fresh
  // samples).
  Eigen::ArrayXd old_log_prob;
  // [N] as the sampler reported them, where it is another program or precision
  // than the one that scores; empty: old_log_prob.
  Eigen::ArrayXd sampler_log_prob;
  Eigen::ArrayXd reference_log_prob;  // [N] of the KL penalty
  Eigen::ArrayXd entropy;             // [N] of the policy's distribution
  Eigen::ArrayXd advantages;          // [B], or
  Eigen::ArrayXd token_advantages;    // [N]; one of the two is empty
  // [N], 1 where a token is scored, 0 where it is not (a tool's output, a
  // truncated sample); empty: all are. What stands in other arrays where it is
  // 0 is never read.
  Eigen::ArrayXd mask;
  // The most tokens that a completion may have: Dr. GRPO's denominator.
  double max_completion_length = 0;

  Eigen::Index sequences() const {
    return offsets.empty() ? 0 : static_cast<Eigen::Index>(offsets.size()) - 1;
  }
  bool Scored(Eigen::Index token) const {
    return mask.size() == 0 || mask[token] != 0;
  }
};

// How a metric of several batches becomes one number.
enum class MetricKind { kMean, kMin, kMax };

// A metric on its way to a mean. kMin and kMax have a weight of 1, or of 0 when
// there was nothing to take the extreme of.
struct PolicyMetric {
  std::string name;  // as TRL logs it
  WeightedSum value;
  MetricKind kind = MetricKind::kMean;
};

// Un-reduced: the loss of a batch is loss.sum() / weight, that of several
// batches is the sum of the sums over the sum of the weights.
struct PolicyResult {
  Eigen::ArrayXd loss;        // [N], 0 where the mask is
  Eigen::ArrayXd d_log_prob;  // [N] d loss.sum() / d log_prob
  Eigen::ArrayXd d_entropy;   // [N] d loss.sum() / d entropy; empty: zero
  double weight = 0;
  std::vector<PolicyMetric> metrics;
};

// The metric `name`, or nullptr.
inline const PolicyMetric* FindMetric(const PolicyResult& result,
                                      const std::string& name) {
  for (const PolicyMetric& metric : result.metrics) {
    if (metric.name == name) return &metric;
  }
  return nullptr;
}

using PolicyLoss = std::function<PolicyResult(const PolicyInputs&)>;

// Which inputs a loss reads beyond log_prob and advantages.
struct PolicyNeeds {
  bool reference = false;              // reference_log_prob
  bool sampler = false;                // sampler_log_prob
  bool entropy = false;                // entropy
  bool max_completion_length = false;  // max_completion_length
  // One sequence's loss depends on the other sequences of the batch, beyond
  // the weight that leaves with it.
  bool coupled = false;
};

// Scored tokens of each sequence, [B].
inline Eigen::ArrayXd ScoredTokens(const PolicyInputs& in) {
  Eigen::ArrayXd out(in.sequences());
  for (Eigen::Index i = 0; i < out.size(); ++i) {
    const Eigen::Index begin = in.offsets[i];
    const Eigen::Index length = in.offsets[i + 1] - begin;
    out[i] = in.mask.size() == 0 ? static_cast<double>(length)
                                 : in.mask.segment(begin, length).sum();
  }
  return out;
}

// [B] repeated over each sequence's tokens, [N].
inline Eigen::ArrayXd OverTokens(const std::vector<Eigen::Index>& offsets,
                                 const Eigen::ArrayXd& values) {
  Eigen::ArrayXd out(offsets.empty() ? 0 : offsets.back());
  for (Eigen::Index i = 0; i < values.size(); ++i) {
    out.segment(offsets[i], offsets[i + 1] - offsets[i]) = values[i];
  }
  return out;
}

// Empty if offsets are in order, the arrays that `needs` asks for have their
// lengths, the mask is of 0 and 1 and every number that will be read is finite;
// otherwise what is wrong, naming the field, the token and the sequence.
inline std::string CheckPolicyInputs(const PolicyInputs& in,
                                     const PolicyNeeds& needs) {
  const Eigen::Index tokens = in.log_prob.size();
  const Eigen::Index sequences = in.sequences();
  std::string error;
  if (in.offsets.empty() || in.offsets.front() != 0 ||
      in.offsets.back() != tokens) {
    return "offsets: expected " + std::to_string(tokens) +
           " tokens as in log_prob, from 0";
  }
  for (Eigen::Index i = 0; i < sequences; ++i) {
    if (in.offsets[i + 1] >= in.offsets[i]) continue;
    return "offsets[" + std::to_string(i + 1) + "] is below the one before; " +
           "expected that sequences follow one another";
  }
  const auto check = [&](const char* name, const Eigen::ArrayXd& values,
                         bool per_token, bool required) {
    const Eigen::Index expected = per_token ? tokens : sequences;
    if (!error.empty() || (!required && values.size() == 0)) return;
    if (values.size() != expected) {
      error = std::string(name) + ": " + std::to_string(values.size()) +
              " values; expected " + std::to_string(expected) +
              (per_token ? ", one a token" : ", one a sequence");
      return;
    }
    for (Eigen::Index i = 0; i < sequences; ++i) {
      const Eigen::Index begin = per_token ? in.offsets[i] : i;
      const Eigen::Index end = per_token ? in.offsets[i + 1] : i + 1;
      for (Eigen::Index t = begin; t < end; ++t) {
        if ((per_token && !in.Scored(t)) || std::isfinite(values[t])) continue;
        error = std::string(name) + "[" + std::to_string(t) + "] (sequence " +
                std::to_string(i) + ") is not finite; expected a finite value";
        return;
      }
    }
  };
  if (in.mask.size() != 0 && in.mask.size() != tokens) {
    return "mask: " + std::to_string(in.mask.size()) + " values; expected " +
           std::to_string(tokens) + ", one a token";
  }
  for (Eigen::Index t = 0; t < in.mask.size(); ++t) {
    if (in.mask[t] == 0 || in.mask[t] == 1) continue;
    return "mask[" + std::to_string(t) + "] is " + std::to_string(in.mask[t]) +
           "; expected 0 or 1";
  }
  const bool per_token = in.token_advantages.size() > 0;
  if (per_token && in.advantages.size() > 0) {
    return "advantages: given by sequence and by token; expected one of them";
  }
  check("log_prob", in.log_prob, true, true);
  check("advantages", in.advantages, false, !per_token);
  check("token_advantages", in.token_advantages, true, false);
  check("old_log_prob", in.old_log_prob, true, false);
  check("sampler_log_prob", in.sampler_log_prob, true, needs.sampler);
  check("reference_log_prob", in.reference_log_prob, true, needs.reference);
  check("entropy", in.entropy, true, needs.entropy);
  if (error.empty() && needs.max_completion_length &&
      !(in.max_completion_length > 0)) {
    return "max_completion_length: expected a positive number of tokens";
  }
  return error;
}

}  // namespace align::losses
