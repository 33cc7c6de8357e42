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

// Elements [begin, end) of a head that RoPE leaves alone.
void Pass(const float* x, int64_t begin, int64_t end, bool add, float* y) {
  for (int64_t i = begin; i < end; ++i) y[i] = add ? y[i] + x[i] : x[i];
}

// Pairs (i, i + half).
void RotateHalves(const float* c, const float* s, const float* x, int64_t half,
                  float sign, bool add, float* y) {
  ForEights(half, [&](int64_t i, int64_t lanes) {
    const Float8 cos = LoadUpTo8(c + i, lanes);
    const Float8 sin = LoadUpTo8(s + i, lanes) * Broadcast8(sign);
    const Float8 a = LoadUpTo8(x + i, lanes);
    const Float8 b = LoadUpTo8(x + half + i, lanes);
    Float8 first = Fma8(a, cos, -(b * sin));
    Float8 second = Fma8(b, cos, a * sin);
    if (add) {
      first += LoadUpTo8(y + i, lanes);
      second += LoadUpTo8(y + half + i, lanes);
    }
    StoreUpTo8(y + i, first, lanes);
    StoreUpTo8(y + half + i, second, lanes);
  });
}

// Pairs (2i, 2i + 1).
void RotateNeighbours(const float* c, const float* s, const float* x,
                      int64_t half, float sign, bool add, float* y) {
  for (int64_t i = 0; i < half; ++i) {
    const float a = x[2 * i], b = x[2 * i + 1], sin = s[i] * sign;
    const float first = __builtin_fmaf(a, c[i], -(b * sin));
    const float second = __builtin_fmaf(b, c[i], a * sin);
    y[2 * i] = add ? y[2 * i] + first : first;
    y[2 * i + 1] = add ? y[2 * i + 1] + second : second;
  }
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

void LayerNormForward(const float* x, const float* w, const float* b,
                      float epsilon, int64_t n, int64_t d, float* y,
                      float* moments) {
  ForBlocks(n, RowsPerBlock(d), [&](int64_t begin, int64_t end) {
    std::vector<float> centred(d);
    for (int64_t row = begin; row < end; ++row) {
      const float* xr = x + row * d;
      const float mean = Sum(xr, d) / static_cast<float>(d);
      ForEights(d, [&](int64_t i, int64_t lanes) {
        StoreUpTo8(centred.data() + i,
                   LoadUpTo8(xr + i, lanes) - Broadcast8(mean), lanes);
      });
      const float variance =
          Dot(centred.data(), centred.data(), d) / static_cast<float>(d);
      const float r = 1.0f / std::sqrt(variance + epsilon);
      moments[2 * row] = mean;
      moments[2 * row + 1] = r;
      ForEights(d, [&](int64_t i, int64_t lanes) {
        const Float8 normal =
            LoadUpTo8(centred.data() + i, lanes) * Broadcast8(r);
        StoreUpTo8(
            y + row * d + i,
            Fma8(normal, LoadUpTo8(w + i, lanes), LoadUpTo8(b + i, lanes)),
            lanes);
      });
    }
  });
}

void LayerNormBackward(const float* x, const float* w, const float* moments,
                       const float* dy, int64_t n, int64_t d, float* dx,
                       float* dw, float* db) {
  const int64_t block = RowsPerBlock(d);
  const int64_t blocks = (n + block - 1) / block;
  std::vector<float> partial(blocks * 2 * d, 0.0f);  // of dw, then of db
  ForBlocks(n, block, [&](int64_t begin, int64_t end) {
    std::vector<float> g(d), normal(d);
    float* w_sums = partial.data() + begin / block * 2 * d;
    float* b_sums = w_sums + d;
    for (int64_t row = begin; row < end; ++row) {
      const float mean = moments[2 * row], r = moments[2 * row + 1];
      ForEights(d, [&](int64_t i, int64_t lanes) {
        const Float8 grad = LoadUpTo8(dy + row * d + i, lanes);
        const Float8 unit =
            (LoadUpTo8(x + row * d + i, lanes) - Broadcast8(mean)) *
            Broadcast8(r);
        StoreUpTo8(normal.data() + i, unit, lanes);
        StoreUpTo8(g.data() + i, grad * LoadUpTo8(w + i, lanes), lanes);
        StoreUpTo8(w_sums + i, Fma8(grad, unit, LoadUpTo8(w_sums + i, lanes)),
                   lanes);
        StoreUpTo8(b_sums + i, grad + LoadUpTo8(b_sums + i, lanes), lanes);
      });
      if (dx == nullptr) continue;
      // dx = r (g - mean(g) - normal mean(g normal)).
      const float width = static_cast<float>(d);
      const Float8 shift = Broadcast8(Sum(g.data(), d) / width);
      const Float8 tilt = Broadcast8(-Dot(g.data(), normal.data(), d) / width);
      ForEights(d, [&](int64_t i, int64_t lanes) {
        float* out = dx + row * d + i;
        const Float8 centred = LoadUpTo8(g.data() + i, lanes) - shift;
        const Float8 inner =
            Fma8(tilt, LoadUpTo8(normal.data() + i, lanes), centred);
        StoreUpTo8(out, Fma8(Broadcast8(r), inner, LoadUpTo8(out, lanes)),
                   lanes);
      });
    }
  });
  for (int64_t b = 0; b < blocks; ++b) {
    const float* sums = partial.data() + b * 2 * d;
    for (int64_t i = 0; i < d; ++i) {
      if (dw != nullptr) dw[i] += sums[i];
      if (db != nullptr) db[i] += sums[d + i];
    }
  }
}

void RopeApply(const RopeRows& rope, const float* x, int64_t n, float sign,
               bool add, float* y) {
  const int64_t dim = rope.head_dim, width = rope.heads * dim;
  ForBlocks(n, RowsPerBlock(width), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin * rope.heads; i < end * rope.heads; ++i) {
      const int64_t at = rope.positions[i / rope.heads] * rope.half;
      const float* from = x + i * dim;
      float* to = y + i * dim;
      Pass(from, 0, rope.offset, add, to);
      Pass(from, rope.offset + 2 * rope.half, dim, add, to);
      const auto rotate = rope.interleaved ? RotateNeighbours : RotateHalves;
      rotate(rope.cos + at, rope.sin + at, from + rope.offset, rope.half, sign,
             add, to + rope.offset);
    }
  });
}

void AddInto(const float* x, int64_t count, float* y) {
  ForBlocks(count, kBlockFloats, [&](int64_t begin, int64_t end) {
    Axpy(1.0f, x + begin, y + begin, end - begin);
  });
}

void Copy(const float* x, int64_t count, float* y) {
  ForBlocks(count, kBlockFloats, [&](int64_t begin, int64_t end) {
    std::copy(x + begin, x + end, y + begin);
  });
}

void Add(const float* a, const float* b, int64_t count, float* y) {
  ForBlocks(count, kBlockFloats, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) y[i] = a[i] + b[i];
  });
}

}  // namespace align::kernels
