#include "align/kernels/activations.h"

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/ops/ops.h"
#include "align/tensor/tape.h"

namespace align {

Tensor GatedActivation(const Tensor& gate, const Tensor& up,
                       Activation activation) {
  const ProfileScope scope("GatedActivation");
  ALIGN_CHECK(gate.shape() == up.shape())
      << "[GatedActivation] " << ToString(gate.shape()) << " and "
      << ToString(up.shape());
  Tensor out = Tensor::Empty(gate.shape());
  kernels::GatedForward(activation, gate.data(), up.data(), out.size(),
                        out.data());
  ProfileScope::AddFloats(3 * out.size());
  return Record("GatedActivation", out, {gate, up}, [=](const float* grad) {
    ProfileScope::AddFloats(5 * gate.size());
    const auto target = [](const Tensor& x) {
      return x.requires_grad() ? x.TakeGrad() : Tensor::GradTarget();
    };
    // One tensor as both gets two shares: the first must not be written over.
    if (gate.data() == up.data() && gate.requires_grad()) gate.grad();
    const Tensor::GradTarget dgate = target(gate), dup = target(up);
    kernels::GatedBackward(activation, gate.data(), up.data(), grad,
                           gate.size(), {dgate.data, dgate.accumulate},
                           {dup.data, dup.accumulate});
  });
}

Tensor SwiGlu(const Tensor& gate, const Tensor& up) {
  return GatedActivation(gate, up, Activation::kSilu);
}

Tensor Activate(const Tensor& x, Activation activation) {
  const ProfileScope scope("Activate");
  Tensor out = Tensor::Empty(x.shape());
  kernels::GatedForward(activation, x.data(), nullptr, x.size(), out.data());
  ProfileScope::AddFloats(2 * out.size());
  return Record("Activate", out, {x}, [=](const float* grad) {
    ProfileScope::AddFloats(3 * x.size());
    const Tensor::GradTarget dx = x.TakeGrad();
    kernels::GatedBackward(activation, x.data(), nullptr, grad, x.size(),
                           {dx.data, dx.accumulate}, {});
  });
}

}  // namespace align
