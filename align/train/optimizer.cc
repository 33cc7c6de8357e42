#include "align/train/optimizer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/base/threads.h"
#include "align/train/optimizer_update.h"

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

// Sum of f(g) over `count` gradients, in independent lanes, so that it
// vectorises in an order of its own and memory alone bounds it.
template <typename F>
double SumOver(const float* grad, int64_t count, const F& f) {
  constexpr int64_t kLanes = 32;
  std::array<double, kLanes> lanes = {};
  const int64_t whole = count / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      lanes[j] += f(static_cast<double>(grad[i + j]));
    }
  }
  double sum = 0;
  for (int64_t i = whole; i < count; ++i) {
    sum += f(static_cast<double>(grad[i]));
  }
  for (double lane : lanes) sum += lane;
  return sum;
}

// NaN when a gradient is.
double LargestMagnitude(const float* grad, int64_t count) {
  double largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double magnitude = std::abs(static_cast<double>(grad[i]));
    if (std::isnan(magnitude)) return magnitude;
    largest = std::max(largest, magnitude);
  }
  return largest;
}

}  // namespace

absl::StatusOr<OptimizerKind> ParseOptimizerKind(const std::string& text) {
  if (text == "adamw") return OptimizerKind::kAdamW;
  if (text == "adam") return OptimizerKind::kAdam;
  if (text == "sgd") return OptimizerKind::kSgd;
  if (text == "rmsprop") return OptimizerKind::kRmsProp;
  if (text == "adagrad") return OptimizerKind::kAdaGrad;
  return InvalidArgument("optimizer '" + text +
                         "' is unknown; expected adamw, adam, sgd, rmsprop or "
                         "adagrad");
}

std::vector<std::string> StateNames(const OptimizerOptions& options) {
  switch (options.kind) {
    case OptimizerKind::kAdamW:
    case OptimizerKind::kAdam:
      return options.amsgrad
                 ? std::vector<std::string>{"first", "second", "largest_second"}
                 : std::vector<std::string>{"first", "second"};
    case OptimizerKind::kSgd:
      return {"velocity"};
    case OptimizerKind::kRmsProp:
      return {"square_mean"};
    case OptimizerKind::kAdaGrad:
      return {"square_sum"};
  }
  return {};
}

absl::StatusOr<NormKind> ParseNormKind(const std::string& text) {
  if (text == "2") return NormKind::kEuclidean;
  if (text == "1") return NormKind::kSum;
  if (text == "inf") return NormKind::kMaximum;
  return InvalidArgument("norm '" + text +
                         "' is unknown; expected 1, 2 or inf");
}

Optimizer::Optimizer(const OptimizerOptions& options, LearningRateFactor factor,
                     std::vector<ParamStore*> stores)
    : options_(options),
      factor_(std::move(factor)),
      stores_(std::move(stores)) {
  for (ParamStore* store : stores_) {
    ALIGN_CHECK(store->trainable()) << "[Optimizer] a store without gradients";
    const auto size = static_cast<int64_t>(store->values().size());
    std::vector<Tensor>& state = state_.emplace_back();
    for (size_t i = 0; i < StateNames(options_).size(); ++i) {
      state.push_back(Tensor::Zeros({size}));
    }
  }
}

double Optimizer::learning_rate() const {
  return options_.learning_rate * (factor_ ? factor_(steps_) : 1.0);
}

void Optimizer::Step(double grad_scale) {
  const ProfileScope scope("Step");
  const double rate = learning_rate();
  ++steps_;
  const auto scalars =
      MakeUpdateScalars<float>(options_, rate, steps_, grad_scale);
  const std::vector<Block> blocks =
      CutIntoBlocks(stores_, options_.decay_vectors);
  std::vector<float*> values, grads;
  // Values, gradients and state are read and written.
  const auto arenas = 2 + static_cast<int64_t>(StateNames(options_).size());
  for (ParamStore* store : stores_) {
    ProfileScope::AddFloats(2 * arenas *
                            static_cast<int64_t>(store->values().size()));
    values.push_back(store->values().data());
    grads.push_back(store->grads().data());
  }
  ParallelFor(static_cast<int64_t>(blocks.size()), [&](int64_t index) {
    const Block& block = blocks[index];
    StatePointers<float> state = {};
    for (size_t i = 0; i < state_[block.store].size(); ++i) {
      state[i] = state_[block.store][i].data() + block.begin;
    }
    UpdateParameters(options_, scalars, block.decay, block.count,
                     values[block.store] + block.begin,
                     grads[block.store] + block.begin, state);
  });
}

std::vector<std::vector<std::span<float>>> Optimizer::state() {
  std::vector<std::vector<std::span<float>>> spans;
  for (std::vector<Tensor>& store : state_) {
    std::vector<std::span<float>>& arenas = spans.emplace_back();
    for (Tensor& arena : store) arenas.push_back(arena.values());
  }
  return spans;
}

double GradientNorm(const std::vector<ParamStore*>& stores, NormKind kind) {
  const ProfileScope scope("GradientNorm");
  const std::vector<Block> blocks = CutIntoBlocks(stores);
  std::vector<double> partial(blocks.size());
  for (ParamStore* store : stores) {
    ProfileScope::AddFloats(static_cast<int64_t>(store->grads().size()));
  }
  ParallelFor(static_cast<int64_t>(blocks.size()), [&](int64_t index) {
    const Block& block = blocks[index];
    const float* grad = stores[block.store]->grads().data() + block.begin;
    switch (kind) {
      case NormKind::kEuclidean:
        partial[index] =
            SumOver(grad, block.count, [](double g) { return g * g; });
        break;
      case NormKind::kSum:
        partial[index] =
            SumOver(grad, block.count, [](double g) { return std::abs(g); });
        break;
      case NormKind::kMaximum:
        partial[index] = LargestMagnitude(grad, block.count);
    }
  });
  double total = 0;
  for (double p : partial) {
    // A maximum that lets NaN through.
    total = kind != NormKind::kMaximum   ? total + p
            : p > total || std::isnan(p) ? p
                                         : total;
    if (std::isnan(total)) break;
  }
  return kind == NormKind::kEuclidean ? std::sqrt(total) : total;
}

double ClipScale(double norm, double max_norm) {
  if (max_norm == 0) return 1;
  // The summand guards against a norm of 0.
  return std::min(1.0, max_norm / (norm + 1e-6));
}

}  // namespace align::train
