#pragma once

#include <cstdint>
#include <span>

namespace align {

// The first id at which the cumulative distribution of `logits` with their
// log-sum-exp exceeds `target` in [0, 1); the last of positive probability
// where it stays below for rounding. Probabilities to f32's rounding.
int32_t InvertCumulative(std::span<const float> logits, float log_sum_exp,
                         double target);

}  // namespace align
