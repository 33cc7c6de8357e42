#include "align/tensor/tensor.h"

#include <algorithm>
#include <utility>

#include "align/base/check.h"
#include "align/tensor/impl.h"

namespace align {

std::string ToString(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + ")";
}

int64_t ElementCount(const Shape& shape) {
  int64_t count = 1;
  for (int64_t dim : shape) {
    ALIGN_CHECK(dim >= 0) << "[Tensor] shape " << ToString(shape);
    count *= dim;
  }
  return count;
}

Tensor Tensor::Empty(Shape shape) {
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>();
  tensor.impl_->size = ElementCount(shape);
  tensor.impl_->shape = std::move(shape);
  tensor.impl_->storage = AllocateStorage(tensor.impl_->size);
  tensor.impl_->data = tensor.impl_->storage.get();
  return tensor;
}

Tensor Tensor::Zeros(Shape shape) {
  Tensor tensor = Empty(std::move(shape));
  std::fill_n(tensor.data(), tensor.size(), 0.0f);
  return tensor;
}

Tensor Tensor::From(Shape shape, std::span<const float> values) {
  Tensor tensor = Empty(std::move(shape));
  ALIGN_CHECK(tensor.size() == static_cast<int64_t>(values.size()))
      << "[Tensor] " << values.size() << " values for shape "
      << ToString(tensor.shape());
  std::copy(values.begin(), values.end(), tensor.data());
  return tensor;
}

Tensor Tensor::Leaf(Shape shape, std::span<float> values,
                    std::span<float> grad) {
  const int64_t size = ElementCount(shape);
  ALIGN_CHECK(size == static_cast<int64_t>(values.size()) &&
              (grad.empty() || grad.size() == values.size()))
      << "[Tensor] leaf of shape " << ToString(shape) << " over "
      << values.size() << " values and " << grad.size() << " gradients";
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>();
  tensor.impl_->size = size;
  tensor.impl_->shape = std::move(shape);
  tensor.impl_->data = values.data();
  tensor.impl_->requires_grad = !grad.empty();
  tensor.impl_->grad = grad.empty() ? nullptr : grad.data();
  return tensor;
}

const Shape& Tensor::shape() const {
  ALIGN_CHECK(defined()) << "[Tensor] undefined";
  return impl_->shape;
}

int64_t Tensor::size() const {
  ALIGN_CHECK(defined()) << "[Tensor] undefined";
  return impl_->size;
}

float* Tensor::data() {
  ALIGN_CHECK(defined()) << "[Tensor] undefined";
  return impl_->data;
}

const float* Tensor::data() const {
  ALIGN_CHECK(defined()) << "[Tensor] undefined";
  return impl_->data;
}

bool Tensor::has_history() const { return defined() && impl_->rule != nullptr; }

bool Tensor::requires_grad() const { return defined() && impl_->requires_grad; }

float* Tensor::grad() const {
  const GradTarget target = TakeGrad();
  if (!target.accumulate) std::fill_n(target.data, impl_->size, 0.0f);
  return target.data;
}

Tensor::GradTarget Tensor::TakeGrad() const {
  ALIGN_CHECK(requires_grad()) << "[Tensor] no gradient wanted here";
  if (impl_->grad != nullptr) return {impl_->grad, /*accumulate=*/true};
  impl_->grad_storage = AllocateStorage(impl_->size);
  impl_->grad = impl_->grad_storage.get();
  return {impl_->grad, /*accumulate=*/false};
}

const std::shared_ptr<Tensor::Derived>& Tensor::derived() const {
  ALIGN_CHECK(defined()) << "[Tensor] undefined";
  return impl_->derived;
}

void Tensor::SetDerived(std::shared_ptr<Derived> derived) const {
  ALIGN_CHECK(defined()) << "[Tensor] undefined";
  impl_->derived = std::move(derived);
}

Tensor Tensor::Detach() const { return Reshape(shape()); }

Tensor Tensor::Reshape(Shape shape) const {
  ALIGN_CHECK(ElementCount(shape) == size())
      << "[Reshape] " << ToString(this->shape()) << " to " << ToString(shape);
  Tensor tensor;
  tensor.impl_ = std::make_shared<Impl>();
  tensor.impl_->size = size();
  tensor.impl_->shape = std::move(shape);
  tensor.impl_->storage = impl_->storage;
  tensor.impl_->data = impl_->data;
  return tensor;
}

}  // namespace align
