#include "align/ops/adapters.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "align/base/check.h"
#include "align/base/threads.h"
#include "align/dnnl/matmul.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

MatrixView View(const Tensor& x) {
  return RowMajor(x.data(), x.dim(0), x.dim(1));
}

// Calls body(first, delta) for blocks of outputs, delta [count, in] being those
// rows of b a: the product of a whole layer never exists.
template <class Body>
void ForProductRows(const Tensor& a, const Tensor& b, const Body& body) {
  constexpr int64_t kBlock = 64;
  const int64_t outputs = b.dim(0);
  for (int64_t first = 0; first < outputs; first += kBlock) {
    const int64_t count = std::min(kBlock, outputs - first);
    Tensor delta = Tensor::Empty({count, a.dim(1)});
    Matmul(RowRange(View(b), first, count), View(a), delta.data(), a.dim(1));
    body(first, delta);
  }
}

void CheckProduct(const char* op, const Tensor& weight, WeightLayout layout,
                  const Tensor& a, const Tensor& b) {
  const size_t out = layout == WeightLayout::kOutIn ? 0 : 1;
  ALIGN_CHECK(a.dim(0) == b.dim(1) && b.dim(0) == weight.dim(out) &&
              a.dim(1) == weight.dim(1 - out))
      << "[" << op << "] weight " << ToString(weight.shape()) << ", a "
      << ToString(a.shape()) << ", b " << ToString(b.shape());
}

// Floats from one output's weight to the next one's, and along one output.
struct Strides {
  int64_t output, input;
};
Strides StridesOf(const Tensor& weight, WeightLayout layout) {
  return layout == WeightLayout::kOutIn ? Strides{weight.dim(1), 1}
                                        : Strides{1, weight.dim(1)};
}

// One row through the mask: forward from x to out, or gradients back.
void DropRow(const float* from, int64_t width, double share, Rng stream,
             bool add, float* to) {
  const auto keep = static_cast<float>(1 / (1 - share));
  for (int64_t i = 0; i < width; ++i) {
    const float value = stream.Uniform() < share ? 0.0f : keep * from[i];
    to[i] = add ? to[i] + value : value;
  }
}

}  // namespace

Tensor AddProduct(const Tensor& y, const Tensor& h, const Tensor& weight) {
  ALIGN_CHECK(y.dim(0) == h.dim(0) && y.dim(1) == weight.dim(0) &&
              h.dim(1) == weight.dim(1))
      << "[AddProduct] " << ToString(y.shape()) << " + " << ToString(h.shape())
      << " x " << ToString(weight.shape()) << "^T";
  const int64_t n = y.dim(0), width = y.dim(1), rank = h.dim(1);
  Tensor out = y.Detach();
  Matmul(View(h), Transposed(View(weight)), out.data(), width,
         /*accumulate=*/true);
  return Record("AddProduct", out, {y, h, weight}, [=](const float* grad) {
    const MatrixView dy = RowMajor(grad, n, width);
    if (y.requires_grad()) {
      float* into = y.grad();
      for (int64_t i = 0; i < n * width; ++i) into[i] += grad[i];
    }
    if (h.requires_grad()) {
      Matmul(dy, View(weight), h.grad(), rank, /*accumulate=*/true);
    }
    if (weight.requires_grad()) {
      Matmul(Transposed(dy), View(h), weight.grad(), rank,
             /*accumulate=*/true);
    }
  });
}

