#include "align/kernels/activations.h"

#include <algorithm>

#include "align/base/check.h"
#include "align/base/threads.h"
#include "align/kernels/lanes.h"

namespace align::kernels {
namespace {

constexpr int64_t kBlockFloats = 16384;

// Calls body(offset, lanes) over [0, count) sixteen floats at a time.
template <class Body>
void ForWides(int64_t count, const Body& body) {
  ParallelFor((count + kBlockFloats - 1) / kBlockFloats, [&](int64_t block) {
    const int64_t end = std::min(count, (block + 1) * kBlockFloats);
    for (int64_t i = block * kBlockFloats; i < end; i += kLanes) {
      body(i, std::min(kLanes, end - i));
    }
  });
}

// The factor f of activation(x) = x f(x), and the activation's derivative.
struct Silu {
  static Wide Factor(Wide x) {
    return BroadcastWide(1.0f) / (BroadcastWide(1.0f) + ExpWide(-x));
  }
  static Wide Slope(Wide x) {
    const Wide one = BroadcastWide(1.0f), s = Factor(x);
    return s * FmaWide(x, one - s, one);
  }
};

struct Gelu {
  // Phi(x).
  static Wide Factor(Wide x) {
    const Wide half = BroadcastWide(0.5f);
    return FmaWide(half, ErfWide(x * BroadcastWide(0.707106781f)), half);
  }
  static Wide Slope(Wide x) {
    const Wide density =
        BroadcastWide(0.398942280f) * ExpWide(BroadcastWide(-0.5f) * x * x);
    return FmaWide(x, density, Factor(x));
  }
};

struct GeluTanh {
  static constexpr float kScale = 0.797884561f;  // sqrt(2 / pi)
  static constexpr float kCubic = 0.044715f;

  static Wide Tanh(Wide x) {
    const Wide bent =
        FmaWide(BroadcastWide(kCubic) * x * x, x, x);  // x + 0.044715 x^3
    return TanhWide(BroadcastWide(kScale) * bent);
  }
  static Wide Factor(Wide x) {
    const Wide half = BroadcastWide(0.5f);
    return FmaWide(half, Tanh(x), half);
  }
  static Wide Slope(Wide x) {
    const Wide one = BroadcastWide(1.0f), half = BroadcastWide(0.5f);
    const Wide t = Tanh(x);
    const Wide inner =
        BroadcastWide(kScale) * FmaWide(BroadcastWide(3 * kCubic) * x, x, one);
    return FmaWide(half * x * (one - t * t), inner, FmaWide(half, t, half));
  }
};

template <class F>
void Forward(const float* gate, const float* up, int64_t count, float* y) {
  ForWides(count, [&](int64_t i, int64_t lanes) {
    const Wide g = LoadUpToWide(gate + i, lanes);
    Wide value = g * F::Factor(g);
    if (up != nullptr) value = value * LoadUpToWide(up + i, lanes);
    StoreUpToWide(y + i, value, lanes);
  });
}

// Adds a * b to what the target holds, if it holds something.
void Put(const AddTarget& target, int64_t i, int64_t lanes, Wide a, Wide b) {
  const Wide before =
      target.accumulate ? LoadUpToWide(target.data + i, lanes) : Wide{};
  StoreUpToWide(target.data + i, FmaWide(a, b, before), lanes);
}

template <class F>
void Backward(const float* gate, const float* up, const float* dy,
              int64_t count, const AddTarget& dgate, const AddTarget& dup) {
  ForWides(count, [&](int64_t i, int64_t lanes) {
    const Wide g = LoadUpToWide(gate + i, lanes);
    Wide grad = LoadUpToWide(dy + i, lanes);
    if (dup.data != nullptr) Put(dup, i, lanes, grad, g * F::Factor(g));
    if (dgate.data != nullptr) {
      if (up != nullptr) grad = grad * LoadUpToWide(up + i, lanes);
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
