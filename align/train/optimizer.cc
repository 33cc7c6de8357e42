#include "align/train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "align/base/check.h"
#include "align/base/threads.h"
#include "align/train/adamw_update.h"

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

std::vector<Block> CutIntoBlocks(const std::vector<ParamStore*>& stores,
                                 bool decay_vectors = false) {
  std::vector<Block> blocks;
  for (size_t s = 0; s < stores.size(); ++s) {
    const std::vector<ParamSpec>& specs = stores[s]->specs();
    for (size_t p = 0; p < specs.size(); ++p) {
      const int64_t size = ElementCount(specs[p].shape);
      for (int64_t begin = 0; begin < size; begin += kBlock) {
        blocks.push_back(
            {.store = s,
             .begin = stores[s]->offset(p) + begin,
             .count = std::min(kBlock, size - begin),
             .decay = decay_vectors || specs[p].shape.size() >= 2});
      }
    }
  }
  return blocks;
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
  const auto c = MakeAdamWScalars<float>(options_, rate, steps_, grad_scale);
  const std::vector<Block> blocks =
      CutIntoBlocks(stores_, options_.decay_vectors);
  ParallelFor(static_cast<int64_t>(blocks.size()), [&](int64_t index) {
    const Block& block = blocks[index];
    ParamStore& store = *stores_[block.store];
    AdamWUpdate(c, block.decay ? c.keep : 1.0f, block.count,
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

double ClipScale(double norm, double max_norm) {
  if (max_norm == 0) return 1;
  // The summand guards against a norm of 0.
  return std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace align::train
