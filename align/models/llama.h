#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "align/models/model.h"
#include "align/ops/ops.h"

namespace align {

// The Llama family (Touvron et al. 2023): RMSNorm before attention and MLP,
// rotary embeddings, grouped-query attention, SwiGLU. Numbers equal Hugging
// Face's LlamaModel to float rounding.
class Llama : public Model {
 public:
  explicit Llama(ModelConfig config);

  Tensor Hidden(std::span<const int32_t> tokens,
                const Segments& segments) const override;
  Tensor HiddenCached(std::span<const int32_t> tokens,
                      std::span<const CachedRows> rows,
                      KvCache& cache) const override;
  KvCache MakeCache() const override;

 private:
  // The parameters of one block, biases undefined where there are none.
  struct Block {
    Tensor input_norm, post_attention_norm;
    Tensor q, k, v, o, q_bias, k_bias, v_bias, o_bias;
    Tensor gate, up, down, gate_bias, up_bias, down_bias;
  };
  Block GetBlock(int64_t layer) const;
  // Everything of a block but attention itself, which is a function of the
  // rotated queries and keys and of the values.
  template <class Attend>
  Tensor RunBlock(const Block& block, const Tensor& x,
                  std::span<const int32_t> positions,
                  const Attend& attend) const;

  AttentionShape attention_;
  RopeTable rope_;
};

}  // namespace align
