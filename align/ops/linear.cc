#include <algorithm>
#include <vector>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/dnnl/matmul.h"
#include "align/ops/ops.h"
#include "align/ops/packed_weight.h"
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

void CheckShapes(const Tensor& x, const Tensor& weight, const Tensor& bias,
                 bool out_in) {
  ALIGN_CHECK(x.shape().size() == 2 && weight.shape().size() == 2 &&
              x.dim(1) == weight.dim(out_in ? 1 : 0) &&
              (!bias.defined() || bias.size() == weight.dim(out_in ? 0 : 1)))
      << "[Linear] " << ToString(x.shape()) << " x " << ToString(weight.shape())
      << (out_in ? "^T" : "");
}

// As it is stored.
MatrixView View(const Tensor& weight) {
  return RowMajor(weight.data(), weight.dim(0), weight.dim(1));
}

}  // namespace

Tensor Linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
              WeightLayout layout) {
  const ProfileScope scope("Linear");
  const bool out_in = layout == WeightLayout::kOutIn;
  CheckShapes(x, weight, bias, out_in);
  const int64_t n = x.dim(0);
  const int64_t out_width = weight.dim(out_in ? 0 : 1);
  const MatrixView from_inputs =
      out_in ? Transposed(View(weight)) : View(weight);
  Tensor out = Tensor::Empty({n, out_width});
  const Precision precision = PrecisionOf(weight);
  MultiplyByWeight(ProductRows(x, precision), weight, from_inputs, out.data());
  if (bias.defined()) AddBias(bias, out);
  // An undefined bias wants no gradient, like a constant.
  return Record("Linear", out, {x, weight, bias}, [=](const float* grad) {
    const ProductRows dy(grad, n, out_width);
    if (x.requires_grad()) {
      const Tensor::GradTarget dx = x.TakeGrad();
      MultiplyByWeight(dy, weight, Transposed(from_inputs), dx.data,
                       dx.accumulate);
    }
    if (weight.requires_grad()) {
      const ProductRows rows(x, precision);
      AddOuterProducts(out_in ? dy : rows, out_in ? rows : dy, precision,
                       weight.grad());
    }
    if (bias.requires_grad()) AddBiasGradient(grad, n, bias);
  });
}

std::vector<Tensor> Linears(const Tensor& x,
                            std::span<const LinearLayer> layers) {
  std::vector<Tensor> outs;
  if (GradEnabled() || layers.empty()) {
    for (const LinearLayer& layer : layers) {
      outs.push_back(Linear(x, layer.weight, layer.bias));
    }
    return outs;
  }
  const ProfileScope scope("Linear");
  std::vector<WeightProduct> products;
  for (const auto& [weight, bias] : layers) {
    CheckShapes(x, weight, bias, /*out_in=*/true);
    outs.push_back(Tensor::Empty({x.dim(0), weight.dim(0)}));
    products.push_back({weight, Transposed(View(weight)), outs.back().data()});
  }
  MultiplyByWeights(ProductRows(x, PrecisionOf(layers[0].weight)), products);
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].bias.defined()) AddBias(layers[i].bias, outs[i]);
  }
  return outs;
}

}  // namespace align
