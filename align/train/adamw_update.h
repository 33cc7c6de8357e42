#pragma once

#include <cmath>
#include <cstdint>

#include "align/train/optimizer.h"

namespace align::train {

// The scalars of one AdamW step, rounded to T where PyTorch's kernel does.
template <typename T>
struct AdamWScalars {
  T grad_scale;
  T keep;  // 1 - learning_rate * weight_decay
  T beta1;
  T one_minus_beta1;
  T beta2;
  T one_minus_beta2;
  T step_size;        // learning_rate / (1 - beta1^t)
  T root_correction;  // sqrt(1 - beta2^t)
  T epsilon;
};

// Those of step `step`, counted from 1, at learning rate `rate`.
template <typename T>
AdamWScalars<T> MakeAdamWScalars(const AdamWOptions& options, double rate,
                                 int64_t step, double grad_scale) {
  const auto t = static_cast<double>(step);
  return {
      .grad_scale = static_cast<T>(grad_scale),
      .keep = static_cast<T>(1.0 - rate * options.weight_decay),
      .beta1 = static_cast<T>(options.beta1),
      .one_minus_beta1 = static_cast<T>(1.0 - options.beta1),
      .beta2 = static_cast<T>(options.beta2),
      .one_minus_beta2 = static_cast<T>(1.0 - options.beta2),
      .step_size = static_cast<T>(rate / (1.0 - std::pow(options.beta1, t))),
      .root_correction =
          static_cast<T>(std::sqrt(1.0 - std::pow(options.beta2, t))),
      .epsilon = static_cast<T>(options.epsilon)};
}

// One AdamW step (Loshchilov and Hutter 2019, alg. 2) with PyTorch's
// arithmetic on `count` parameters, which are kept undecayed when `keep` is 1.
// Updates values and moments and zeroes the gradients.
template <typename T>
void AdamWUpdate(const AdamWScalars<T>& c, T keep, int64_t count, T* value,
                 T* grad, T* first, T* second) {
  for (int64_t i = 0; i < count; ++i) {
    const T g = grad[i] * c.grad_scale;
    const T m = first[i] * c.beta1 + g * c.one_minus_beta1;
    const T v = second[i] * c.beta2 + g * g * c.one_minus_beta2;
    const T denominator = std::sqrt(v) / c.root_correction + c.epsilon;
    value[i] = value[i] * keep - c.step_size * (m / denominator);
    first[i] = m;
    second[i] = v;
    grad[i] = 0;
  }
}

}  // namespace align::train
