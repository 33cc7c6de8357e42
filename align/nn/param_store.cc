#include "align/nn/param_store.h"

#include <algorithm>
#include <utility>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/ops/packed_weight.h"

namespace align {
namespace {

// Every tensor starts on a cache line.
constexpr int64_t kAlignFloats = 16;

}  // namespace

ParamStore::ParamStore(std::vector<ParamSpec> specs)
    : specs_(std::move(specs)) {
  int64_t total = 0;
  for (size_t i = 0; i < specs_.size(); ++i) {
    ALIGN_CHECK(index_.emplace(specs_[i].name, i).second)
        << "[ParamStore] two parameters named " << specs_[i].name;
    offsets_.push_back(total);
    const int64_t size = ElementCount(specs_[i].shape);
    parameter_count_ += size;
    total += (size + kAlignFloats - 1) / kAlignFloats * kAlignFloats;
  }
  values_ = Tensor::Zeros({total});
  MakeTensors();
}

void ParamStore::MakeTensors() {
  tensors_.clear();
  for (size_t i = 0; i < specs_.size(); ++i) {
    const std::span<float> values =
        values_.values().subspan(offsets_[i], ElementCount(specs_[i].shape));
    tensors_.push_back(
        Tensor::Leaf(specs_[i].shape, values,
                     grads_.defined() ? grads(i) : std::span<float>()));
    if (specs_[i].shape.size() == 2) AttachPacked(tensors_[i], precision_);
  }
}

void ParamStore::SetPrecision(Precision precision) {
  precision_ = precision;
  MakeTensors();
}

void ParamStore::ValuesChange(size_t param) {
  const auto& derived = tensors_[param].derived();
  if (derived != nullptr) derived->ValuesChanged();
}

const Tensor& ParamStore::Get(const std::string& name) const {
  const auto found = index_.find(name);
  ALIGN_CHECK(found != index_.end()) << "[ParamStore] no parameter " << name;
  return tensors_[found->second];
}

Tensor ParamStore::Writable(const std::string& name) {
  const auto found = index_.find(name);
  ALIGN_CHECK(found != index_.end()) << "[ParamStore] no parameter " << name;
  return Tensor::Leaf(specs_[found->second].shape, values(found->second));
}

std::span<float> ParamStore::grads() {
  return grads_.defined() ? grads_.values() : std::span<float>();
}

std::span<float> ParamStore::values() {
  for (size_t i = 0; i < tensors_.size(); ++i) ValuesChange(i);
  return values_.values();
}

std::span<float> ParamStore::values(size_t param) {
  ValuesChange(param);
  return values_.values().subspan(offsets_[param],
                                  ElementCount(specs_[param].shape));
}

std::span<float> ParamStore::grads(size_t param) {
  ALIGN_CHECK(trainable()) << "[ParamStore] frozen";
  return grads_.values().subspan(offsets_[param],
                                 ElementCount(specs_[param].shape));
}

void ParamStore::EnableGradients() {
  grads_ = Tensor::Zeros(values_.shape());
  MakeTensors();
}

void ParamStore::Freeze() {
  grads_ = Tensor();
  MakeTensors();
}

void ParamStore::ZeroGradients() {
  if (trainable()) std::fill_n(grads_.data(), grads_.size(), 0.0f);
}

void ParamStore::CopyValuesFrom(const ParamStore& other) {
  ALIGN_CHECK(other.values_.size() == values_.size() && other.index_ == index_)
      << "[ParamStore] copy between different specs";
  std::copy_n(other.values_.data(), values_.size(), values().data());
}

std::string ParamStore::Hash() const {
  std::string key;
  for (const ParamSpec& spec : specs_) {
    key += spec.name + ToString(spec.shape) + "\n";
  }
  key += ContentHash({reinterpret_cast<const char*>(values_.data()),
                      values_.size() * sizeof(float)});
  return ContentHash(key);
}

}  // namespace align
