#pragma once

// Plain double-precision loops: what every fused operation must agree with,
// forward and, by finite differences, backward.

#include <cmath>
#include <cstdint>
#include <vector>

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

inline Matrix RmsNorm(const Matrix& x, const Matrix& w, double epsilon) {
  Matrix y(x.rows, x.cols);
  for (int64_t i = 0; i < x.rows; ++i) {
    double squares = 0;
    for (int64_t j = 0; j < x.cols; ++j) squares += x(i, j) * x(i, j);
    const double r = 1 / std::sqrt(squares / x.cols + epsilon);
    for (int64_t j = 0; j < x.cols; ++j) y(i, j) = x(i, j) * r * w.v[j];
  }
  return y;
}

inline Matrix SwiGlu(const Matrix& gate, const Matrix& up) {
  Matrix y(gate.rows, gate.cols);
  for (size_t i = 0; i < y.v.size(); ++i) {
    y.v[i] = gate.v[i] / (1 + std::exp(-gate.v[i])) * up.v[i];
  }
  return y;
}

inline Matrix Rope(const Matrix& x, int64_t head_dim, double theta,
                   const std::vector<int32_t>& positions) {
  Matrix y(x.rows, x.cols);
  const int64_t half = head_dim / 2;
  for (int64_t i = 0; i < x.rows; ++i) {
    for (int64_t h = 0; h < x.cols; h += head_dim) {
      for (int64_t j = 0; j < half; ++j) {
        const double angle =
            positions[i] * std::pow(theta, -2.0 * j / head_dim);
        const double a = x(i, h + j), b = x(i, h + half + j);
        y(i, h + j) = a * std::cos(angle) - b * std::sin(angle);
        y(i, h + half + j) = b * std::cos(angle) + a * std::sin(angle);
      }
    }
  }
  return y;
}

// Every row's visible rows by walking the chain; softmax over all of them.
inline Matrix Attention(const Matrix& q, const Matrix& k, const Matrix& v,
                        const Segments& segments, int64_t heads,
                        int64_t kv_heads, int64_t dim) {
  Matrix out(q.rows, q.cols);
  for (int32_t s = 0; s < segments.count(); ++s) {
    for (int64_t r = 0; r < segments[s].length; ++r) {
      std::vector<int64_t> seen;
      for (int32_t c : segments.Chain(s)) {
        const int64_t rows = c == s ? r + 1 : segments[c].length;
        for (int64_t i = 0; i < rows; ++i)
          seen.push_back(segments[c].begin + i);
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
          p.push_back(score / std::sqrt(static_cast<double>(dim)));
          most = std::max(most, p.back());
        }
        for (double& x : p) sum += x = std::exp(x - most);
        for (size_t i = 0; i < seen.size(); ++i) {
          for (int64_t d = 0; d < dim; ++d) {
            out(row, h * dim + d) += p[i] / sum * v(seen[i], kv * dim + d);
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
