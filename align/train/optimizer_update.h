#pragma once

#include <array>
#include <cmath>
#include <cstdint>

#include "align/train/optimizer.h"

namespace align::train {

// The scalars of one optimizer step, rounded to T where PyTorch's kernels do.
template <typename T>
struct UpdateScalars {
  T grad_scale;
  T keep;   // 1 - learning_rate * weight_decay: AdamW's decoupled decay
  T decay;  // weight_decay, added to the gradient: all others'
  T beta1;
  T one_minus_beta1;
  T beta2;
  T one_minus_beta2;
  T step_size;        // learning_rate / (1 - beta1^t)
  T root_correction;  // sqrt(1 - beta2^t)
  T epsilon;
  T rate;
  T momentum;
};

// Those of step `step`, counted from 1, at learning rate `rate`.
template <typename T>
UpdateScalars<T> MakeUpdateScalars(const OptimizerOptions& options, double rate,
                                   int64_t step, double grad_scale) {
  const auto t = static_cast<double>(step);
  const bool decoupled = options.kind == OptimizerKind::kAdamW;
  return {
      .grad_scale = static_cast<T>(grad_scale),
      .keep = static_cast<T>(decoupled ? 1.0 - rate * options.weight_decay : 1),
      .decay = static_cast<T>(decoupled ? 0 : options.weight_decay),
      .beta1 = static_cast<T>(options.beta1),
      .one_minus_beta1 = static_cast<T>(1.0 - options.beta1),
      .beta2 = static_cast<T>(options.beta2),
      .one_minus_beta2 = static_cast<T>(1.0 - options.beta2),
      .step_size = static_cast<T>(rate / (1.0 - std::pow(options.beta1, t))),
      .root_correction =
          static_cast<T>(std::sqrt(1.0 - std::pow(options.beta2, t))),
      .epsilon = static_cast<T>(options.epsilon),
      .rate = static_cast<T>(rate),
      .momentum = static_cast<T>(options.momentum)};
}

// The rules of one element, with PyTorch's arithmetic: what is subtracted from
// the value, given its gradient and state. Each has the state that StateNames
// lists, in that order.
template <typename T>
T AdamChange(const UpdateScalars<T>& c, T g, T& first, T& second) {
  first = first * c.beta1 + g * c.one_minus_beta1;
  second = second * c.beta2 + g * g * c.one_minus_beta2;
  return c.step_size *
         (first / (std::sqrt(second) / c.root_correction + c.epsilon));
}

// Reddi et al. 2018, alg. 2: the second moment never falls.
template <typename T>
T AmsGradChange(const UpdateScalars<T>& c, T g, T& first, T& second,
                T& largest) {
  first = first * c.beta1 + g * c.one_minus_beta1;
  second = second * c.beta2 + g * g * c.one_minus_beta2;
  largest = largest > second ? largest : second;
  return c.step_size *
         (first / (std::sqrt(largest) / c.root_correction + c.epsilon));
}

// Sutskever et al. 2013, as PyTorch writes it: the rate is outside.
template <typename T>
T SgdChange(const UpdateScalars<T>& c, bool nesterov, T g, T& velocity) {
  velocity = velocity * c.momentum + g;
  return c.rate * (nesterov ? g + c.momentum * velocity : velocity);
}

// Hinton 2012, lecture 6e; beta2 is the smoothing that PyTorch calls alpha.
template <typename T>
T RmsPropChange(const UpdateScalars<T>& c, T g, T& square_mean) {
  square_mean = square_mean * c.beta2 + g * g * c.one_minus_beta2;
  return c.rate * (g / (std::sqrt(square_mean) + c.epsilon));
}

// Duchi et al. 2011, diagonal form.
template <typename T>
T AdaGradChange(const UpdateScalars<T>& c, T g, T& square_sum) {
  square_sum = square_sum + g * g;
  return c.rate * (g / (std::sqrt(square_sum) + c.epsilon));
}

// Up to three state arrays of an optimizer, unused ones null.
template <typename T>
using StatePointers = std::array<T*, 3>;

// Steps `count` parameters by `change(i, gradient)`, which are not decayed when
// `decayed` is false, and zeroes the gradients.
template <typename T, typename Change>
void UpdateEach(const UpdateScalars<T>& c, bool decayed, int64_t count,
                T* value, T* grad, const Change& change) {
  const T keep = decayed ? c.keep : T{1};
  const T decay = decayed ? c.decay : T{0};
  for (int64_t i = 0; i < count; ++i) {
    const T g = grad[i] * c.grad_scale + decay * value[i];
    value[i] = value[i] * keep - change(i, g);
    grad[i] = 0;
  }
}

// One step of `options.kind` on `count` parameters.
template <typename T>
void UpdateParameters(const OptimizerOptions& options,
                      const UpdateScalars<T>& c, bool decayed, int64_t count,
                      T* value, T* grad, const StatePointers<T>& state) {
  const auto [a, b, d] = state;
  const auto each = [&](const auto& change) {
    UpdateEach(c, decayed, count, value, grad, change);
  };
  switch (options.kind) {
    case OptimizerKind::kAdam:
    case OptimizerKind::kAdamW:
      if (options.amsgrad) {
        each([&c, a = a, b = b, d = d](int64_t i, T g) {
          return AmsGradChange(c, g, a[i], b[i], d[i]);
        });
      } else {
        each([&c, a = a, b = b](int64_t i, T g) {
          return AdamChange(c, g, a[i], b[i]);
        });
      }
      return;
    case OptimizerKind::kSgd:
      each([&c, a = a, nesterov = options.nesterov](int64_t i, T g) {
        return SgdChange(c, nesterov, g, a[i]);
      });
      return;
    case OptimizerKind::kRmsProp:
      each([&c, a = a](int64_t i, T g) { return RmsPropChange(c, g, a[i]); });
      return;
    case OptimizerKind::kAdaGrad:
      each([&c, a = a](int64_t i, T g) { return AdaGradChange(c, g, a[i]); });
      return;
  }
}

}  // namespace align::train
