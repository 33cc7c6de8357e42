#pragma once

#include <functional>
#include <vector>

#include "align/tensor/tensor.h"

namespace align {

// Outputs of a computation on `x`: the one that matters, and others on the way
// to it that may get gradients of their own (the logits of a router). The same
// for the same x however often it is called; it may read trainable tensors
// besides.
using Computation = std::function<std::vector<Tensor>(const Tensor& x)>;

// The outputs of `compute(x)`, recorded as one operation that keeps x and
// nothing between: the walk back computes them again and goes through that
// (Chen et al. 2016, arXiv 1604.06174). Gradients have the bits that they have
// without it; aborts when the first output does not come out the same again. A
// walk that reaches one of the others must reach the first output, too. What
// `compute` refers to must live until the walk.
std::vector<Tensor> Recompute(const Tensor& x, const Computation& compute);

}  // namespace align
