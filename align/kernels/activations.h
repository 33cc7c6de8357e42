#pragma once

#include <cstdint>

namespace align::kernels {

// silu(x) = x sigmoid(x); gelu(x) = x Phi(x) (Hendrycks and Gimpel 2016), and
// the form of it with tanh.
enum class Activation { kSilu, kGelu, kGeluTanh };

// y = activation(gate) * up, element by element; without `up` (null) the
// activation alone. An element's bits depend on its inputs only.
void GatedForward(Activation activation, const float* gate, const float* up,
                  int64_t count, float* y);
// Where gradients go: added to what is there, or written over it. Null data:
// not wanted.
struct AddTarget {
  float* data = nullptr;
  bool accumulate = true;
};
void GatedBackward(Activation activation, const float* gate, const float* up,
                   const float* dy, int64_t count, const AddTarget& dgate,
                   const AddTarget& dup);

}  // namespace align::kernels
