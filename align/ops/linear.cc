#include <algorithm>
#include <vector>

#include "align/base/check.h"
#include "align/dnnl/matmul.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

void AddBias(const Tensor& bias, Tensor& out) {
  const int64_t n = out.dim(0), width = out.dim(1);
  for (int64_t row = 0; row < n; ++row) {
    float* y = out.data() + row * width;
    for (int64_t i = 0; i < width; ++i) y[i] += bias.data()[i];
  }
}

// Column sums in double: a bias sees every row of the batch.
void AddBiasGradient(const float* grad, int64_t n, const Tensor& bias) {
  const int64_t width = bias.size();
  std::vector<double> sums(width, 0.0);
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t i = 0; i < width; ++i) sums[i] += grad[row * width + i];
  }
  for (int64_t i = 0; i < width; ++i) {
    bias.grad()[i] += static_cast<float>(sums[i]);
  }
}

}  // namespace

Tensor Linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  ALIGN_CHECK(x.shape().size() == 2 && weight.shape().size() == 2 &&
              x.dim(1) == weight.dim(1) &&
              (!bias.defined() || bias.size() == weight.dim(0)))
      << "[Linear] " << ToString(x.shape()) << " x " << ToString(weight.shape())
      << "^T";
  const int64_t n = x.dim(0), in = x.dim(1), out_width = weight.dim(0);
  Tensor out = Tensor::Empty({n, out_width});
  Matmul(RowMajor(x.data(), n, in),
         Transposed(RowMajor(weight.data(), out_width, in)), out.data(),
         out_width);
  if (bias.defined()) AddBias(bias, out);
  std::vector<Tensor> inputs = {x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return Record("Linear", out, std::move(inputs), [=](const float* grad) {
    const MatrixView dy = RowMajor(grad, n, out_width);
    if (x.requires_grad()) {
      Matmul(dy, RowMajor(weight.data(), out_width, in), x.grad(), in,
             /*accumulate=*/true);
    }
    if (weight.requires_grad()) {
      Matmul(Transposed(dy), RowMajor(x.data(), n, in), weight.grad(), in,
             /*accumulate=*/true);
    }
    if (bias.requires_grad()) AddBiasGradient(grad, n, bias);
  });
}

}  // namespace align
