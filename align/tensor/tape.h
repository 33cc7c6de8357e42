#pragma once

#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "align/tensor/tensor.h"

namespace align {

// Adds to the gradients of the inputs, given d(value)/d(out) in out's shape.
using BackwardRule = std::function<void(const float* grad_out)>;

// While one lives on this thread, Record keeps nothing.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;
};
bool GradEnabled();

// The only way to be differentiable: returns `out` with the note that `rule`
// sends its gradient on to `inputs`. When gradients are off or no input
// requires one, `rule` and `inputs` are dropped and `out` is a constant. A rule
// must not hold `out` itself (a cycle), but may hold out.Detach().
Tensor Record(std::string_view op, Tensor out, std::vector<Tensor> inputs,
              BackwardRule rule);
// The same, without storing anything first where gradients are off.
template <class Rule>
Tensor Record(std::string_view op, Tensor out,
              std::initializer_list<Tensor> inputs, Rule&& rule) {
  if (!GradEnabled()) return out;
  return Record(op, std::move(out), std::vector<Tensor>(inputs),
                BackwardRule(std::forward<Rule>(rule)));
}

// One output of a computation and d(value)/d(output), as many floats.
struct Root {
  Tensor output;
  std::span<const float> seed;
};

// Walks the tape from several roots at once and adds d(value)/d(leaf) into the
// gradient of each leaf. Every rule runs once, after all gradients that reach
// its output are in, and is freed with what it holds: a tape is walked once.
void Backward(std::span<const Root> roots);
void Backward(const Tensor& output, std::span<const float> seed);

}  // namespace align
