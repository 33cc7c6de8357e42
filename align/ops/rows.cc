#include "align/kernels/rows.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "align/base/check.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {

Tensor Embedding(const Tensor& table, std::span<const int32_t> ids) {
  const int64_t d = table.dim(1), vocab = table.dim(0);
  Tensor out = Tensor::Empty({static_cast<int64_t>(ids.size()), d});
  for (size_t i = 0; i < ids.size(); ++i) {
    ALIGN_CHECK(ids[i] >= 0 && ids[i] < vocab)
        << "[Embedding] id " << ids[i] << " of " << vocab;
    std::copy_n(table.data() + ids[i] * d, d, out.data() + i * d);
  }
  std::vector<int32_t> kept;
  if (table.requires_grad()) kept.assign(ids.begin(), ids.end());
  return Record("Embedding", out, {table},
                [table, d, kept = std::move(kept)](const float* grad) {
                  for (size_t i = 0; i < kept.size(); ++i) {
                    float* row = table.grad() + kept[i] * d;
                    for (int64_t j = 0; j < d; ++j) row[j] += grad[i * d + j];
                  }
                });
}

Tensor RmsNorm(const Tensor& x, const Tensor& weight, float epsilon) {
  ALIGN_CHECK(x.shape().size() == 2 && weight.size() == x.dim(1))
      << "[RmsNorm] " << ToString(x.shape()) << " with weight "
      << ToString(weight.shape());
  const int64_t n = x.dim(0), d = x.dim(1);
  Tensor out = Tensor::Empty({n, d});
  Tensor inverse_rms = Tensor::Empty({n});
  kernels::RmsNormForward(x.data(), weight.data(), epsilon, n, d, out.data(),
                          inverse_rms.data());
  return Record("RmsNorm", out, {x, weight}, [=](const float* grad) {
    kernels::RmsNormBackward(x.data(), weight.data(), inverse_rms.data(), grad,
                             n, d, x.requires_grad() ? x.grad() : nullptr,
                             weight.requires_grad() ? weight.grad() : nullptr);
  });
}

Tensor SwiGlu(const Tensor& gate, const Tensor& up) {
  ALIGN_CHECK(gate.shape() == up.shape())
      << "[SwiGlu] " << ToString(gate.shape()) << " and "
      << ToString(up.shape());
  Tensor out = Tensor::Empty(gate.shape());
  kernels::SwiGluForward(gate.data(), up.data(), out.size(), out.data());
  return Record("SwiGlu", out, {gate, up}, [=](const float* grad) {
    kernels::SwiGluBackward(gate.data(), up.data(), grad, gate.size(),
                            gate.requires_grad() ? gate.grad() : nullptr,
                            up.requires_grad() ? up.grad() : nullptr);
  });
}

Tensor Add(const Tensor& a, const Tensor& b) {
  ALIGN_CHECK(a.shape() == b.shape())
      << "[Add] " << ToString(a.shape()) << " and " << ToString(b.shape());
  Tensor out = Tensor::Empty(a.shape());
  std::copy_n(a.data(), a.size(), out.data());
  kernels::AddInto(b.data(), b.size(), out.data());
  return Record("Add", out, {a, b}, [=](const float* grad) {
    for (const Tensor& input : {a, b}) {
      if (input.requires_grad()) {
        kernels::AddInto(grad, input.size(), input.grad());
      }
    }
  });
}

Tensor GatherRows(const Tensor& x, std::span<const int32_t> rows) {
  const int64_t d = x.dim(1);
  Tensor out = Tensor::Empty({static_cast<int64_t>(rows.size()), d});
  for (size_t i = 0; i < rows.size(); ++i) {
    ALIGN_CHECK(rows[i] >= 0 && rows[i] < x.dim(0))
        << "[GatherRows] row " << rows[i] << " of " << x.dim(0);
    std::copy_n(x.data() + rows[i] * d, d, out.data() + i * d);
  }
  std::vector<int32_t> kept;
  if (x.requires_grad()) kept.assign(rows.begin(), rows.end());
  return Record("GatherRows", out, {x},
                [x, d, kept = std::move(kept)](const float* grad) {
                  for (size_t i = 0; i < kept.size(); ++i) {
                    float* row = x.grad() + kept[i] * d;
                    for (int64_t j = 0; j < d; ++j) row[j] += grad[i * d + j];
                  }
                });
}

RopeTable::RopeTable(int64_t max_positions, int64_t head_dim, double theta)
    : half(head_dim / 2), cos(max_positions * half), sin(cos.size()) {
  for (int64_t i = 0; i < half; ++i) {
    const double frequency =
        std::pow(theta, -2.0 * static_cast<double>(i) / head_dim);
    for (int64_t p = 0; p < max_positions; ++p) {
      cos[p * half + i] = static_cast<float>(std::cos(p * frequency));
      sin[p * half + i] = static_cast<float>(std::sin(p * frequency));
    }
  }
}

Tensor Rope(const Tensor& x, const RopeTable& table,
            std::span<const int32_t> positions) {
  const int64_t n = x.dim(0), head_dim = 2 * table.half;
  ALIGN_CHECK(static_cast<int64_t>(positions.size()) == n && head_dim > 0 &&
              x.dim(1) % head_dim == 0)
      << "[Rope] " << ToString(x.shape()) << " with head_dim " << head_dim
      << " and " << positions.size() << " positions";
  const int64_t known = static_cast<int64_t>(table.cos.size()) / table.half;
  for (int32_t p : positions) {
    ALIGN_CHECK(p >= 0 && p < known)
        << "[Rope] position " << p << " of " << known;
  }
  const auto kept = std::make_shared<std::vector<int32_t>>(positions.begin(),
                                                           positions.end());
  const auto apply = [n, kept, &table, heads = x.dim(1) / head_dim](
                         const float* from, float sign, bool add, float* to) {
    kernels::RopeApply({.cos = table.cos.data(),
                        .sin = table.sin.data(),
                        .positions = kept->data(),
                        .heads = heads,
                        .half = table.half},
                       from, n, sign, add, to);
  };
  Tensor out = Tensor::Empty(x.shape());
  apply(x.data(), 1, /*add=*/false, out.data());
  return Record("Rope", out, {x}, [x, apply](const float* grad) {
    apply(grad, -1, /*add=*/true, x.grad());
  });
}

}  // namespace align
