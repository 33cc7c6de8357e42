// GPT-NeoX (Black et al. 2022, arXiv 2204.06745; Pythia): LayerNorm, RoPE on a
// part of each head, queries, keys and values of a head side by side in one
// projection, attention and MLP in parallel or one after the other.
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "align/models/decoder.h"
#include "align/models/model_family.h"
#include "align/models/rope_scaling.h"

namespace align {
namespace {

// transformers truncates.
int64_t RotatedElements(const ModelConfig& config) {
  return static_cast<int64_t>(static_cast<double>(config.head_dim) *
                              config.rotary_share);
}

std::string Prefix(int64_t layer) {
  return "gpt_neox.layers." + std::to_string(layer) + ".";
}

class GptNeox : public Decoder {
 public:
  explicit GptNeox(const ModelConfig& config)
      : Decoder(config),
        rope_(MakeRopeTable(config, RotatedElements(config))) {}

 protected:
  AttentionShape Shape(int64_t) const override {
    return {.heads = config().num_attention_heads,
            .kv_heads = config().num_attention_heads,
            .head_dim = config().head_dim};
  }

  Tensor Embed(std::span<const int32_t> tokens,
               std::span<const int32_t>) const override {
    return Embedding(Weight("gpt_neox.embed_in"), tokens);
  }

  Tensor Block(int64_t layer, const Tensor& x,
               std::span<const int32_t> positions,
               const Pass& pass) const override {
    const std::string prefix = Prefix(layer);
    const Tensor leaving = Leaving(x, pass);
    const Tensor attended =
        Add(leaving, SelfAttention(prefix + "attention.",
                                   Norm(x, prefix + "input_layernorm"),
                                   positions, pass));
    const Tensor& seen = config().parallel_residual ? leaving : attended;
    const Tensor hidden =
        Project(Norm(seen, prefix + "post_attention_layernorm"),
                prefix + "mlp.dense_h_to_4h");
    return Add(attended, Project(Activate(hidden, config().activation),
                                 prefix + "mlp.dense_4h_to_h"));
  }

  Tensor FinalNorm(const Tensor& x) const override {
    return Norm(x, "gpt_neox.final_layer_norm");
  }

 private:
  Tensor Norm(const Tensor& x, const std::string& name) const {
    return LayerNorm(x, Weight(name), Bias(name),
                     static_cast<float>(config().rms_norm_eps));
  }

  Tensor SelfAttention(const std::string& name, const Tensor& x,
                       std::span<const int32_t> positions,
                       const Pass& pass) const {
    const int64_t heads = config().num_attention_heads;
    const int64_t dim = config().head_dim;
    const Tensor qkv = Project(x, name + "query_key_value");
    const RopeLayout layout{.head_dim = dim};
    const Tensor q = Rope(SliceHeads(Leaving(qkv, pass), heads, 0, dim), rope_,
                          pass.leaving_positions, layout);
    const Tensor k =
        Rope(SliceHeads(qkv, heads, dim, dim), rope_, positions, layout);
    const Tensor v = SliceHeads(qkv, heads, 2 * dim, dim);
    return Project(pass.attend(q, k, v), name + "dense");
  }

