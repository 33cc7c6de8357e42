#include <algorithm>
#include <cmath>

#include "align/base/check.h"
#include "align/ops/inverse_cdf.h"
#include "samplers/generate.h"

namespace align::samplers {
namespace {

template <class Number>
int32_t ArgMax(std::span<const Number> logits) {
  // max_element gives the first of equals: ties to the lower id.
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) -
                              logits.begin());
}

// Inverts the cumulative distribution that `ids` have among themselves.
int32_t InvertKept(std::span<const double> logits,
                   const std::vector<int32_t>& ids, double uniform) {
  double largest = logits[ids.front()];
  for (const int32_t id : ids) largest = std::max(largest, logits[id]);
  double mass = 0;
  for (const int32_t id : ids) mass += std::exp(logits[id] - largest);
  const double target = uniform * mass;
  double sum = 0;
  for (const int32_t id : ids) {
    sum += std::exp(logits[id] - largest);
    if (sum > target) return id;
  }
  return ids.back();
}

}  // namespace

int32_t SampleToken(std::span<const float> logits, double log_sum_exp,
                    const SamplingOptions& options, double uniform,
                    std::span<const int32_t> context) {
  ALIGN_CHECK(!logits.empty()) << "[SampleToken] no logits";
  const bool greedy = options.temperature == 0;
  if (!options.logits.LooksBack()) {
    if (greedy) return ArgMax(logits);
    if (!options.logits.Filters()) {
      return InvertCumulative(logits, static_cast<float>(log_sum_exp), uniform);
    }
  }
  std::vector<double> processed(logits.begin(), logits.end());
  RepeatTokensLess(options.logits, context, processed);
  if (greedy) return ArgMax(std::span<const double>(processed));
  const std::vector<int32_t> kept = KeptTokens(options.logits, processed);
  // Empty only when every logit is NaN or -inf.
  return kept.empty() ? 0 : InvertKept(processed, kept, uniform);
}

}  // namespace align::samplers