Tensor ScaleColumns(const Tensor& x, const Tensor& magnitude,
                    std::vector<float> norms, const Tensor& bias) {
  const int64_t n = x.dim(0), width = x.dim(1);
  ALIGN_CHECK(magnitude.size() == width &&
              static_cast<int64_t>(norms.size()) == width &&
              (!bias.defined() || bias.size() == width) &&
              !bias.requires_grad())
      << "[ScaleColumns] " << ToString(x.shape()) << ", " << magnitude.size()
      << " magnitudes, " << norms.size() << " norms";
  std::vector<float> factors(width);
  for (int64_t i = 0; i < width; ++i) {
    factors[i] = magnitude.data()[i] / norms[i];
  }
  Tensor out = Tensor::Empty({n, width});
  for (int64_t row = 0; row < n; ++row) {
    const float* from = x.data() + row * width;
    float* to = out.data() + row * width;
    for (int64_t i = 0; i < width; ++i) to[i] = factors[i] * from[i];
    for (int64_t i = 0; bias.defined() && i < width; ++i) {
      to[i] += bias.data()[i];
    }
  }
  return Record("ScaleColumns", out, {x, magnitude},
                [=, factors = std::move(factors),
                 norms = std::move(norms)](const float* grad) {
                  std::vector<double> sums(width, 0.0);
                  for (int64_t row = 0; row < n; ++row) {
                    const float* dy = grad + row * width;
                    const float* from = x.data() + row * width;
                    for (int64_t i = 0; i < width; ++i)
                      sums[i] += dy[i] * from[i];
                    if (!x.requires_grad()) continue;
                    float* dx = x.grad() + row * width;
                    for (int64_t i = 0; i < width; ++i)
                      dx[i] += factors[i] * dy[i];
                  }
                  if (!magnitude.requires_grad()) return;
                  for (int64_t i = 0; i < width; ++i) {
                    magnitude.grad()[i] +=
                        static_cast<float>(sums[i] / norms[i]);
                  }
                });
}

Tensor Dropout(const Tensor& x, double share, const Rng& rng) {
  ALIGN_CHECK(share >= 0 && share < 1) << "[Dropout] share " << share;
  const int64_t n = x.dim(0), width = x.dim(1);
  Tensor out = Tensor::Empty({n, width});
  ParallelFor(n, [&](int64_t row) {
    DropRow(x.data() + row * width, width, share,
            rng.Fork(static_cast<uint64_t>(row)), /*add=*/false,
            out.data() + row * width);
  });
  return Record("Dropout", out, {x}, [=](const float* grad) {
    float* dx = x.grad();
    ParallelFor(n, [&](int64_t row) {
      DropRow(grad + row * width, width, share,
              rng.Fork(static_cast<uint64_t>(row)), /*add=*/true,
              dx + row * width);
    });
  });
}

std::vector<float> AdaptedNorms(const Tensor& weight, WeightLayout layout,
                                const Tensor& a, const Tensor& b,
                                double scale) {
  CheckProduct("AdaptedNorms", weight, layout, a, b);
  const Strides strides = StridesOf(weight, layout);
  std::vector<float> norms(b.dim(0));
  ForProductRows(a, b, [&](int64_t first, const Tensor& delta) {
    const int64_t inputs = delta.dim(1);
    ParallelFor(delta.dim(0), [&](int64_t row) {
      const float* w = weight.data() + (first + row) * strides.output;
      const float* d = delta.data() + row * inputs;
      double sum = 0;
      for (int64_t i = 0; i < inputs; ++i) {
        const double v = w[i * strides.input] + scale * d[i];
        sum += v * v;
      }
      norms[first + row] = std::max(static_cast<float>(std::sqrt(sum)),
                                    std::numeric_limits<float>::min());
    });
  });
  return norms;
}

void MergeProduct(const Tensor& a, const Tensor& b, double scale,
                  std::span<const float> factors, WeightLayout layout,
                  Tensor& weight) {
  CheckProduct("MergeProduct", weight, layout, a, b);
  const Strides strides = StridesOf(weight, layout);
  ForProductRows(a, b, [&](int64_t first, const Tensor& delta) {
    const int64_t inputs = delta.dim(1);
    for (int64_t row = 0; row < delta.dim(0); ++row) {
      float* w = weight.data() + (first + row) * strides.output;
      const float* d = delta.data() + row * inputs;
      const double factor = factors.empty() ? 1 : factors[first + row];
      for (int64_t i = 0; i < inputs; ++i) {
        float& value = w[i * strides.input];
        value = static_cast<float>(factor * (value + scale * d[i]));
      }
    }
  });
}

}  // namespace align
