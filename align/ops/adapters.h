#pragma once

// What adapters on linear layers need besides ops.h. N rows, r the rank.

#include <cstdint>
#include <span>
#include <vector>

#include "align/base/rng.h"
#include "align/ops/ops.h"
#include "align/tensor/tensor.h"

namespace align {

// y [N, out] + h [N, r] weight^T [out, r]. Takes over the values of `y`, which
// must be an output that nothing else reads, such as Linear's: an adapter adds
// no activation as wide as its layer.
Tensor AddProduct(const Tensor& y, const Tensor& h, const Tensor& weight);

// magnitude [out] / norms [out] * x [N, out], plus bias [out] when defined, by
// column. The norms, none of them 0, get no gradient (Liu et al. 2024, arXiv
// 2402.09353, section 4.3), nor does the bias.
Tensor ScaleColumns(const Tensor& x, const Tensor& magnitude,
                    std::vector<float> norms, const Tensor& bias = {});

// x / (1 - share) with each element 0 with probability `share`, in [0, 1): that
// of row i is drawn from rng.Fork(i), again in the backward pass.
Tensor Dropout(const Tensor& x, double share, const Rng& rng);

// The Euclidean norm of each output's row of weight + scale b a, where `weight`
// has `layout`, a is [r, in] and b [out, r]. Sums in double; at least the
// smallest normal float, so that a layer of zeros can be divided by it.
std::vector<float> AdaptedNorms(const Tensor& weight, WeightLayout layout,
                                const Tensor& a, const Tensor& b, double scale);

// weight += scale b a in place, and then row o of it times factors[o], unless
// `factors` is empty.
void MergeProduct(const Tensor& a, const Tensor& b, double scale,
                  std::span<const float> factors, WeightLayout layout,
                  Tensor& weight);

}  // namespace align
