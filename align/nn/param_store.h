#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "align/base/precision.h"
#include "align/tensor/tensor.h"

namespace align {

struct ParamSpec {
  std::string name;  // as Hugging Face names the tensor
  Shape shape;
};

// The parameters of one model, or of one set of adapters, as a named arena: one
// block of f32 values and, once EnableGradients was called, one of gradients of
// the same layout, so that optimizer, clipping and checkpoints walk spans. Gaps
// between tensors are zero in both and stay so. Owns the memory; tensors from
// Get are views and must not outlive it. Not copyable, because views point in.
class ParamStore {
 public:
  explicit ParamStore(std::vector<ParamSpec> specs);
  ParamStore(const ParamStore&) = delete;
  ParamStore& operator=(const ParamStore&) = delete;

  const std::vector<ParamSpec>& specs() const { return specs_; }
  bool Has(const std::string& name) const { return index_.contains(name); }
  // The parameter as a tensor; aborts on an unknown name. Trainable exactly
  // when gradients are enabled.
  const Tensor& Get(const std::string& name) const;

  // What products with these parameters multiply in; kF32 until set. Values,
  // gradients and optimizer state are f32 either way.
  void SetPrecision(Precision precision);
  Precision precision() const { return precision_; }

  // The parameter for writing, without gradients: see values().
  Tensor Writable(const std::string& name);

  // The whole arena, and one parameter's part of it. Values are changed through
  // these spans alone, and not after a forward pass that followed the call:
  // copies that ops keep of them are dropped by it.
  std::span<float> values();
  std::span<const float> values() const { return values_.values(); }
  std::span<float> grads();  // empty without gradients
  std::span<float> values(size_t param);
  std::span<float> grads(size_t param);
  // Offset of parameter `param` in the arena, floats.
  int64_t offset(size_t param) const { return offsets_[param]; }

  // Makes every parameter trainable; gradients start at zero.
  void EnableGradients();
  // Drops the gradients for good: after it nothing can train these values.
  void Freeze();
  bool trainable() const { return grads_.defined(); }
  void ZeroGradients();

  // The number of parameters, without gaps.
  int64_t parameter_count() const { return parameter_count_; }
  // A copy of all values of a store with the same specs.
  void CopyValuesFrom(const ParamStore& other);
  // Content hash of names, shapes and values.
  std::string Hash() const;

 private:
  void MakeTensors();
  void ValuesChange(size_t param);

  Precision precision_ = Precision::kF32;
  std::vector<ParamSpec> specs_;
  std::vector<int64_t> offsets_;
  absl::flat_hash_map<std::string, size_t> index_;
  std::vector<Tensor> tensors_;
  Tensor values_;
  Tensor grads_;
  int64_t parameter_count_ = 0;
};

}  // namespace align
