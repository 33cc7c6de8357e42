#include "align/ops/head_linear.h"

#include <algorithm>

#include "align/base/check.h"
#include "align/dnnl/matmul.h"

namespace align {

Tensor HeadLinear(const Tensor& x, const Tensor& weight,
                  const HeadLinearShape& shape) {
  const int64_t n = x.dim(0), heads = shape.heads, rank = weight.dim(1);
  ALIGN_CHECK(heads > 0 && x.dim(1) % heads == 0 && weight.dim(0) % heads == 0)
      << "[HeadLinear] " << ToString(x.shape()) << " and "
      << ToString(weight.shape()) << " for " << heads << " heads";
  const int64_t width = x.dim(1) / heads, block = weight.dim(0) / heads;
  const bool in_out = shape.layout == WeightLayout::kInOut;
  const int64_t in = in_out ? shape.count : rank;
  const int64_t out_width = in_out ? rank : shape.count;
  ALIGN_CHECK(shape.first >= 0 && shape.count > 0 &&
              shape.first + shape.count <= block && in <= width)
      << "[HeadLinear] rows " << shape.first << " to "
      << shape.first + shape.count << " of " << block << ", " << in
      << " inputs of " << width;
  const int64_t rest = shape.keep_rest ? width - in : 0;
  const int64_t stride = heads * (out_width + rest);
  Tensor out = Tensor::Empty({n, stride});
  for (int64_t h = 0; h < heads; ++h) {
    const MatrixView rows{.data = x.data() + h * width,
                          .rows = n,
                          .cols = in,
                          .row_stride = x.dim(1)};
    const MatrixView stored = RowMajor(
        weight.data() + (h * block + shape.first) * rank, shape.count, rank);
    float* to = out.data() + h * (out_width + rest);
    Matmul(rows, in_out ? stored : Transposed(stored), to, stride);
    for (int64_t i = 0; i < n; ++i) {
      std::copy_n(x.data() + i * x.dim(1) + h * width + in, rest,
                  to + i * stride + out_width);
    }
  }
  return out;
}

}  // namespace align
