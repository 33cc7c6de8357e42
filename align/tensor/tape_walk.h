#pragma once

// Private to align/tensor.

#include <cstddef>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "align/tensor/tape.h"

namespace align {

// A walk over the history below some roots, iterative so that depth is bounded
// by memory and not by the stack.
class TapeWalk {
 public:
  // Takes what leads to `root` into the walk.
  void Visit(const Tensor& root);
  // Runs the rules, outputs before inputs.
  void Run();

  // Record without its questions: `out` gets this rule whether or not an input
  // requires a gradient.
  static void AddNode(std::string_view op, const Tensor& out,
                      std::vector<Tensor> inputs, BackwardRule rule);

 private:
  void Push(const Tensor& tensor);

  std::unordered_set<const void*> seen_;
  std::vector<std::pair<Tensor, size_t>> stack_;
  std::vector<Tensor> order_;  // inputs before outputs
};

}  // namespace align