  RopeTable rope_;
};

ModelConfig Defaults() {
  ModelConfig config;
  config.rms_norm_eps = 1e-5;
  config.rotary_share = 0.25;
  config.activation = Activation::kGelu;
  config.parallel_residual = true;
  config.attention_bias = true;
  config.bos_token_id = 0;
  config.eos_token_ids = {2};
  return config;
}

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  for (const auto& [key, value] :
       {std::pair{"hidden_size", &config.hidden_size},
        {"intermediate_size", &config.intermediate_size},
        {"num_hidden_layers", &config.num_hidden_layers},
        {"num_attention_heads", &config.num_attention_heads}}) {
    ALIGN_RETURN_IF_ERROR(fields.Required(key, *value));
  }
  if (config.num_attention_heads <= 0 ||
      config.hidden_size % config.num_attention_heads != 0) {
    return fields.Wrong("hidden_size", "a multiple of num_attention_heads");
  }
  config.num_key_value_heads = config.num_attention_heads;
  config.head_dim = config.hidden_size / config.num_attention_heads;
  ALIGN_RETURN_IF_ERROR(
      fields.Int("max_position_embeddings", config.max_position_embeddings));
  ALIGN_RETURN_IF_ERROR(fields.Number("layer_norm_eps", config.rms_norm_eps));
  // Both names of each are in files of newer versions, with the same values.
  for (const auto& [key, value] :
       {std::pair{"rotary_emb_base", &config.rope_theta},
        {"rotary_pct", &config.rotary_share},
        {"partial_rotary_factor", &config.rotary_share}}) {
    ALIGN_RETURN_IF_ERROR(fields.Number(key, *value));
  }
  ALIGN_RETURN_IF_ERROR(ReadRope(fields, config));
  ALIGN_RETURN_IF_ERROR(fields.ReadActivation("hidden_act", config.activation));
  ALIGN_RETURN_IF_ERROR(fields.Bool("attention_bias", config.attention_bias));
  return fields.Bool("use_parallel_residual", config.parallel_residual);
}

void Write(const ModelConfig& config, JsonWriter& json) {
  json.Field("attention_bias", config.attention_bias);
  json.Field("attention_dropout", 0.0);
  json.Field("hidden_act", ActivationName(config.activation));
  json.Field("hidden_dropout", 0.0);
  json.Field("hidden_size", config.hidden_size);
  json.Field("intermediate_size", config.intermediate_size);
  json.Field("layer_norm_eps", config.rms_norm_eps);
  json.Field("max_position_embeddings", config.max_position_embeddings);
  json.Field("num_attention_heads", config.num_attention_heads);
  json.Field("num_hidden_layers", config.num_hidden_layers);
  json.Field("partial_rotary_factor", config.rotary_share);
  json.Field("rotary_emb_base", config.rope_theta);
  json.Field("rotary_pct", config.rotary_share);
  json.Field("use_parallel_residual", config.parallel_residual);
  WriteRope(config, json);
}

absl::Status Validate(const ModelConfig& config) {
  if (!(config.rotary_share > 0 && config.rotary_share <= 1)) {
    return InvalidArgument("rotary_pct is " +
                           std::to_string(config.rotary_share) +
                           "; more than 0 and at most 1 expected");
  }
  if (config.num_attention_heads * config.head_dim != config.hidden_size) {
    return InvalidArgument("hidden_size is " +
                           std::to_string(config.hidden_size) +
                           "; num_attention_heads times head_dim expected");
  }
  return ValidateRope(config, RotatedElements(config));
}

std::vector<TensorSpec> Tensors(const ModelConfig& config) {
  const int64_t width = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  std::vector<TensorSpec> specs = {
      {"gpt_neox.embed_in.weight", {config.vocab_size, width}}};
  const auto norm = [&](const std::string& name) {
    specs.push_back({name + ".weight", {width}});
    specs.push_back({name + ".bias", {width}});
  };
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string prefix = Prefix(layer);
    const bool bias = config.attention_bias;
    norm(prefix + "input_layernorm");
    AddLinear(specs, prefix + "attention.query_key_value", 3 * width, width,
              bias);
    AddLinear(specs, prefix + "attention.dense", width, width, bias);
    norm(prefix + "post_attention_layernorm");
    AddLinear(specs, prefix + "mlp.dense_h_to_4h", inner, width, true);
    AddLinear(specs, prefix + "mlp.dense_4h_to_h", width, inner, true);
  }
  norm("gpt_neox.final_layer_norm");
  return specs;
}

}  // namespace

constexpr ModelFamily kGptNeoxFamily = {
    .family = Family::kGptNeox,
    .model_type = "gpt_neox",
    .language_model = "GPTNeoXForCausalLM",
    .sequence_classifier = "GPTNeoXForSequenceClassification",
    .trunk = "gpt_neox.",
    .embedding = "gpt_neox.embed_in.weight",
    .head = "embed_out.weight",
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = Validate,
    .trunk_tensors = Tensors,
    .make = [](const ModelConfig& config) -> std::unique_ptr<Model> {
      return std::make_unique<GptNeox>(config);
    },
};

}  // namespace align
