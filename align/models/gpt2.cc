// GPT-2 (Radford et al. 2019): LayerNorm, learned positions, weights stored as
// [inputs, outputs], GELU, a tied head.
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "align/models/decoder.h"
#include "align/models/model_family.h"

namespace align {
namespace {

class Gpt2 : public Decoder {
 public:
  explicit Gpt2(const ModelConfig& config) : Decoder(config) {}

 protected:
  AttentionShape Shape(int64_t layer) const override {
    AttentionShape shape{.heads = config().num_attention_heads,
                         .kv_heads = config().num_attention_heads,
                         .head_dim = config().head_dim};
    if (config().scale_scores_by_layer) {
      shape.scale = 1 / std::sqrt(static_cast<double>(shape.head_dim)) /
                    static_cast<double>(layer + 1);
    }
    return shape;
  }

  Tensor Embed(std::span<const int32_t> tokens,
               std::span<const int32_t> positions) const override {
    return Add(Embedding(Weight("transformer.wte"), tokens),
               Embedding(Weight("transformer.wpe"), positions));
  }

  Tensor Block(int64_t layer, const Tensor& x, std::span<const int32_t>,
               const Pass& pass) const override {
    const std::string prefix = "transformer.h." + std::to_string(layer) + ".";
    const int64_t width = config().hidden_size;
    const Tensor qkv = Conv1d(Norm(x, prefix + "ln_1"), prefix + "attn.c_attn");
    const Tensor mixed = pass.attend(
        SliceHeads(Leaving(qkv, pass), 1, 0, width),
        SliceHeads(qkv, 1, width, width), SliceHeads(qkv, 1, 2 * width, width));
    const Tensor attended =
        Add(Leaving(x, pass), Conv1d(mixed, prefix + "attn.c_proj"));
    const Tensor hidden =
        Conv1d(Norm(attended, prefix + "ln_2"), prefix + "mlp.c_fc");
    return Add(attended, Conv1d(Activate(hidden, config().activation),
                                prefix + "mlp.c_proj"));
  }

  Tensor FinalNorm(const Tensor& x) const override {
    return Norm(x, "transformer.ln_f");
  }

 private:
  Tensor Norm(const Tensor& x, const std::string& name) const {
    return LayerNorm(x, Weight(name), Bias(name),
                     static_cast<float>(config().rms_norm_eps));
  }
  Tensor Conv1d(const Tensor& x, const std::string& name) const {
    return Project(x, name, WeightLayout::kInOut);
  }
};

ModelConfig Defaults() {
  ModelConfig config;
  config.max_position_embeddings = 1024;
  config.rms_norm_eps = 1e-5;
  config.activation = Activation::kGeluTanh;
  config.tie_word_embeddings = true;
  config.bos_token_id = 50256;
  config.eos_token_ids = {50256};
  return config;
}

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  for (const auto& [key, value] :
       {std::pair{"n_embd", &config.hidden_size},
        {"n_layer", &config.num_hidden_layers},
        {"n_head", &config.num_attention_heads},
        {"n_positions", &config.max_position_embeddings}}) {
    ALIGN_RETURN_IF_ERROR(fields.Required(key, *value));
  }
  fields.Has("n_ctx");  // what n_positions was called before
  if (config.num_attention_heads <= 0 ||
      config.hidden_size % config.num_attention_heads != 0) {
    return fields.Wrong("n_embd", "a multiple of n_head");
  }
  config.num_key_value_heads = config.num_attention_heads;
  config.head_dim = config.hidden_size / config.num_attention_heads;
  if (config.hidden_size < INT64_MAX / 4) {
    config.intermediate_size = 4 * config.hidden_size;
  }
  ALIGN_RETURN_IF_ERROR(fields.Int("n_inner", config.intermediate_size));
  ALIGN_RETURN_IF_ERROR(
      fields.Number("layer_norm_epsilon", config.rms_norm_eps));
  ALIGN_RETURN_IF_ERROR(
      fields.ReadActivation("activation_function", config.activation));
  ALIGN_RETURN_IF_ERROR(fields.Only("scale_attn_weights", true));
  ALIGN_RETURN_IF_ERROR(fields.Only("add_cross_attention", false));
  fields.Has("reorder_and_upcast_attn");  // about rounding in half precision
  return fields.Bool("scale_attn_by_inverse_layer_idx",
                     config.scale_scores_by_layer);
}

void Write(const ModelConfig& config, JsonWriter& json) {
  json.Field("activation_function", config.activation == Activation::kGeluTanh
                                        ? "gelu_new"
                                        : ActivationName(config.activation));
  for (const char* dropout : {"attn_pdrop", "embd_pdrop", "resid_pdrop"}) {
    json.Field(dropout, 0.0);
  }
  json.Field("layer_norm_epsilon", config.rms_norm_eps);
  json.Field("n_embd", config.hidden_size);
  json.Field("n_head", config.num_attention_heads);
  json.Field("n_inner", config.intermediate_size);
  json.Field("n_layer", config.num_hidden_layers);
  json.Field("n_positions", config.max_position_embeddings);
  json.Field("scale_attn_by_inverse_layer_idx", config.scale_scores_by_layer);
}

absl::Status Validate(const ModelConfig& config) {
  if (config.num_attention_heads * config.head_dim == config.hidden_size) {
    return absl::OkStatus();
  }
  return InvalidArgument("n_embd is " + std::to_string(config.hidden_size) +
                         "; n_head " +
                         std::to_string(config.num_attention_heads) +
                         " times the size of a head expected");
}

std::vector<TensorSpec> Tensors(const ModelConfig& config) {
  const int64_t width = config.hidden_size;
  std::vector<TensorSpec> specs = {
      {"transformer.wte.weight", {config.vocab_size, width}},
      {"transformer.wpe.weight", {config.max_position_embeddings, width}}};
  const auto norm = [&](const std::string& name) {
    specs.push_back({name + ".weight", {width}});
    specs.push_back({name + ".bias", {width}});
  };
  const auto conv = [&](const std::string& name, int64_t in, int64_t out) {
    specs.push_back({name + ".weight", {in, out}});
    specs.push_back({name + ".bias", {out}});
  };
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string prefix = "transformer.h." + std::to_string(layer) + ".";
    norm(prefix + "ln_1");
    conv(prefix + "attn.c_attn", width, 3 * width);
    conv(prefix + "attn.c_proj", width, width);
    norm(prefix + "ln_2");
    conv(prefix + "mlp.c_fc", width, config.intermediate_size);
    conv(prefix + "mlp.c_proj", config.intermediate_size, width);
  }
  norm("transformer.ln_f");
  return specs;
}

}  // namespace

constexpr ModelFamily kGpt2Family = {
    .family = Family::kGpt2,
    .model_type = "gpt2",
    .language_model = "GPT2LMHeadModel",
    .sequence_classifier = "GPT2ForSequenceClassification",
    .trunk = "transformer.",
    .embedding = "transformer.wte.weight",
    .no_linear = ".wpe.weight",
    .layout = WeightLayout::kInOut,
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = Validate,
    .trunk_tensors = Tensors,
    .make = [](const ModelConfig& config) -> std::unique_ptr<Model> {
      return std::make_unique<Gpt2>(config);
    },
};

}  // namespace align
