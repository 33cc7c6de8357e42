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

// y = silu(gate) * up, element by element.
void SwiGluForward(const float* gate, const float* up, int64_t count, float* y);
// dgate and dup += ...; either may be null.
void SwiGluBackward(const float* gate, const float* up, const float* dy,
                    int64_t count, float* dgate, float* dup);

// Rotates pairs (i, i + half) of every head by cos/sin rows of `positions`;
// `sign` -1 rotates back, which is the gradient. y may equal x; `add` adds.
struct RopeRows {
  const float* cos;  // [positions, half]
  const float* sin;
  const int32_t* positions;  // [N]
  int64_t heads, half;
};
void RopeApply(const RopeRows& rope, const float* x, int64_t n, float sign,
               bool add, float* y);

// y += x over `count` floats.
void AddInto(const float* x, int64_t count, float* y);

}  // namespace align::kernels
