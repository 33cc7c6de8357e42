#include "align/kernels/log_softmax.h"

#include <algorithm>
#include <cmath>

#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// The last, incomplete eight are filled up with minus infinity.
Float8 LoadLogits(const float* z, int64_t left) {
  if (left >= 8) return Load8(z);
  Float8 v = Broadcast8(kMinusInfinity);
  for (int64_t i = 0; i < left; ++i) v[i] = z[i];
  return v;
}

float Maximum(const float* z, int64_t count) {
  Float8 best = Broadcast8(kMinusInfinity);
  for (int64_t i = 0; i < count; i += 8) {
    best = Max8(LoadLogits(z + i, count - i), best);
  }
  float most = best[0];
  for (int i = 1; i < 8; ++i) most = std::max(most, best[i]);
  return most;
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
    const Float8 cap = Broadcast8(soft_cap);
    for (int64_t i = 0; i < count; i += 8) {
      const int64_t lanes = std::min<int64_t>(8, count - i);
      StoreUpTo8(z + i, cap * Tanh8(LoadUpTo8(z + i, lanes) / cap), lanes);
    }
  }
  if (temperature == 1) return;
  for (int64_t i = 0; i < count; ++i) z[i] = z[i] / temperature;
}

void AddChunk(const float* z, int64_t count, bool moments, RowSums& sums) {
  const float chunk_max = Maximum(z, count);
  const float most = std::max(sums.maximum, chunk_max);
  const Float8 base = Broadcast8(most);
  Float8 lo{}, hi{}, weighted{}, squares{};
  double logits = 0;
  for (int64_t i = 0; i < count; i += kLanes) {
    const Float8 x0 = LoadLogits(z + i, count - i) - base;
    const Float8 x1 = count - i > 8
                          ? LoadLogits(z + i + 8, count - i - 8) - base
                          : Broadcast8(kMinusInfinity);
    const Float8 e0 = Exp8(x0), e1 = Exp8(x1);
    lo += e0;
    hi += e1;
    if (!moments) continue;
    // Where e is zero the product with minus infinity would be NaN.
    weighted += e0 > 0 ? e0 * x0 : Float8{};
    weighted += e1 > 0 ? e1 * x1 : Float8{};
    squares += e0 * e0;
    squares += e1 * e1;
  }
  // What earlier chunks summed, relative to the new maximum.
  const float shift = sums.maximum - most;
  const float factor = Exp(shift);
  const float before = sums.exponentials;
  sums.exponentials = sums.exponentials * factor + TreeSum(lo, hi);
  sums.maximum = most;
  if (!moments) return;
  for (int64_t i = 0; i < count; ++i) logits += z[i];
  sums.logits += logits;
  const float moved =
      before > 0 ? (sums.weighted + before * shift) * factor : 0;
  sums.weighted = moved + TreeSum(weighted, Float8{});
  sums.squares = sums.squares * factor * factor + TreeSum(squares, Float8{});
}

void LogitGradients(const LogitSeeds& seeds, int64_t label, int64_t count,
                    float* z) {
  const float label_z = label >= 0 && label < count ? z[label] : 0;
  const Float8 lse = Broadcast8(seeds.log_sum_exp);
  const Float8 seed = Broadcast8(-seeds.log_prob);
  const Float8 entropy_seed = Broadcast8(-seeds.entropy);
  const Float8 row_entropy = Broadcast8(seeds.row_entropy);
  const Float8 temperature = Broadcast8(seeds.temperature);
  const float cap = seeds.soft_cap;
  // d(tanh-capped logit) = 1 - (capped / cap)^2, with capped = z T.
  const auto cap_slope = [&](Float8 v) {
    const Float8 ratio = v * temperature / Broadcast8(cap);
    return Broadcast8(1.0f) - ratio * ratio;
  };
  for (int64_t i = 0; i < count; i += 8) {
    const int64_t lanes = std::min<int64_t>(8, count - i);
    const Float8 v = LoadUpTo8(z + i, lanes);
    const Float8 log_p = v - lse;
    const Float8 p = Exp8(log_p);
    Float8 dz = p * seed;
    if (seeds.entropy != 0) {
      dz = Fma8(p * entropy_seed, log_p + row_entropy, dz);
    }
    dz = dz / temperature;
    if (cap > 0) dz *= cap_slope(v);
    StoreUpTo8(z + i, dz, lanes);
  }
  if (label >= 0 && label < count) {
    const float slope = cap > 0 ? cap_slope(Broadcast8(label_z))[0] : 1.0f;
    z[label] += seeds.log_prob / seeds.temperature * slope;
  }
}

}  // namespace align::kernels
