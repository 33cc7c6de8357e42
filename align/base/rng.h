#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace align {

// A counter-based random stream (Philox4x32-10, Salmon et al. 2011): a value of
// a key and a counter. Streams are derived by purpose, then by index, so that a
// draw depends on what it is for and not on batch, thread or rank:
//
//   Rng rng = root.Fork("rollout").Fork(prompt_id).Fork(sample);
//
// Copies continue independently. Not for concurrent use of one object.
class Rng {
 public:
  explicit Rng(uint64_t seed = 0) : key_(seed) {}

  // A stream that is independent of this one and of forks by other names.
  Rng Fork(std::string_view purpose) const;
  Rng Fork(uint64_t index) const;

  // 64 uniform random bits.
  uint64_t Next();
  // Uniform in [0, 1), 53 bits.
  double Uniform();
  // Uniform integer in [0, bound); bound >= 1. Without modulo bias.
  uint64_t Below(uint64_t bound);
  // Standard normal (Box-Muller, both halves used).
  double Normal();
  // A uniform random permutation of 0..count-1 (Fisher-Yates).
  std::vector<int64_t> Permutation(int64_t count);

  // Everything a checkpoint needs to continue this stream bit for bit.
  struct State {
    uint64_t key = 0;
    uint64_t counter = 0;
    bool has_spare = false;
    double spare = 0;
  };
  State state() const { return {key_, counter_, has_spare_, spare_}; }
  void set_state(const State& state);

 private:
  uint64_t key_ = 0;
  uint64_t counter_ = 0;
  bool has_spare_ = false;
  double spare_ = 0;
};

}  // namespace align
