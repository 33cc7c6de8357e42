#include "align/tensor/recompute.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

#include "align/base/check.h"
#include "align/tensor/tape.h"
#include "align/tensor/tape_walk.h"

namespace align {
namespace {

constexpr char kOp[] = "Recompute";

// Gives `tensor` a whole gradient, bits as they are where it has none yet: a
// sum with zeros would turn -0 into 0.
void Give(const float* grad, const Tensor& tensor) {
  const Tensor::GradTarget target = tensor.TakeGrad();
  if (!target.accumulate) {
    std::copy_n(grad, tensor.size(), target.data);
    return;
  }
  for (int64_t i = 0; i < tensor.size(); ++i) target.data[i] += grad[i];
}

// The same values, at which a walk back ends that has begun after them; what
// reaches it is handed on to `x`.
Tensor Barrier(const Tensor& x) {
  Tensor barrier = x.Detach();
  if (x.requires_grad()) {
    TapeWalk::AddNode(kOp, barrier, {},
                      [x](const float* grad) { Give(grad, x); });
  }
  return barrier;
}

// Gradients of the outputs after the first, until that is walked through.
struct SideGradients {
  std::vector<std::vector<float>> of;  // one an output; empty: none came

  ~SideGradients() {
    for (const std::vector<float>& grad : of) {
      ALIGN_CHECK(grad.empty())
          << "[Recompute] a walk that did not reach the first output";
    }
  }
};

bool SameBits(const Tensor& a, const Tensor& b) {
  return a.size() == b.size() &&
         std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// One walk through outputs that were made again.
void WalkThrough(std::vector<Tensor> outputs, const float* grad,
                 std::vector<std::vector<float>> sides) {
  const Tensor root = Tensor::Zeros({1});
  TapeWalk::AddNode(kOp, root, outputs, [&](const float*) {
    Give(grad, outputs[0]);
    for (size_t i = 0; i < sides.size(); ++i) {
      if (!sides[i].empty()) Give(sides[i].data(), outputs[i + 1]);
    }
  });
  const float one = 1;
  Backward(root, {&one, 1});
}

}  // namespace

std::vector<Tensor> Recompute(const Tensor& x, const Computation& compute) {
  if (!GradEnabled()) return compute(x);
  // Recorded, so that it is the computation of the way back; the record ends
  // with this call.
  const std::vector<Tensor> made = compute(Barrier(x));
  ALIGN_CHECK(!made.empty()) << "[Recompute] no output";
  std::vector<Tensor> outputs;
  for (const Tensor& tensor : made) outputs.push_back(tensor.Detach());
  const bool wanted = std::ranges::any_of(
      made, [](const Tensor& tensor) { return tensor.requires_grad(); });
  if (!wanted) return outputs;
  ALIGN_CHECK(made[0].requires_grad())
      << "[Recompute] gradients, but not of the first output";
  const auto sides = std::make_shared<SideGradients>();
  sides->of.resize(made.size() - 1);
  const auto back = [x, compute, sides,
                     first = outputs[0].Detach()](const float* grad) {
    ALIGN_CHECK(GradEnabled()) << "[Recompute] a walk under NoGrad";
    std::vector<Tensor> again = compute(Barrier(x));
    // Weights that were stepped or inputs that were dropped in between would
    // give the gradients of another pass without a word.
    ALIGN_CHECK(SameBits(again[0], first))
        << "[Recompute] other values on the way back than forward";
    WalkThrough(std::move(again), grad, std::exchange(sides->of, {}));
  };
  TapeWalk::AddNode(kOp, outputs[0], {x}, back);
  for (size_t i = 0; i < sides->of.size(); ++i) {
    if (!made[i + 1].requires_grad()) continue;
    TapeWalk::AddNode(kOp, outputs[i + 1], {outputs[0]},
                      [sides, i, size = made[i + 1].size()](const float* g) {
                        sides->of[i].assign(g, g + size);
                      });
  }
  return outputs;
}

}  // namespace align
