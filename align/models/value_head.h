#pragma once

#include <cstdint>
#include <string>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/nn/param_store.h"
#include "align/tensor/tensor.h"

namespace align {

// A scalar head for the trunk of a language model: the value of a row is its
// dot product with v_head.summary.weight [1, D] plus v_head.summary.bias [1]
// (TRL's names). Beside the policy's own head it makes one model with two
// outputs, log-probs and values, from one forward pass. Owns its parameters, in
// a store of their own, so that the policy stays the language model it was.
class ValueHead {
 public:
  // All values 0, as Ziegler et al. 2019 (arXiv 1909.08593) start it.
  explicit ValueHead(int64_t width);

  // Weights N(0, 1/sqrt(D + 1)) from `rng`, bias 0: Stiennon et al. 2020 (arXiv
  // 2009.01325), for heads whose trunk has no values to start from.
  void Draw(const Rng& rng);

  ParamStore& params() { return params_; }
  const ParamStore& params() const { return params_; }

  // rows [R, D] of a trunk -> values [R, 1].
  Tensor Values(const Tensor& rows) const;

 private:
  ParamStore params_;
};

// Puts the tensors of a safetensors file into `head`; others are left alone.
// kInvalidArgument for one that is missing or of another shape.
absl::Status LoadValueHead(const std::string& path, ValueHead& head);

// Writes them in f32. Beside a model it is named value_head.safetensors.
absl::Status SaveValueHead(const ValueHead& head, const std::string& path);

}  // namespace align
