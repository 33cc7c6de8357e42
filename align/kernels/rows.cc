#include "align/kernels/rows.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "align/base/threads.h"
#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

// Work is cut into blocks of this many floats or rows, whatever the threads.
constexpr int64_t kBlockFloats = 16384;

int64_t RowsPerBlock(int64_t d) {
  return std::max<int64_t>(1, kBlockFloats / std::max<int64_t>(d, 1));
}

// Calls body(begin, end) over [0, n) in blocks.
template <class Body>
void ForBlocks(int64_t n, int64_t block, const Body& body) {
  ParallelFor((n + block - 1) / block, [&](int64_t b) {
    body(b * block, std::min(n, (b + 1) * block));
  });
}

// Calls body(offset, lanes) over [0, count) eight floats at a time.
template <class Body>
inline void ForEights(int64_t count, const Body& body) {
  for (int64_t i = 0; i < count; i += 8)
    body(i, std::min<int64_t>(8, count - i));
}

Float8 Sigmoid8(Float8 x) {
  return Broadcast8(1.0f) / (Broadcast8(1.0f) + Exp8(-x));
}

}  // namespace

void RmsNormForward(const float* x, const float* w, float epsilon, int64_t n,
                    int64_t d, float* y, float* inverse_rms) {
  ForBlocks(n, RowsPerBlock(d), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = x + row * d;
      const float mean = Dot(xr, xr, d) / static_cast<float>(d);
      const float r = 1.0f / std::sqrt(mean + epsilon);
      inverse_rms[row] = r;
      ForEights(d, [&](int64_t i, int64_t lanes) {
        // (x r) w, in Hugging Face's order of rounding.
        const Float8 scaled = LoadUpTo8(xr + i, lanes) * Broadcast8(r);
        StoreUpTo8(y + row * d + i, scaled * LoadUpTo8(w + i, lanes), lanes);
      });
    }
  });
}

void RmsNormBackward(const float* x, const float* w, const float* inverse_rms,
                     const float* dy, int64_t n, int64_t d, float* dx,
                     float* dw) {
  const int64_t block = RowsPerBlock(d);
  const int64_t blocks = (n + block - 1) / block;
  std::vector<float> partial(dw == nullptr ? 0 : blocks * d, 0.0f);
  ForBlocks(n, block, [&](int64_t begin, int64_t end) {
    std::vector<float> g(d);  // w * dy
    float* sums = dw == nullptr ? nullptr : partial.data() + begin / block * d;
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = x + row * d;
      const float* dyr = dy + row * d;
      const float r = inverse_rms[row];
      ForEights(d, [&](int64_t i, int64_t lanes) {
        const Float8 grad = LoadUpTo8(dyr + i, lanes);
        StoreUpTo8(g.data() + i, grad * LoadUpTo8(w + i, lanes), lanes);
        if (sums == nullptr) return;
        const Float8 normal = LoadUpTo8(xr + i, lanes) * Broadcast8(r);
        StoreUpTo8(sums + i, Fma8(grad, normal, LoadUpTo8(sums + i, lanes)),
                   lanes);
      });
      if (dx == nullptr) continue;
      // dx = r g - x r^3 (g . x) / D.
      const float shared =
          -Dot(g.data(), xr, d) * r * r * r / static_cast<float>(d);
      Axpy(r, g.data(), dx + row * d, d);
      Axpy(shared, xr, dx + row * d, d);
    }
  });
  for (int64_t b = 0; dw != nullptr && b < blocks; ++b) {
    for (int64_t i = 0; i < d; ++i) dw[i] += partial[b * d + i];
  }
}

void SwiGluForward(const float* gate, const float* up, int64_t count,
                   float* y) {
  ForBlocks(count, kBlockFloats, [&](int64_t begin, int64_t end) {
    ForEights(end - begin, [&](int64_t i, int64_t lanes) {
      const Float8 g = LoadUpTo8(gate + begin + i, lanes);
      const Float8 u = LoadUpTo8(up + begin + i, lanes);
      StoreUpTo8(y + begin + i, g * Sigmoid8(g) * u, lanes);
    });
  });
}

void SwiGluBackward(const float* gate, const float* up, const float* dy,
                    int64_t count, float* dgate, float* dup) {
  const Float8 one = Broadcast8(1.0f);
  ForBlocks(count, kBlockFloats, [&](int64_t begin, int64_t end) {
    ForEights(end - begin, [&](int64_t i, int64_t lanes) {
      const int64_t at = begin + i;
      const Float8 g = LoadUpTo8(gate + at, lanes);
      const Float8 u = LoadUpTo8(up + at, lanes);
      const Float8 grad = LoadUpTo8(dy + at, lanes);
      const Float8 s = Sigmoid8(g);
      if (dup != nullptr) {
        StoreUpTo8(dup + at, Fma8(grad, g * s, LoadUpTo8(dup + at, lanes)),
                   lanes);
      }
      if (dgate != nullptr) {
        // d silu = s (1 + g (1 - s)).
        const Float8 slope = s * Fma8(g, one - s, one);
        StoreUpTo8(dgate + at,
                   Fma8(grad * u, slope, LoadUpTo8(dgate + at, lanes)), lanes);
      }
    });
  });
}

void RopeApply(const RopeRows& rope, const float* x, int64_t n, float sign,
               bool add, float* y) {
  const int64_t half = rope.half, width = rope.heads * 2 * half;
  ForBlocks(n, RowsPerBlock(width), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* c = rope.cos + rope.positions[row] * half;
      const float* s = rope.sin + rope.positions[row] * half;
      for (int64_t head = 0; head < rope.heads; ++head) {
        const float* xa = x + row * width + head * 2 * half;
        float* ya = y + row * width + head * 2 * half;
        ForEights(half, [&](int64_t i, int64_t lanes) {
          const Float8 cos = LoadUpTo8(c + i, lanes);
          const Float8 sin = LoadUpTo8(s + i, lanes) * Broadcast8(sign);
          const Float8 a = LoadUpTo8(xa + i, lanes);
          const Float8 b = LoadUpTo8(xa + half + i, lanes);
          Float8 first = Fma8(a, cos, -(b * sin));
          Float8 second = Fma8(b, cos, a * sin);
          if (add) {
            first += LoadUpTo8(ya + i, lanes);
            second += LoadUpTo8(ya + half + i, lanes);
          }
          StoreUpTo8(ya + i, first, lanes);
          StoreUpTo8(ya + half + i, second, lanes);
        });
      }
    }
  });
}

void AddInto(const float* x, int64_t count, float* y) {
  ForBlocks(count, kBlockFloats, [&](int64_t begin, int64_t end) {
    Axpy(1.0f, x + begin, y + begin, end - begin);
  });
}

}  // namespace align::kernels
