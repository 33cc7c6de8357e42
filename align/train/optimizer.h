#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/nn/param_store.h"
#include "align/tensor/tensor.h"

namespace align::train {

enum class OptimizerKind { kAdamW, kAdam, kSgd, kRmsProp, kAdaGrad };

// Names and meanings are PyTorch's (torch.optim).
struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdamW;
  double learning_rate = 1e-6;
  double beta1 = 0.9;          // adam, adamw
  double beta2 = 0.999;        // adam, adamw; rmsprop's alpha, there often 0.99
  double epsilon = 1e-8;       // all but sgd; PyTorch's adagrad has 1e-10
  bool amsgrad = false;        // adam, adamw
  double momentum = 0;         // sgd
  bool nesterov = false;       // sgd
  double weight_decay = 0;     // matrices and tables only, not norms
  bool decay_vectors = false;  // norms and biases too, as PyTorch does
};

// "adamw", "adam", "sgd", "rmsprop" or "adagrad"; kInvalidArgument names them.
absl::StatusOr<OptimizerKind> ParseOptimizerKind(const std::string& text);

// What an optimizer keeps of each parameter, one float each: "first" and
// "second" moments for AdamW.
std::vector<std::string> StateNames(const OptimizerOptions& options);

// The factor on the learning rate at optimizer step `step`, counted from 0, as
// transformers' LambdaLR schedules give it. Empty: 1.
using LearningRateFactor = std::function<double(int64_t step)>;

// Steps the arenas of several stores by one of the rules of optimizer_update.h,
// with PyTorch's arithmetic: AdamW (Loshchilov and Hutter 2019, alg. 2), Adam
// (Kingma and Ba 2015, alg. 1), SGD with momentum, RMSprop, AdaGrad. State is
// f32. The stores must have gradients and outlive it. Bits do not depend on the
// number of threads. Used by one thread.
class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, LearningRateFactor factor,
            std::vector<ParamStore*> stores);

  // Multiplies the gradients by `grad_scale` (the division by the global weight
  // and the clip in one), steps every parameter, and zeroes the gradients.
  void Step(double grad_scale);

  int64_t steps() const { return steps_; }
  // The rate that the next Step will use.
  double learning_rate() const;

  // The names of the state, and for each store one arena of each, in that
  // order: what a checkpoint holds.
  std::vector<std::string> state_names() const { return StateNames(options_); }
  std::vector<std::vector<std::span<float>>> state();
  void set_steps(int64_t steps) { steps_ = steps; }

 private:
  OptimizerOptions options_;
  LearningRateFactor factor_;
  std::vector<ParamStore*> stores_;
  std::vector<std::vector<Tensor>> state_;  // [store][name], arena layout
  int64_t steps_ = 0;
};

// Which norm of the gradients is measured and clipped: the Euclidean, the sum
// of absolute values or the largest of them.
enum class NormKind { kEuclidean, kSum, kMaximum };

// "2", "1" or "inf", as torch's norm_type; kInvalidArgument names them.
absl::StatusOr<NormKind> ParseNormKind(const std::string& text);

// The norm of all gradients of `stores` together, summed in double over fixed
// blocks in a fixed order: the same bits for any thread count. Not finite when
// a gradient is not.
double GradientNorm(const std::vector<ParamStore*>& stores,
                    NormKind kind = NormKind::kEuclidean);

// What gradients of norm `norm` are multiplied by so that their norm is at most
// `max_norm`: torch.nn.utils.clip_grad_norm_'s min(1, max_norm / (norm +
// 1e-6)). 1 when max_norm is 0.
double ClipScale(double norm, double max_norm);

}  // namespace align::train
