#pragma once

// Private to align/tensor.

#include <functional>
#include <string_view>
#include <vector>

#include "align/tensor/tensor.h"

namespace align {

struct Tensor::Impl {
  Shape shape;
  int64_t size = 0;
  Storage storage;        // null for views of foreign memory
  float* data = nullptr;  // storage.get() or the foreign memory

  bool requires_grad = false;
  Storage grad_storage;   // intermediates
  float* grad = nullptr;  // grad_storage.get() or the leaf's own

  std::shared_ptr<Derived> derived;

  std::string_view op, phase;  // literals; see ProfileScope
  std::vector<Tensor> inputs;
  std::function<void(const float*)> rule;
};

}  // namespace align
