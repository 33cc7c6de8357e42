#include "align/kernels/log_softmax.h"

#include <algorithm>
#include <cmath>

#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// The last, incomplete sixteen are filled up with minus infinity.
Wide LoadLogits(const float* z, int64_t left) {
  if (left >= kLanes) return LoadWide(z);
  Wide v = BroadcastWide(kMinusInfinity);
  for (int64_t i = 0; i < left; ++i) v[i] = z[i];
  return v;
}

// In four chains: one alone waits for each comparison.
float Maximum(const float* z, int64_t count) {
  Wide best[4];
  std::fill_n(best, 4, BroadcastWide(kMinusInfinity));
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    for (int64_t chain = 0; chain < 4; ++chain) {
      best[chain] = MaxWide(LoadWide(z + i + chain * kLanes), best[chain]);
    }
  }
  for (; i < count; i += kLanes) {
    best[0] = MaxWide(LoadLogits(z + i, count - i), best[0]);
  }
  return MaxLane(MaxWide(MaxWide(best[0], best[1]), MaxWide(best[2], best[3])));
}

}  // namespace

float RowSums::LogSumExp() const {
  return static_cast<float>(static_cast<double>(maximum) +
                            std::log(static_cast<double>(exponentials)));
}

float RowSums::Entropy() const {
  return static_cast<float>(std::log(static_cast<double>(exponentials)) -
                            static_cast<double>(weighted) / exponentials);
}

float RowSums::SumSquaredProbabilities() const {
  return static_cast<float>(static_cast<double>(squares) / exponentials /
                            exponentials);
}

void ScaleLogits(float* z, int64_t count, float temperature, float soft_cap) {
  if (soft_cap > 0) {
    const Wide cap = BroadcastWide(soft_cap);
    for (int64_t i = 0; i < count; i += kLanes) {
      const int64_t lanes = std::min(kLanes, count - i);
      StoreUpToWide(z + i, cap * TanhWide(LoadUpToWide(z + i, lanes) / cap),
                    lanes);
    }
  }
  if (temperature == 1) return;
  for (int64_t i = 0; i < count; ++i) z[i] = z[i] / temperature;
}

void AddChunk(const float* z, int64_t count, bool moments, RowSums& sums) {
  const float chunk_max = Maximum(z, count);
  const float most = std::max(sums.maximum, chunk_max);
  const Wide base = BroadcastWide(most);
  Wide exponentials{}, weighted{}, squares{}, logits{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Wide z16 = LoadLogits(z + i, count - i);
    const Wide x = z16 - base;
    const Wide e = ExpWide(x);
    exponentials += e;
    if (!moments) continue;
    // Where e is zero the product with minus infinity would be NaN.
    weighted += e > 0 ? e * x : Wide{};
    squares += e * e;
    logits += count - i >= kLanes ? z16 : LoadWidePart(z + i, count - i);
  }
  // What earlier chunks summed, relative to the new maximum.
  const float shift = sums.maximum - most;
  const float factor = Exp(shift);
  const float before = sums.exponentials;
  sums.exponentials = sums.exponentials * factor + TreeSum(exponentials);
  sums.maximum = most;
  if (!moments) return;
  sums.logits += TreeSum(logits);
  const float moved =
      before > 0 ? (sums.weighted + before * shift) * factor : 0;
  sums.weighted = moved + TreeSum(weighted);
  sums.squares = sums.squares * factor * factor + TreeSum(squares);
}

int64_t InvertCumulative(const float* z, int64_t count, float log_sum_exp,
                         double target) {
  // Block by block, then one by one in the block that gets beyond the target.
  constexpr int64_t kBlock = 16 * kLanes;
  double sum = 0;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(count, begin + kBlock);
    Wide probabilities{};
    for (int64_t i = begin; i < end; i += kLanes) {
      probabilities +=
          ExpWide(LoadLogits(z + i, end - i) - BroadcastWide(log_sum_exp));
    }
    const double after = sum + static_cast<double>(TreeSum(probabilities));
    if (after > target) {
      int64_t last = begin;
      for (int64_t i = begin; i < end; ++i) {
        const float p = Exp(z[i] - log_sum_exp);
        if (p > 0) last = i;
        sum += static_cast<double>(p);
        if (sum > target) return i;
      }
      return last;  // summed one by one the block falls short
    }
    if (after > sum) sum = after;  // not when it is NaN
  }
  for (int64_t i = count - 1; i > 0; --i) {
    if (Exp(z[i] - log_sum_exp) > 0) return i;
  }
  return 0;
}

void LogitGradients(const LogitSeeds& seeds, int64_t label, int64_t count,
                    float* z) {
  const float label_z = label >= 0 && label < count ? z[label] : 0;
  const Wide lse = BroadcastWide(seeds.log_sum_exp);
  const Wide seed = BroadcastWide(-seeds.log_prob);
  const Wide entropy_seed = BroadcastWide(-seeds.entropy);
  const Wide row_entropy = BroadcastWide(seeds.row_entropy);
  const Wide temperature = BroadcastWide(seeds.temperature);
  const float cap = seeds.soft_cap;
  // d(tanh-capped logit) = 1 - (capped / cap)^2, with capped = z T.
  const auto cap_slope = [&](Wide v) {
    const Wide ratio = v * temperature / BroadcastWide(cap);
    return BroadcastWide(1.0f) - ratio * ratio;
  };
  for (int64_t i = 0; i < count; i += kLanes) {
    const int64_t lanes = std::min(kLanes, count - i);
    const Wide v = LoadUpToWide(z + i, lanes);
    const Wide log_p = v - lse;
    const Wide p = ExpWide(log_p);
    Wide dz = p * seed;
    if (seeds.entropy != 0) {
      dz = FmaWide(p * entropy_seed, log_p + row_entropy, dz);
    }
    dz = dz / temperature;
    if (cap > 0) dz *= cap_slope(v);
    StoreUpToWide(z + i, dz, lanes);
  }
  if (label >= 0 && label < count) {
    const float slope = cap > 0 ? cap_slope(BroadcastWide(label_z))[0] : 1.0f;
    z[label] += seeds.log_prob / seeds.temperature * slope;
  }
}

}  // namespace align::kernels
