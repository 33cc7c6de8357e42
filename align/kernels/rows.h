#pragma once

#include <cstdint>

namespace align::kernels {

// Kernels on dense rows [N, D], parallel over blocks of rows; a row's bits are
// a function of that row. Backward kernels add into their outputs.

// y = w * x * r with r = 1 / sqrt(mean(x^2) + epsilon); `inverse_rms` gets r.
void RmsNormForward(const float* x, const float* w, float epsilon, int64_t n,
                    int64_t d, float* y, float* inverse_rms);
// dx += d(y)/d(x)^T dy and, unless null, dw += its weight part (rows summed in
// blocks of fixed size, in order).
void RmsNormBackward(const float* x, const float* w, const float* inverse_rms,
                     const float* dy, int64_t n, int64_t d, float* dx,
                     float* dw);

// y = (x - mean) r w + b with r = 1 / sqrt(variance + epsilon); `moments` [N,
// 2] gets mean and r.
void LayerNormForward(const float* x, const float* w, const float* b,
                      float epsilon, int64_t n, int64_t d, float* y,
                      float* moments);
// dx, dw and db += ..., each unless null; rows are summed as above.
void LayerNormBackward(const float* x, const float* w, const float* moments,
                       const float* dy, int64_t n, int64_t d, float* dx,
                       float* dw, float* db);

// Rotates pairs of elements of every head by cos/sin rows of `positions`: of
// the 2 half elements from `offset` on i and i + half, or interleaved 2i and
// 2i + 1; the head's other elements pass. `sign` -1 rotates back, which is the
// gradient. `add` adds to y.
struct RopeRows {
  const float* cos;  // [positions, half]
  const float* sin;
  const int32_t* positions;  // [N]
  int64_t heads, half, head_dim, offset;
  bool interleaved;
};
void RopeApply(const RopeRows& rope, const float* x, int64_t n, float sign,
               bool add, float* y);

// y += x, y = x and y = a + b over `count` floats.
void AddInto(const float* x, int64_t count, float* y);
void Copy(const float* x, int64_t count, float* y);
void Add(const float* a, const float* b, int64_t count, float* y);

}  // namespace align::kernels
