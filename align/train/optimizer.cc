#include "align/train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "align/base/check.h"
#include "align/base/threads.h"

namespace align::train {
namespace {

// Work is cut into blocks of this many floats whatever the thread count.
constexpr int64_t kBlock = int64_t{1} << 15;

struct Block {
  size_t store = 0;
  int64_t begin = 0;  // in the arena
  int64_t count = 0;
  bool decay = false;
};

std::vector<Block> CutIntoBlocks(const std::vector<ParamStore*>& stores) {
  std::vector<Block> blocks;
  for (size_t s = 0; s < stores.size(); ++s) {
    const std::vector<ParamSpec>& specs = stores[s]->specs();
    for (size_t p = 0; p < specs.size(); ++p) {
      const int64_t size = ElementCount(specs[p].shape);
      for (int64_t begin = 0; begin < size; begin += kBlock) {
        blocks.push_back({.store = s,
                          .begin = stores[s]->offset(p) + begin,
                          .count = std::min(kBlock, size - begin),
                          .decay = specs[p].shape.size() >= 2});
      }
    }
  }
  return blocks;
}

// The scalars of one step, rounded to f32 where PyTorch's kernel does.
struct StepScalars {
  float grad_scale;
  float keep;  // 1 - learning_rate * weight_decay
  float beta1;
  float one_minus_beta1;
  float beta2;
  float one_minus_beta2;
  float step_size;        // learning_rate / (1 - beta1^t)
  float root_correction;  // sqrt(1 - beta2^t)
  float epsilon;
};

void StepBlock(const StepScalars& c, float keep, int64_t count, float* value,
               float* grad, float* first, float* second) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = grad[i] * c.grad_scale;
    const float m = first[i] * c.beta1 + g * c.one_minus_beta1;
    const float v = second[i] * c.beta2 + g * g * c.one_minus_beta2;
    const float denominator = std::sqrt(v) / c.root_correction + c.epsilon;
    value[i] = value[i] * keep - c.step_size * (m / denominator);
    first[i] = m;
    second[i] = v;
    grad[i] = 0.0f;
  }
}

}  // namespace

Optimizer::Optimizer(const AdamWOptions& options, LearningRateFactor factor,
                     std::vector<ParamStore*> stores)
    : options_(options),
      factor_(std::move(factor)),
      stores_(std::move(stores)) {
  for (ParamStore* store : stores_) {
    ALIGN_CHECK(store->trainable()) << "[Optimizer] a store without gradients";
    const auto size = static_cast<int64_t>(store->values().size());
    first_.push_back(Tensor::Zeros({size}));
    second_.push_back(Tensor::Zeros({size}));
  }
}

double Optimizer::learning_rate() const {
  return options_.learning_rate * (factor_ ? factor_(steps_) : 1.0);
}

void Optimizer::Step(double grad_scale) {
  const double rate = learning_rate();
  ++steps_;
  const auto t = static_cast<double>(steps_);
  const StepScalars c = {
      .grad_scale = static_cast<float>(grad_scale),
      .keep = static_cast<float>(1.0 - rate * options_.weight_decay),
      .beta1 = static_cast<float>(options_.beta1),
      .one_minus_beta1 = static_cast<float>(1.0 - options_.beta1),
      .beta2 = static_cast<float>(options_.beta2),
      .one_minus_beta2 = static_cast<float>(1.0 - options_.beta2),
      .step_size =
          static_cast<float>(rate / (1.0 - std::pow(options_.beta1, t))),
      .root_correction =
          static_cast<float>(std::sqrt(1.0 - std::pow(options_.beta2, t))),
      .epsilon = static_cast<float>(options_.epsilon)};
  const std::vector<Block> blocks = CutIntoBlocks(stores_);
  ParallelFor(static_cast<int64_t>(blocks.size()), [&](int64_t index) {
    const Block& block = blocks[index];
    ParamStore& store = *stores_[block.store];
    StepBlock(c, block.decay ? c.keep : 1.0f, block.count,
              store.values().data() + block.begin,
              store.grads().data() + block.begin,
              first_[block.store].data() + block.begin,
              second_[block.store].data() + block.begin);
  });
}

std::vector<Optimizer::Moments> Optimizer::moments() {
  std::vector<Moments> moments;
  for (size_t s = 0; s < stores_.size(); ++s) {
    moments.push_back({first_[s].values(), second_[s].values()});
  }
  return moments;
}

double GradientNorm(const std::vector<ParamStore*>& stores) {
  const std::vector<Block> blocks = CutIntoBlocks(stores);
  std::vector<double> partial(blocks.size());
  ParallelFor(static_cast<int64_t>(blocks.size()), [&](int64_t index) {
    const Block& block = blocks[index];
    const float* grad = stores[block.store]->grads().data() + block.begin;
    // Independent lanes, so that the sum vectorises in an order of its own.
    constexpr int64_t kLanes = 8;
    std::array<double, kLanes> lanes = {};
    const int64_t whole = block.count / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) {
      for (int64_t j = 0; j < kLanes; ++j) {
        const double g = grad[i + j];
        lanes[j] += g * g;
      }
    }
    double sum = 0;
    for (int64_t i = whole; i < block.count; ++i) {
      sum += static_cast<double>(grad[i]) * grad[i];
    }
    for (double lane : lanes) sum += lane;
    partial[index] = sum;
  });
  double total = 0;
  for (double sum : partial) total += sum;
  return std::sqrt(total);
}

}  // namespace align::train
