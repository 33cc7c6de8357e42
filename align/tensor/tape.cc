#include "align/tensor/tape.h"

#include <algorithm>
#include <utility>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/base/team.h"
#include "align/tensor/impl.h"
#include "align/tensor/tape_walk.h"

namespace align {
namespace {

thread_local int no_grad_depth = 0;

}  // namespace

NoGrad::NoGrad() { ++no_grad_depth; }
NoGrad::~NoGrad() { --no_grad_depth; }
bool GradEnabled() { return no_grad_depth == 0; }

Tensor Record(std::string_view op, Tensor out, std::vector<Tensor> inputs,
              BackwardRule rule) {
  if (!GradEnabled()) return out;
  const bool wanted =
      std::any_of(inputs.begin(), inputs.end(),
                  [](const Tensor& input) { return input.requires_grad(); });
  if (!wanted) return out;
  ALIGN_CHECK(out.impl_->rule == nullptr && !out.requires_grad())
      << "[" << op << "] output was recorded before";
  TapeWalk::AddNode(op, out, std::move(inputs), std::move(rule));
  return out;
}

void TapeWalk::Visit(const Tensor& root) {
  Push(root);
  while (!stack_.empty()) {
    auto& [tensor, next] = stack_.back();
    const std::vector<Tensor>& inputs = tensor.impl_->inputs;
    if (next < inputs.size()) {
      const Tensor input = inputs[next++];
      Push(input);
    } else {
      order_.push_back(tensor);
      stack_.pop_back();
    }
  }
}

void TapeWalk::Run() {
  seen_.clear();
  while (!order_.empty()) {
    Tensor tensor = std::move(order_.back());
    order_.pop_back();
    Tensor::Impl& impl = *tensor.impl_;
    if (impl.rule == nullptr) continue;  // a leaf keeps its gradient
    // Taken out first: what the rule holds is freed as soon as it has run.
    const std::function<void(const float*)> rule = std::move(impl.rule);
    const std::vector<Tensor> inputs = std::move(impl.inputs);
    impl.rule = nullptr;
    impl.inputs.clear();
    if (impl.grad != nullptr) {
      const auto scope = ProfileScope::Backward(impl.phase, impl.op);
      rule(impl.grad);
    }
    impl.grad = nullptr;
    impl.grad_storage.reset();
  }
}

void TapeWalk::Push(const Tensor& tensor) {
  if (tensor.requires_grad() && seen_.insert(tensor.impl_.get()).second) {
    stack_.emplace_back(tensor, 0);
  }
}

void TapeWalk::AddNode(std::string_view op, const Tensor& out,
                       std::vector<Tensor> inputs, BackwardRule rule) {
  out.impl_->op = op;
  out.impl_->phase = ProfileScope::CurrentPhase();
  out.impl_->requires_grad = true;
  out.impl_->inputs = std::move(inputs);
  out.impl_->rule = std::move(rule);
}

void Backward(std::span<const Root> roots) {
  TapeWalk walk;
  for (const Root& root : roots) {
    ALIGN_CHECK(static_cast<int64_t>(root.seed.size()) == root.output.size())
        << "[Backward] seed of " << root.seed.size() << " for shape "
        << ToString(root.output.shape());
    if (!root.output.requires_grad()) continue;
    float* grad = root.output.grad();
    for (size_t i = 0; i < root.seed.size(); ++i) grad[i] += root.seed[i];
    walk.Visit(root.output);
  }
  WithTeam([&] { walk.Run(); });
}

void Backward(const Tensor& output, std::span<const float> seed) {
  const Root root{.output = output, .seed = seed};
  Backward(std::span<const Root>(&root, 1));
}

}  // namespace align
