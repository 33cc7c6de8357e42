#include "align/base/rng.h"

#include <Random123/philox.h>

#include <cmath>
#include <numbers>
#include <numeric>
#include <utility>

#include "align/base/check.h"

namespace align {
namespace {

// One Philox block; `domain` keeps draws and the two kinds of fork apart.
enum Domain : uint32_t { kDraw = 0, kForkIndex = 1, kForkName = 2 };

uint64_t Block(uint64_t key, uint64_t counter, Domain domain) {
  r123::Philox4x32 philox;
  r123::Philox4x32::ctr_type c = {{static_cast<uint32_t>(counter),
                                   static_cast<uint32_t>(counter >> 32), domain,
                                   0}};
  r123::Philox4x32::key_type k = {
      {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)}};
  const auto out = philox(c, k);
  return (static_cast<uint64_t>(out[1]) << 32) | out[0];
}

}  // namespace

Rng Rng::Fork(std::string_view purpose) const {
  uint64_t key = Block(key_, purpose.size(), kForkName);
  for (unsigned char c : purpose) key = Block(key, c, kForkName);
  return Rng(key);
}

Rng Rng::Fork(uint64_t index) const {
  return Rng(Block(key_, index, kForkIndex));
}

uint64_t Rng::Next() { return Block(key_, counter_++, kDraw); }

double Rng::Uniform() { return static_cast<double>(Next() >> 11) * 0x1p-53; }

uint64_t Rng::Below(uint64_t bound) {
  ALIGN_CHECK(bound >= 1) << "[Rng::Below] bound 0";
  // Rejects the incomplete last run of `bound` values.
  const uint64_t threshold = (0 - bound) % bound;
  while (true) {
    const uint64_t value = Next();
    if (value >= threshold) return value % bound;
  }
}

double Rng::Normal() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  // 1 - u lies in (0, 1]: log never sees 0.
  const double radius = std::sqrt(-2 * std::log(1 - Uniform()));
  const double angle = 2 * std::numbers::pi * Uniform();
  has_spare_ = true;
  spare_ = radius * std::sin(angle);
  return radius * std::cos(angle);
}

std::vector<int64_t> Rng::Permutation(int64_t count) {
  std::vector<int64_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = count - 1; i > 0; --i) {
    std::swap(order[i], order[Below(i + 1)]);
  }
  return order;
}

void Rng::set_state(const State& state) {
  key_ = state.key;
  counter_ = state.counter;
  has_spare_ = state.has_spare;
  spare_ = state.spare;
}

}  // namespace align
