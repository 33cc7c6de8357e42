#include "align/models/llama.h"

#include <algorithm>
#include <string>
#include <utility>

#include "align/tensor/tape.h"

namespace align {

Llama::Llama(ModelConfig config)
    : Model(std::move(config)),
      attention_{.heads = this->config().num_attention_heads,
                 .kv_heads = this->config().num_key_value_heads,
                 .head_dim = this->config().head_dim},
      rope_(this->config().max_position_embeddings, this->config().head_dim,
            this->config().rope_theta) {}

Llama::Block Llama::GetBlock(int64_t layer) const {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const auto get = [&](const std::string& name) {
    return params().Get(prefix + name + ".weight");
  };
  const auto bias = [&](const std::string& name, bool present) {
    return present ? params().Get(prefix + name + ".bias") : Tensor();
  };
  const bool attention = config().attention_bias, mlp = config().mlp_bias;
  return {.input_norm = get("input_layernorm"),
          .post_attention_norm = get("post_attention_layernorm"),
          .q = get("self_attn.q_proj"),
          .k = get("self_attn.k_proj"),
          .v = get("self_attn.v_proj"),
          .o = get("self_attn.o_proj"),
          .q_bias = bias("self_attn.q_proj", attention),
          .k_bias = bias("self_attn.k_proj", attention),
          .v_bias = bias("self_attn.v_proj", attention),
          .o_bias = bias("self_attn.o_proj", attention),
          .gate = get("mlp.gate_proj"),
          .up = get("mlp.up_proj"),
          .down = get("mlp.down_proj"),
          .gate_bias = bias("mlp.gate_proj", mlp),
          .up_bias = bias("mlp.up_proj", mlp),
          .down_bias = bias("mlp.down_proj", mlp)};
}

template <class Attend>
Tensor Llama::RunBlock(const Block& block, const Tensor& x,
                       std::span<const int32_t> positions,
                       const Attend& attend) const {
  const float epsilon = static_cast<float>(config().rms_norm_eps);
  const Tensor normed = RmsNorm(x, block.input_norm, epsilon);
  const Tensor q =
      Rope(Linear(normed, block.q, block.q_bias), rope_, positions);
  const Tensor k =
      Rope(Linear(normed, block.k, block.k_bias), rope_, positions);
  const Tensor v = Linear(normed, block.v, block.v_bias);
  const Tensor attended =
      Add(x, Linear(attend(q, k, v), block.o, block.o_bias));
  const Tensor normed_again =
      RmsNorm(attended, block.post_attention_norm, epsilon);
  const Tensor hidden =
      SwiGlu(Linear(normed_again, block.gate, block.gate_bias),
             Linear(normed_again, block.up, block.up_bias));
  return Add(attended, Linear(hidden, block.down, block.down_bias));
}

Tensor Llama::Hidden(std::span<const int32_t> tokens,
                     const Segments& segments) const {
  const std::vector<int32_t> positions = segments.Positions();
  Tensor x = Embedding(params().Get("model.embed_tokens.weight"), tokens);
  for (int64_t layer = 0; layer < config().num_hidden_layers; ++layer) {
    x = RunBlock(GetBlock(layer), x, positions,
                 [&](const Tensor& q, const Tensor& k, const Tensor& v) {
                   return Attention(q, k, v, segments, attention_);
                 });
  }
  return RmsNorm(x, params().Get("model.norm.weight"),
                 static_cast<float>(config().rms_norm_eps));
}

Tensor Llama::HiddenCached(std::span<const int32_t> tokens,
                           std::span<const CachedRows> rows,
                           KvCache& cache) const {
  const NoGrad no_grad;
  std::vector<int32_t> positions;
  for (const CachedRows& r : rows) {
    for (int64_t i = 0; i < r.rows; ++i) {
      positions.push_back(static_cast<int32_t>(cache.length(r.sequence) + i));
    }
  }
  const int64_t width = attention_.kv_heads * attention_.head_dim;
  Tensor x = Embedding(params().Get("model.embed_tokens.weight"), tokens);
  for (int64_t layer = 0; layer < config().num_hidden_layers; ++layer) {
    const auto attend = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
      std::vector<CachedQueries> queries;
      int64_t begin = 0;
      for (const CachedRows& r : rows) {
        std::copy_n(k.data() + begin * width, r.rows * width,
                    cache.NewKeys(layer, r.sequence));
        std::copy_n(v.data() + begin * width, r.rows * width,
                    cache.NewValues(layer, r.sequence));
        queries.push_back({.begin = begin,
                           .rows = r.rows,
                           .spans = cache.Spans(layer, r.sequence, r.rows)});
        begin += r.rows;
      }
      return CachedAttention(q, queries, attention_);
    };
    x = RunBlock(GetBlock(layer), x, positions, attend);
  }
  for (const CachedRows& r : rows) cache.Advance(r.sequence, r.rows);
  return RmsNorm(x, params().Get("model.norm.weight"),
                 static_cast<float>(config().rms_norm_eps));
}

KvCache Llama::MakeCache() const {
  const int64_t width = attention_.kv_heads * attention_.head_dim;
  return KvCache(config().num_hidden_layers, width, width);
}

}  // namespace align
