#include "align/kernels/rows.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/kernels/lanes.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {

namespace {

// Row i is the row rows[i] of x; `row` says what that is in a message.
Tensor TakeRows(const char* name, const char* row, const Tensor& x,
                std::span<const int32_t> rows) {
  const ProfileScope scope(name);
  const int64_t d = x.dim(1);
  Tensor out = Tensor::Empty({static_cast<int64_t>(rows.size()), d});
  for (size_t i = 0; i < rows.size(); ++i) {
    ALIGN_CHECK(rows[i] >= 0 && rows[i] < x.dim(0))
        << "[" << name << "] " << row << " " << rows[i] << " of " << x.dim(0);
    std::copy_n(x.data() + rows[i] * d, d, out.data() + i * d);
  }
  ProfileScope::AddFloats(2 * out.size());
  std::vector<int32_t> kept;
  if (x.requires_grad()) kept.assign(rows.begin(), rows.end());
  return Record(name, out, {x}, [x, d, kept = std::move(kept)](const float* g) {
    ProfileScope::AddFloats(3 * static_cast<int64_t>(kept.size()) * d);
    for (size_t i = 0; i < kept.size(); ++i) {
      kernels::Axpy(1.0f, g + i * d, x.grad() + kept[i] * d, d);
    }
  });
}

}  // namespace

Tensor Embedding(const Tensor& table, std::span<const int32_t> ids) {
  return TakeRows("Embedding", "id", table, ids);
}

Tensor GatherRows(const Tensor& x, std::span<const int32_t> rows) {
  return TakeRows("GatherRows", "row", x, rows);
}

Tensor RmsNorm(const Tensor& x, const Tensor& weight, float epsilon,
               float weight_offset) {
  const ProfileScope scope("RmsNorm");
  const int64_t d = weight.size();
  ALIGN_CHECK(x.shape().size() == 2 && d > 0 && x.dim(1) % d == 0)
      << "[RmsNorm] " << ToString(x.shape()) << " with weight "
      << ToString(weight.shape());
  const int64_t n = x.size() / d;
  Tensor factors = weight;
  if (weight_offset != 0) {
    factors = Tensor::From({d}, weight.values());
    for (float& w : factors.values()) w += weight_offset;
  }
  Tensor out = Tensor::Empty(x.shape());
  Tensor inverse_rms = Tensor::Empty({n});
  kernels::RmsNormForward(x.data(), factors.data(), epsilon, n, d, out.data(),
                          inverse_rms.data());
  ProfileScope::AddFloats(2 * x.size());
  return Record("RmsNorm", out, {x, weight}, [=](const float* grad) {
    ProfileScope::AddFloats(4 * x.size());
    kernels::RmsNormBackward(x.data(), factors.data(), inverse_rms.data(), grad,
                             n, d, x.requires_grad() ? x.grad() : nullptr,
                             weight.requires_grad() ? weight.grad() : nullptr);
  });
}

Tensor LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                 float epsilon) {
  const ProfileScope scope("LayerNorm");
  ALIGN_CHECK(x.shape().size() == 2 && weight.size() == x.dim(1) &&
              bias.size() == x.dim(1))
      << "[LayerNorm] " << ToString(x.shape()) << " with weight "
      << ToString(weight.shape()) << " and bias " << ToString(bias.shape());
  const int64_t n = x.dim(0), d = x.dim(1);
  Tensor out = Tensor::Empty({n, d});
  Tensor moments = Tensor::Empty({n, 2});
  kernels::LayerNormForward(x.data(), weight.data(), bias.data(), epsilon, n, d,
                            out.data(), moments.data());
  ProfileScope::AddFloats(2 * x.size());
  return Record("LayerNorm", out, {x, weight, bias}, [=](const float* grad) {
    ProfileScope::AddFloats(4 * x.size());
    kernels::LayerNormBackward(x.data(), weight.data(), moments.data(), grad, n,
                               d, x.requires_grad() ? x.grad() : nullptr,
                               weight.requires_grad() ? weight.grad() : nullptr,
                               bias.requires_grad() ? bias.grad() : nullptr);
  });
}

Tensor Scale(const Tensor& x, float factor) {
  const ProfileScope scope("Scale");
  Tensor out = Tensor::Empty(x.shape());
  for (int64_t i = 0; i < x.size(); ++i) out.data()[i] = factor * x.data()[i];
  ProfileScope::AddFloats(2 * x.size());
  return Record("Scale", out, {x}, [=](const float* grad) {
    ProfileScope::AddFloats(3 * x.size());
    float* dx = x.grad();
    for (int64_t i = 0; i < x.size(); ++i) dx[i] += factor * grad[i];
  });
}

