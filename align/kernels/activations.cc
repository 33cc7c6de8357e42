#include "align/kernels/activations.h"

#include <algorithm>

#include "align/base/check.h"
#include "align/base/threads.h"
#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

constexpr int64_t kBlockFloats = 16384;

// Calls body(offset, lanes) over [0, count) eight floats at a time.
template <class Body>
void ForEights(int64_t count, const Body& body) {
  ParallelFor((count + kBlockFloats - 1) / kBlockFloats, [&](int64_t block) {
    const int64_t end = std::min(count, (block + 1) * kBlockFloats);
    for (int64_t i = block * kBlockFloats; i < end; i += 8) {
      body(i, std::min<int64_t>(8, end - i));
    }
  });
}

// The factor f of activation(x) = x f(x), and the activation's derivative.
struct Silu {
  static Float8 Factor(Float8 x) {
    return Broadcast8(1.0f) / (Broadcast8(1.0f) + Exp8(-x));
  }
  static Float8 Slope(Float8 x) {
    const Float8 one = Broadcast8(1.0f), s = Factor(x);
    return s * Fma8(x, one - s, one);
  }
};

struct Gelu {
  // Phi(x).
  static Float8 Factor(Float8 x) {
    const Float8 half = Broadcast8(0.5f);
    return Fma8(half, Erf8(x * Broadcast8(0.707106781f)), half);
  }
  static Float8 Slope(Float8 x) {
    const Float8 density =
        Broadcast8(0.398942280f) * Exp8(Broadcast8(-0.5f) * x * x);
    return Fma8(x, density, Factor(x));
  }
};

struct GeluTanh {
  static constexpr float kScale = 0.797884561f;  // sqrt(2 / pi)
  static constexpr float kCubic = 0.044715f;

  static Float8 Tanh(Float8 x) {
    const Float8 bent =
        Fma8(Broadcast8(kCubic) * x * x, x, x);  // x + 0.044715 x^3
    return Tanh8(Broadcast8(kScale) * bent);
  }
  static Float8 Factor(Float8 x) {
    const Float8 half = Broadcast8(0.5f);
    return Fma8(half, Tanh(x), half);
  }
  static Float8 Slope(Float8 x) {
    const Float8 one = Broadcast8(1.0f), half = Broadcast8(0.5f);
    const Float8 t = Tanh(x);
    const Float8 inner =
        Broadcast8(kScale) * Fma8(Broadcast8(3 * kCubic) * x, x, one);
    return Fma8(half * x * (one - t * t), inner, Fma8(half, t, half));
  }
};

template <class F>
void Forward(const float* gate, const float* up, int64_t count, float* y) {
  ForEights(count, [&](int64_t i, int64_t lanes) {
    const Float8 g = LoadUpTo8(gate + i, lanes);
    Float8 value = g * F::Factor(g);
    if (up != nullptr) value = value * LoadUpTo8(up + i, lanes);
    StoreUpTo8(y + i, value, lanes);
  });
}

// Adds a * b to what the target holds, if it holds something.
void Put(const AddTarget& target, int64_t i, int64_t lanes, Float8 a,
         Float8 b) {
  const Float8 before =
      target.accumulate ? LoadUpTo8(target.data + i, lanes) : Float8{};
  StoreUpTo8(target.data + i, Fma8(a, b, before), lanes);
}

template <class F>
void Backward(const float* gate, const float* up, const float* dy,
              int64_t count, const AddTarget& dgate, const AddTarget& dup) {
  ForEights(count, [&](int64_t i, int64_t lanes) {
    const Float8 g = LoadUpTo8(gate + i, lanes);
    Float8 grad = LoadUpTo8(dy + i, lanes);
    if (dup.data != nullptr) Put(dup, i, lanes, grad, g * F::Factor(g));
    if (dgate.data != nullptr) {
      if (up != nullptr) grad = grad * LoadUpTo8(up + i, lanes);
      Put(dgate, i, lanes, grad, F::Slope(g));
    }
  });
}

// Calls body with the class of `activation`.
template <class Body>
void Dispatch(Activation activation, const Body& body) {
  switch (activation) {
    case Activation::kSilu:
      return body(Silu());
    case Activation::kGelu:
      return body(Gelu());
    case Activation::kGeluTanh:
      return body(GeluTanh());
  }
  ALIGN_CHECK(false) << "[Activation] unknown";
}

}  // namespace

void GatedForward(Activation activation, const float* gate, const float* up,
                  int64_t count, float* y) {
  Dispatch(activation,
           [&](auto f) { Forward<decltype(f)>(gate, up, count, y); });
}

void GatedBackward(Activation activation, const float* gate, const float* up,
                   const float* dy, int64_t count, const AddTarget& dgate,
                   const AddTarget& dup) {
  Dispatch(activation, [&](auto f) {
    Backward<decltype(f)>(gate, up, dy, count, dgate, dup);
  });
}

}  // namespace align::kernels
