#pragma once

#include <functional>
#include <span>
#include <vector>

#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "align/tensor/tape.h"
#include "align/train/run_loop.h"

namespace align::train {

// One pass through a model whose experts are to be kept busy alike: an
// objective runs the model and walks back through it, and the auxiliary loss of
// the routers (losses/load_balance.h) joins both ways, weighed by
// model.router_loss_weight(). At 0 this is Hidden and Backward.
//
// Mixtral's is one over all layers and tokens of the batch, DeepSeek's the sum
// over layers of a mean over sequences, or with seq_aux false of one over all
// tokens. A token of a prompt counts once for each sequence that continues it,
// so that sharing prompts changes nothing. Like transformers with accumulation,
// a step's auxiliary loss is the mean of its micro-batches', by their weights.
class RouterBalance {
 public:
  // `model` must outlive this.
  explicit RouterBalance(const Model& model) : model_(&model) {}

  // The model's rows [N, D] of `packed`, of which `read` are read; once. All
  // are made where routers are balanced over them.
  Tensor Hidden(const PackedBatch& packed, std::span<const int32_t> read);

  // Walks the tape from the roots and from the routers, and adds the loss times
  // step.weight to step.loss_sum and its metric, aux_loss, which is before
  // router_loss_weight, as TRL logs it.
  void Backward(std::span<const Root> roots, MicroStep& step) const;
  void Backward(const Tensor& output, std::span<const float> seed,
                MicroStep& step) const;

 private:
  struct LayerSeed {
    Tensor logits;
    std::vector<float> seed;  // d(loss) / d(logits)
  };
  void AddLayers(std::span<const RouterOutput> layers,
                 const Segments& segments);

  const Model* model_;
  double loss_ = 0;
  std::vector<LayerSeed> layers_;
};

// ForwardPass::backward of a pass with one output.
std::function<void(std::span<const float>, MicroStep&)> BalancedBackward(
    const Tensor& output, RouterBalance balance);

}  // namespace align::train