Tensor Add(const Tensor& a, const Tensor& b) {
  const ProfileScope scope("Add");
  ALIGN_CHECK(a.shape() == b.shape())
      << "[Add] " << ToString(a.shape()) << " and " << ToString(b.shape());
  Tensor out = Tensor::Empty(a.shape());
  kernels::Add(a.data(), b.data(), out.size(), out.data());
  ProfileScope::AddFloats(3 * out.size());
  return Record("Add", out, {a, b}, [=](const float* grad) {
    for (const Tensor& input : {a, b}) {
      if (!input.requires_grad()) continue;
      const Tensor::GradTarget target = input.TakeGrad();
      ProfileScope::AddFloats((target.accumulate ? 3 : 2) * input.size());
      if (target.accumulate) {
        kernels::AddInto(grad, input.size(), target.data);
      } else {
        kernels::Copy(grad, input.size(), target.data);
      }
    }
  });
}

Tensor ScatterRows(const Tensor& x, std::span<const int32_t> rows,
                   int64_t count) {
  const ProfileScope scope("ScatterRows");
  const int64_t d = x.dim(1);
  ALIGN_CHECK(static_cast<int64_t>(rows.size()) == x.dim(0))
      << "[ScatterRows] " << rows.size() << " places for "
      << ToString(x.shape());
  Tensor out = Tensor::Zeros({count, d});
  for (size_t i = 0; i < rows.size(); ++i) {
    ALIGN_CHECK(rows[i] >= 0 && rows[i] < count)
        << "[ScatterRows] row " << rows[i] << " of " << count;
    std::copy_n(x.data() + i * d, d, out.data() + rows[i] * d);
  }
  ProfileScope::AddFloats(x.size() + out.size());
  std::vector<int32_t> kept;
  if (x.requires_grad()) kept.assign(rows.begin(), rows.end());
  return Record(
      "ScatterRows", out, {x},
      [x, d, kept = std::move(kept)](const float* grad) {
        ProfileScope::AddFloats(3 * static_cast<int64_t>(kept.size()) * d);
        for (size_t i = 0; i < kept.size(); ++i) {
          kernels::Axpy(1.0f, grad + kept[i] * d, x.grad() + i * d, d);
        }
      });
}

RopeTable::RopeTable(int64_t max_positions, int64_t head_dim, double theta) {
  std::vector<double> frequencies;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    frequencies.push_back(
        std::pow(theta, -2.0 * static_cast<double>(i) / head_dim));
  }
  *this = RopeTable(max_positions, frequencies, 1);
}

RopeTable::RopeTable(int64_t max_positions, std::span<const double> frequencies,
                     double scale)
    : half(static_cast<int64_t>(frequencies.size())),
      cos(max_positions * half),
      sin(cos.size()) {
  for (int64_t p = 0; p < max_positions; ++p) {
    for (int64_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(p) * frequencies[i];
      cos[p * half + i] = static_cast<float>(scale * std::cos(angle));
      sin[p * half + i] = static_cast<float>(scale * std::sin(angle));
    }
  }
}

Tensor Rope(const Tensor& x, const RopeTable& table,
            std::span<const int32_t> positions, const RopeLayout& layout) {
  const ProfileScope scope("Rope");
  const int64_t n = x.dim(0), rotated = 2 * table.half;
  const int64_t head_dim = layout.head_dim > 0 ? layout.head_dim : rotated;
  ALIGN_CHECK(static_cast<int64_t>(positions.size()) == n && rotated > 0 &&
              layout.offset + rotated <= head_dim && x.dim(1) % head_dim == 0)
      << "[Rope] " << ToString(x.shape()) << " with head_dim " << head_dim
      << ", " << rotated << " of it from " << layout.offset << ", and "
      << positions.size() << " positions";
  const int64_t known = static_cast<int64_t>(table.cos.size()) / table.half;
  for (int32_t p : positions) {
    ALIGN_CHECK(p >= 0 && p < known)
        << "[Rope] position " << p << " of " << known;
  }
  const auto kept = std::make_shared<std::vector<int32_t>>(positions.begin(),
                                                           positions.end());
  const auto apply = [n, kept, &table, layout, head_dim,
                      heads = x.dim(1) / head_dim](
                         const float* from, float sign, bool add, float* to) {
    kernels::RopeApply({.cos = table.cos.data(),
                        .sin = table.sin.data(),
                        .positions = kept->data(),
                        .heads = heads,
                        .half = table.half,
                        .head_dim = head_dim,
                        .offset = layout.offset,
                        .interleaved = layout.interleaved},
                       from, n, sign, add, to);
    ProfileScope::AddFloats((add ? 3 : 2) * n * heads * head_dim);
  };
  Tensor out = Tensor::Empty(x.shape());
  apply(x.data(), 1, /*add=*/false, out.data());
  return Record("Rope", out, {x}, [x, apply](const float* grad) {
    apply(grad, -1, /*add=*/true, x.grad());
  });
}

}  // namespace align
