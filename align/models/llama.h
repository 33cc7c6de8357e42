#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "align/base/json_writer.h"
#include "align/models/config_fields.h"
#include "align/models/decoder.h"
#include "align/models/tensor_spec.h"

namespace align {

// What differs among the families that are Llama otherwise.
struct LlamaOptions {
  bool output_bias = true;        // o_proj has a bias where q, k and v have
  bool query_key_norm = false;    // RMSNorm of each head before RoPE (Qwen 3)
  bool weights_from_one = false;  // norms multiply by 1 + weight (Gemma)
  bool scaled_embedding = false;  // by sqrt(hidden_size) (Gemma)
  bool norms_after = false;       // of what attention and MLP add (Gemma 2)
};

// The Llama family (Touvron et al. 2023): RMSNorm before attention and MLP,
// rotary embeddings, grouped-query attention, a gated MLP. Numbers equal
// Hugging Face's LlamaModel to float rounding.
class Llama : public Decoder {
 public:
  // Of each head `rotated` elements turn; 0: all of them.
  Llama(const ModelConfig& config, const LlamaOptions& options,
        int64_t rotated = 0);

 protected:
  AttentionShape Shape(int64_t layer) const override;
  Tensor Embed(std::span<const int32_t> tokens,
               std::span<const int32_t> positions) const override;
  Tensor Block(int64_t layer, const Tensor& x,
               std::span<const int32_t> positions,
               const Pass& pass) const override;
  Tensor FinalNorm(const Tensor& x) const override;

  // The two halves of a block, between its norms: normed rows that come in or,
  // at the MLP, that leave -> the latter.
  virtual Tensor SelfAttention(int64_t layer, const Tensor& x,
                               std::span<const int32_t> positions,
                               const Pass& pass) const;
  virtual Tensor Mlp(int64_t layer, const Tensor& x, const Pass& pass) const;

  // "model.layers.3."
  static std::string Prefix(int64_t layer);
  Tensor Norm(const Tensor& x, const std::string& name) const;
  // down(activation(gate x) * up x), the three below `name`.
  Tensor GatedMlp(const Tensor& x, const std::string& name) const;

  const RopeTable& rope() const { return rope_; }

 private:
  LlamaOptions options_;
  RopeTable rope_;
};

// What the Llama-like families share of model_family.h: sizes, RoPE, norms.
absl::Status ReadLlamaShape(const ConfigFields& fields, ModelConfig& config);
void WriteLlamaShape(const ModelConfig& config, JsonWriter& json);
absl::Status ValidateLlama(const ModelConfig& config);
// The tensors of one layer's attention or MLP, appended; null: Llama's.
struct LlamaParts {
  using Part = void (*)(const ModelConfig& config, int64_t layer,
                        std::vector<TensorSpec>& specs);
  Part attention = nullptr;
  Part mlp = nullptr;
};
std::vector<TensorSpec> LlamaTensors(const ModelConfig& config,
                                     const LlamaOptions& options,
                                     const LlamaParts& parts = {});
// trunk_tensors and make of a family that is Llama with these options.
template <const LlamaOptions& kOptions>
std::vector<TensorSpec> TensorsOfLlama(const ModelConfig& config) {
  return LlamaTensors(config, kOptions);
}
template <const LlamaOptions& kOptions>
std::unique_ptr<Model> MakeLlama(const ModelConfig& config) {
  return std::make_unique<Llama>(config, kOptions);
}

// A window in all layers from the field sliding_window, null for none.
absl::Status ReadWindow(const ConfigFields& fields, ModelConfig& config);
void WriteWindow(const ModelConfig& config, JsonWriter& json);
// The layers of the window from layer_types, if the field is there.
absl::Status ReadLayerTypes(const ConfigFields& fields, ModelConfig& config);
void WriteLayerTypes(const ModelConfig& config, JsonWriter& json);
// Qwen's: a window in the layers from max_window_layers on, if
// use_sliding_window says so.
absl::Status ReadLateWindow(const ConfigFields& fields, ModelConfig& config);
void WriteLateWindow(const ModelConfig& config, JsonWriter& json);

}  // namespace align
