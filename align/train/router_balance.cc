#include "align/train/router_balance.h"

#include <Eigen/Core>
#include <utility>

#include "losses/load_balance.h"

namespace align::train {
namespace {

using Rows = losses::LoadBalanceInputs::Rows;
using FloatRows =
    Eigen::Array<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using IntRows =
    Eigen::Array<int32_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// The rows of every whole sequence, prompts first, `shift` rows further down.
std::vector<Rows> Sequences(const Segments& segments, int64_t shift) {
  std::vector<Rows> sequences;
  for (const int32_t leaf : segments.Leaves()) {
    Rows& rows = sequences.emplace_back();
    for (const int32_t s : segments.Chain(leaf)) {
      const int64_t begin = segments[s].begin + shift;
      rows.push_back({begin, begin + segments[s].length});
    }
  }
  return sequences;
}

// Layers, one below the other.
losses::LoadBalanceInputs Stack(std::span<const RouterOutput> layers,
                                const Segments& segments, bool by_sequence) {
  const Eigen::Index n = layers[0].logits.dim(0);
  const Eigen::Index experts = layers[0].logits.dim(1);
  const auto count = static_cast<Eigen::Index>(layers.size());
  const auto chosen =
      n == 0 ? 0 : static_cast<Eigen::Index>(layers[0].experts.size()) / n;
  losses::LoadBalanceInputs in;
  in.logits.resize(count * n, experts);
  in.experts.resize(count * n, chosen);
  if (!by_sequence) in.groups.emplace_back();
  for (Eigen::Index l = 0; l < count; ++l) {
    in.logits.middleRows(l * n, n) =
        Eigen::Map<const FloatRows>(layers[l].logits.data(), n, experts)
            .cast<double>();
    in.experts.middleRows(l * n, n) =
        Eigen::Map<const IntRows>(layers[l].experts.data(), n, chosen);
    for (Rows& rows : Sequences(segments, l * n)) {
      if (by_sequence) {
        in.groups.push_back(std::move(rows));
      } else {
        in.groups[0].insert(in.groups[0].end(), rows.begin(), rows.end());
      }
    }
  }
  return in;
}

}  // namespace

Tensor RouterBalance::Hidden(const PackedBatch& packed,
                             std::span<const int32_t> read) {
  if (model_->router_loss_weight() == 0 || !GradEnabled()) {
    return model_->Hidden(packed.tokens, packed.segments, read);
  }
  std::vector<RouterOutput> routers;
  const Tensor hidden =
      model_->HiddenAndRouters(packed.tokens, packed.segments, routers);
  const std::span<const RouterOutput> all(routers);
  if (model_->config().architecture.family == Family::kMixtral) {
    AddLayers(all, packed.segments);
  } else {
    for (size_t l = 0; l < all.size(); ++l) {
      AddLayers(all.subspan(l, 1), packed.segments);
    }
  }
  return hidden;
}

void RouterBalance::AddLayers(std::span<const RouterOutput> layers,
                              const Segments& segments) {
  if (layers.empty()) return;
  const ModelConfig& config = model_->config();
  const Family family = config.architecture.family;
  const bool joint = family == Family::kMixtral;
  const losses::LoadBalanceResult result = losses::LoadBalanceLoss(
      Stack(layers, segments, !joint && config.experts.balance_by_sequence),
      {.score = family == Family::kDeepseekV3 ? losses::RouterScore::kSigmoid
                                              : losses::RouterScore::kSoftmax,
       .per_choice = !joint});
  loss_ += result.loss;
  const FloatRows seeds = result.d_logits.cast<float>();
  const float* next = seeds.data();
  for (const RouterOutput& layer : layers) {
    layers_.push_back({layer.logits, {next, next + layer.logits.size()}});
    next += layer.logits.size();
  }
}

void RouterBalance::Backward(std::span<const Root> roots,
                             MicroStep& step) const {
  if (layers_.empty()) return align::Backward(roots);
  const double weight = model_->router_loss_weight() * step.weight;
  step.loss_sum += weight * loss_;
  step.metrics["aux_loss"] = {loss_ * step.weight, step.weight};
  std::vector<LayerSeed> layers = layers_;
  std::vector<Root> all(roots.begin(), roots.end());
  for (LayerSeed& layer : layers) {
    for (float& seed : layer.seed) seed *= static_cast<float>(weight);
    all.push_back({.output = layer.logits, .seed = layer.seed});
  }
  align::Backward(all);
}

void RouterBalance::Backward(const Tensor& output, std::span<const float> seed,
                             MicroStep& step) const {
  const Root root{.output = output, .seed = seed};
  Backward(std::span<const Root>(&root, 1), step);
}

std::function<void(std::span<const float>, MicroStep&)> BalancedBackward(
    const Tensor& output, RouterBalance balance) {
  return [output, balance = std::move(balance)](std::span<const float> seed,
                                                MicroStep& step) {
    balance.Backward(output, seed, step);
  };
}

}  // namespace align::train
