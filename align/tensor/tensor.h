#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/storage.h"

namespace align {

using Shape = std::vector<int64_t>;

// "(2, 3)"; the form in which errors print shapes.
std::string ToString(const Shape& shape);
int64_t ElementCount(const Shape& shape);

// A dense row-major f32 array and, when it was recorded, how it was made. A
// handle: copies share the values. One thread at a time may use tensors that
// share values or history.
class Tensor {
 public:
  Tensor() = default;  // undefined; shape() and data() abort

  static Tensor Empty(Shape shape);  // contents undefined
  static Tensor Zeros(Shape shape);
  static Tensor From(Shape shape, std::span<const float> values);
  // A view of memory that must outlive every copy. With `grad` (same size) the
  // tensor is a trainable leaf and Backward adds into it; without, a constant.
  static Tensor Leaf(Shape shape, std::span<float> values,
                     std::span<float> grad = {});

  bool defined() const { return impl_ != nullptr; }
  const Shape& shape() const;
  int64_t dim(size_t axis) const { return shape().at(axis); }
  int64_t size() const;
  float* data();
  const float* data() const;
  std::span<float> values() { return {data(), static_cast<size_t>(size())}; }
  std::span<const float> values() const {
    return {data(), static_cast<size_t>(size())};
  }

  // Whether Backward will want this tensor's gradient.
  bool requires_grad() const;
  // Whether an op recorded how it was made: nobody changes its values before
  // Backward has been there.
  bool has_history() const;
  // The gradient, same shape; made and filled with zeros at first use. Only
  // for tensors that require one. Rules add into it.
  float* grad() const;
  // Where a rule that gives the whole gradient puts it: added to what is there,
  // or, when nothing is yet, written over undefined contents.
  struct GradTarget {
    float* data = nullptr;
    bool accumulate = true;
  };
  GradTarget TakeGrad() const;

  // What an op made of the values and keeps beside them, such as a packed or a
  // rounded copy: one a tensor, shared by its handles, null until set. Whoever
  // changes the values of a tensor that has one tells it.
  class Derived {
   public:
    virtual ~Derived() = default;
    virtual void ValuesChanged() = 0;
  };
  const std::shared_ptr<Derived>& derived() const;
  void SetDerived(std::shared_ptr<Derived> derived) const;

  // The same values without history.
  Tensor Detach() const;
  // The same values as another shape of equal size, without history: for rules
  // and for tensors that carry none.
  Tensor Reshape(Shape shape) const;

 private:
  struct Impl;
  friend Tensor Record(std::string_view, Tensor, std::vector<Tensor>,
                       std::function<void(const float*)>);
  friend class TapeWalk;
  std::shared_ptr<Impl> impl_;
};

}  // namespace align
