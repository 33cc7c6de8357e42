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
// dgate and dup += ...; either may be null.
void GatedBackward(Activation activation, const float* gate, const float* up,
                   const float* dy, int64_t count, float* dgate, float* dup);

}  // namespace align::kernels
