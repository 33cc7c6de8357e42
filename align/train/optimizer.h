#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "align/nn/param_store.h"
#include "align/tensor/tensor.h"

namespace align::train {

struct AdamWOptions {
  double learning_rate = 1e-6;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;  // decoupled; matrices and tables only, not norms
  bool decay_vectors =
      false;  // norms and biases too, as torch.optim.AdamW does
};

// The factor on the learning rate at optimizer step `step`, counted from 0, as
// transformers' LambdaLR schedules give it. Empty: 1.
using LearningRateFactor = std::function<double(int64_t step)>;

// AdamW (Loshchilov and Hutter 2019, alg. 2) with PyTorch's arithmetic, over
// the arenas of several stores, moments in f32. The stores must have gradients
// and outlive it. Bits do not depend on the number of threads. Used by one
// thread.
class Optimizer {
 public:
  Optimizer(const AdamWOptions& options, LearningRateFactor factor,
            std::vector<ParamStore*> stores);

  // Multiplies the gradients by `grad_scale` (the division by the global weight
  // and the clip in one), steps every parameter, and zeroes the gradients.
  void Step(double grad_scale);

  int64_t steps() const { return steps_; }
  // The rate that the next Step will use.
  double learning_rate() const;

  // Moments for checkpoints, one span pair per store, arena layout.
  struct Moments {
    std::span<float> first;
    std::span<float> second;
  };
  std::vector<Moments> moments();
  void set_steps(int64_t steps) { steps_ = steps; }

 private:
  AdamWOptions options_;
  LearningRateFactor factor_;
  std::vector<ParamStore*> stores_;
  std::vector<Tensor> first_, second_;  // one per store, arena layout
  int64_t steps_ = 0;
};

// The Euclidean norm of all gradients of `stores` together, summed in double
// over fixed blocks in a fixed order: the same bits for any thread count.
// Not finite when a gradient is not.
double GradientNorm(const std::vector<ParamStore*>& stores);

// What gradients of norm `norm` are multiplied by so that their norm is at most
// `max_norm`: torch.nn.utils.clip_grad_norm_'s min(1, max_norm / (norm +
// 1e-6)). 1 when max_norm is 0.
double ClipScale(double norm, double max_norm);

}  // namespace align::train
