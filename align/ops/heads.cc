#include <algorithm>

#include "align/base/check.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

// The columns [offset, offset + width) of each head of rows with `heads` heads
// of `dim` floats.
struct HeadColumns {
  int64_t heads, dim, offset, width;

  // Calls body(floats of the whole rows, floats of the columns alone) for every
  // head of `n` rows.
  template <class Body>
  void ForEach(int64_t n, const Body& body) const {
    for (int64_t i = 0; i < n * heads; ++i) body(i * dim + offset, i * width);
  }
};

void AddTo(const float* from, int64_t count, float* to) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

}  // namespace

Tensor SliceHeads(const Tensor& x, int64_t heads, int64_t offset,
                  int64_t width) {
  ALIGN_CHECK(x.shape().size() == 2 && heads > 0 && x.dim(1) % heads == 0 &&
              offset >= 0 && width > 0 && offset + width <= x.dim(1) / heads)
      << "[SliceHeads] columns " << offset << " to " << offset + width << " of "
      << heads << " heads of " << ToString(x.shape());
  const int64_t n = x.dim(0);
  const HeadColumns columns{.heads = heads,
                            .dim = x.dim(1) / heads,
                            .offset = offset,
                            .width = width};
  Tensor out = Tensor::Empty({n, heads * width});
  columns.ForEach(n, [&](int64_t whole, int64_t part) {
    std::copy_n(x.data() + whole, width, out.data() + part);
  });
  return Record("SliceHeads", out, {x}, [=](const float* grad) {
    columns.ForEach(n, [&](int64_t whole, int64_t part) {
      AddTo(grad + part, width, x.grad() + whole);
    });
  });
}

Tensor ConcatHeads(const Tensor& a, const Tensor& b, int64_t heads) {
  ALIGN_CHECK(a.shape().size() == 2 && b.shape().size() == 2 && heads > 0 &&
              a.dim(0) == b.dim(0) && a.dim(1) % heads == 0)
      << "[ConcatHeads] " << ToString(a.shape()) << " and "
      << ToString(b.shape()) << " for " << heads << " heads";
  const int64_t n = a.dim(0), first = a.dim(1) / heads, second = b.dim(1);
  const int64_t dim = first + second;
  Tensor out = Tensor::Empty({n, heads * dim});
  for (int64_t i = 0; i < n * heads; ++i) {
    std::copy_n(a.data() + i * first, first, out.data() + i * dim);
    std::copy_n(b.data() + i / heads * second, second,
                out.data() + i * dim + first);
  }
  return Record("ConcatHeads", out, {a, b}, [=](const float* grad) {
    for (int64_t i = 0; i < n * heads; ++i) {
      if (a.requires_grad()) {
        AddTo(grad + i * dim, first, a.grad() + i * first);
      }
      if (b.requires_grad()) {
        AddTo(grad + i * dim + first, second, b.grad() + i / heads * second);
      }
    }
  });
}

}  // namespace align
