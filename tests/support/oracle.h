#pragma once

// Plain double-precision loops: what every fused operation must agree with,
// forward and, by finite differences, backward.

#include <cmath>
#include <cstdint>
#include <vector>

#include "align/ops/ops.h"
#include "align/ops/packed_batch.h"
#include "align/ops/segments.h"

namespace align::oracle {

struct Matrix {
  int64_t rows = 0, cols = 0;
  std::vector<double> v;

  Matrix(int64_t r, int64_t c) : rows(r), cols(c), v(r * c, 0.0) {}
  double& operator()(int64_t i, int64_t j) { return v[i * cols + j]; }
  double operator()(int64_t i, int64_t j) const { return v[i * cols + j]; }
};

inline Matrix Linear(const Matrix& x, const Matrix& w, const Matrix& bias) {
  Matrix y(x.rows, w.rows);
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int64_t o = 0; o < w.rows; ++o) {
      y(i, o) = bias.v.empty() ? 0 : bias.v[o];
      for (int64_t k = 0; k < x.cols; ++k) y(i, o) += x(i, k) * w(o, k);
    }
  }
  return y;
}

// Over each w.cols elements of a row.
inline Matrix RmsNorm(const Matrix& x, const Matrix& w, double epsilon,
                      double offset = 0) {
  Matrix y(x.rows, x.cols);
  const int64_t d = static_cast<int64_t>(w.v.size());
  for (size_t i = 0; i < x.v.size(); i += d) {
    double squares = 0;
    for (int64_t j = 0; j < d; ++j) squares += x.v[i + j] * x.v[i + j];
    const double r = 1 / std::sqrt(squares / d + epsilon);
    for (int64_t j = 0; j < d; ++j) {
      y.v[i + j] = x.v[i + j] * r * (offset + w.v[j]);
    }
  }
  return y;
}

inline Matrix LayerNorm(const Matrix& x, const Matrix& w, const Matrix& b,
                        double epsilon) {
  Matrix y(x.rows, x.cols);
  for (int64_t i = 0; i < x.rows; ++i) {
    double mean = 0, variance = 0;
    for (int64_t j = 0; j < x.cols; ++j) mean += x(i, j) / x.cols;
    for (int64_t j = 0; j < x.cols; ++j) {
      variance += (x(i, j) - mean) * (x(i, j) - mean) / x.cols;
    }
    for (int64_t j = 0; j < x.cols; ++j) {
      y(i, j) =
          (x(i, j) - mean) / std::sqrt(variance + epsilon) * w.v[j] + b.v[j];
    }
  }
  return y;
}

inline double Activate(double x, Activation activation) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  if (activation == Activation::kGelu) {
    return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
  }
  return x * 0.5 *
         (1 + std::tanh(std::sqrt(2 / std::acos(-1.0)) *
                        (x + 0.044715 * x * x * x)));
}

inline Matrix Gated(const Matrix& gate, const Matrix& up,
                    Activation activation) {
  Matrix y(gate.rows, gate.cols);
  for (size_t i = 0; i < y.v.size(); ++i) {
    y.v[i] = Activate(gate.v[i], activation) * up.v[i];
  }
  return y;
}

inline Matrix SwiGlu(const Matrix& gate, const Matrix& up) {
  return Gated(gate, up, Activation::kSilu);
}

// `rotated` elements of each head turn, from layout.offset on.
inline Matrix Rope(const Matrix& x, int64_t rotated, double theta,
                   const std::vector<int32_t>& positions,
                   const RopeLayout& layout = {}) {
  Matrix y = x;
  const int64_t half = rotated / 2;
  const int64_t dim = layout.head_dim > 0 ? layout.head_dim : rotated;
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int64_t h = layout.offset; h < x.cols; h += dim) {
      for (int64_t j = 0; j < half; ++j) {
        const double angle = positions[i] * std::pow(theta, -2.0 * j / rotated);
        const int64_t first = h + (layout.interleaved ? 2 * j : j);
        const int64_t second = first + (layout.interleaved ? 1 : half);
        const double a = x(i, first), b = x(i, second);
        y(i, first) = a * std::cos(angle) - b * std::sin(angle);
        y(i, second) = b * std::cos(angle) + a * std::sin(angle);
      }
    }
  }
  return y;
}

// Every row's visible rows by walking the chain; softmax over all of them.
inline Matrix Attention(const Matrix& q, const Matrix& k, const Matrix& v,
                        const Segments& segments, const AttentionShape& shape) {
  const int64_t heads = shape.heads, kv_heads = shape.kv_heads;
  const int64_t dim = shape.head_dim, value_dim = shape.ValueDim();
  const double scale =
      shape.scale > 0 ? shape.scale : 1 / std::sqrt(static_cast<double>(dim));
  Matrix out(q.rows, heads * value_dim);
  for (int32_t s = 0; s < segments.count(); ++s) {
    for (int64_t r = 0; r < segments[s].length; ++r) {
      std::vector<int64_t> seen;
      for (int32_t c : segments.Chain(s)) {
        const int64_t rows = c == s ? r + 1 : segments[c].length;
        for (int64_t i = 0; i < rows; ++i)
          seen.push_back(segments[c].begin + i);
      }
      if (shape.window > 0 &&
          static_cast<int64_t>(seen.size()) > shape.window) {
        seen.erase(seen.begin(), seen.end() - shape.window);
      }
      const int64_t row = segments[s].begin + r;
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t kv = h / (heads / kv_heads);
        std::vector<double> p;
        double most = -1e300, sum = 0;
        for (int64_t j : seen) {
          double score = 0;
          for (int64_t d = 0; d < dim; ++d) {
            score += q(row, h * dim + d) * k(j, kv * dim + d);
          }
          score *= scale;
          if (shape.soft_cap > 0) {
            score = shape.soft_cap * std::tanh(score / shape.soft_cap);
          }
          p.push_back(score);
          most = std::max(most, p.back());
        }
        for (double& x : p) sum += x = std::exp(x - most);
        for (size_t i = 0; i < seen.size(); ++i) {
          for (int64_t d = 0; d < value_dim; ++d) {
            out(row, h * value_dim + d) +=
                p[i] / sum * v(seen[i], kv * value_dim + d);
          }
        }
      }
    }
  }
  return out;
}

// [1 or 2, R]: log-probabilities of the labels, then entropies.
inline Matrix TokenScores(const Matrix& hidden, const Matrix& head,
                          const std::vector<ScoredToken>& tokens,
                          double temperature, double soft_cap, bool entropy) {
  Matrix out(entropy ? 2 : 1, static_cast<int64_t>(tokens.size()));
  for (size_t t = 0; t < tokens.size(); ++t) {
    std::vector<double> z(head.rows);
    double most = -1e300, sum = 0, mean = 0;
    for (int64_t v = 0; v < head.rows; ++v) {
      for (int64_t d = 0; d < head.cols; ++d) {
        z[v] += hidden(tokens[t].row, d) * head(v, d);
      }
      if (soft_cap > 0) z[v] = soft_cap * std::tanh(z[v] / soft_cap);
      z[v] /= temperature;
      most = std::max(most, z[v]);
    }
    for (double x : z) sum += std::exp(x - most);
    const double lse = most + std::log(sum);
    for (double x : z) mean += std::exp(x - lse) * x;
    out(0, t) = z[tokens[t].label] - lse;
    if (entropy) out(1, t) = lse - mean;
  }
  return out;
}

}  // namespace align::oracle
