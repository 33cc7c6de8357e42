#include <algorithm>
#include <cmath>
#include <numeric>

#include "align/base/check.h"
#include "samplers/generate.h"

namespace align::samplers {
namespace {

// Sorted blocks of the candidates grow from here while top_p wants more.
constexpr size_t kFirstBlock = 64;

int32_t ArgMax(std::span<const float> logits) {
  // max_element gives the first of equals: ties to the lower id.
  return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) -
                              logits.begin());
}

// Probabilities from scaled logits, in double.
struct Distribution {
  std::span<const float> logits;
  double log_sum_exp = 0;

  double Probability(int32_t id) const {
    return std::exp(static_cast<double>(logits[id]) - log_sum_exp);
  }
  // Whether `a` stands before `b`: larger first, ties to the lower id.
  bool Before(int32_t a, int32_t b) const {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  }
};

// Inverts the cumulative distribution of all ids at `target`.
int32_t InvertAll(const Distribution& d, double target) {
  double sum = 0;
  int32_t last = 0;
  for (size_t i = 0; i < d.logits.size(); ++i) {
    const double p = d.Probability(static_cast<int32_t>(i));
    if (p > 0) last = static_cast<int32_t>(i);
    sum += p;
    if (sum > target) return static_cast<int32_t>(i);
  }
  return last;  // the rounded sum stayed below target
}

double Mass(const Distribution& d, const std::vector<int32_t>& ids) {
  double sum = 0;
  for (int32_t id : ids) sum += d.Probability(id);
  return sum;
}

// Keeps the top_k candidates that stand first, in order of id.
void KeepTopK(const Distribution& d, size_t top_k, std::vector<int32_t>& ids) {
  if (top_k == 0 || top_k >= ids.size()) return;
  const auto before = [&](int32_t a, int32_t b) { return d.Before(a, b); };
  std::nth_element(ids.begin(), ids.begin() + top_k, ids.end(), before);
  ids.resize(top_k);
  std::sort(ids.begin(), ids.end());
}

// Keeps the fewest candidates that stand first and hold top_p of the mass, in
// order of id. Sorts block by block: most distributions end in the first.
void KeepTopP(const Distribution& d, double top_p, std::vector<int32_t>& ids) {
  if (top_p >= 1) return;
  const auto before = [&](int32_t a, int32_t b) { return d.Before(a, b); };
  const double wanted = top_p * Mass(d, ids);
  double sum = 0;
  size_t kept = 0, block = kFirstBlock;
  while (kept < ids.size() && sum < wanted) {
    const auto begin = ids.begin() + static_cast<int64_t>(kept);
    const size_t end = std::min(ids.size(), kept + block);
    const auto stop = ids.begin() + static_cast<int64_t>(end);
    if (end < ids.size()) std::nth_element(begin, stop, ids.end(), before);
    std::sort(begin, stop, before);
    while (kept < end && sum < wanted) sum += d.Probability(ids[kept++]);
    block *= 4;
  }
  ids.resize(kept);
  std::sort(ids.begin(), ids.end());
}

}  // namespace

int32_t SampleToken(std::span<const float> logits, double log_sum_exp,
                    const SamplingOptions& options, double uniform) {
  ALIGN_CHECK(!logits.empty()) << "[SampleToken] no logits";
  if (options.temperature == 0) return ArgMax(logits);
  const Distribution d{.logits = logits, .log_sum_exp = log_sum_exp};
  if (options.top_k == 0 && options.top_p >= 1) return InvertAll(d, uniform);
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  KeepTopK(d, static_cast<size_t>(options.top_k), ids);
  KeepTopP(d, options.top_p, ids);
  const double target = uniform * Mass(d, ids);
  double sum = 0;
  for (int32_t id : ids) {
    sum += d.Probability(id);
    if (sum > target) return id;
  }
  return ids.back();
}

}  // namespace align::samplers
