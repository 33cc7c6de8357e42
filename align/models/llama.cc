#include "align/models/llama.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "align/base/profile.h"
#include "align/models/model_family.h"
#include "align/models/rope_scaling.h"

namespace align {
namespace {

// As many as ValidateConfig allows; it has not seen the config yet.
constexpr int64_t kMaxListedLayers = 1024;

void AddAttention(const ModelConfig& config, const LlamaOptions& options,
                  const std::string& name, std::vector<TensorSpec>& specs) {
  const int64_t width = config.hidden_size;
  const int64_t queries = config.num_attention_heads * config.head_dim;
  const int64_t keys = config.num_key_value_heads * config.head_dim;
  const bool bias = config.attention_bias;
  AddLinear(specs, name + "q_proj", queries, width, bias);
  AddLinear(specs, name + "k_proj", keys, width, bias);
  AddLinear(specs, name + "v_proj", keys, width, bias);
  if (options.query_key_norm) {
    specs.push_back({name + "q_norm.weight", {config.head_dim}});
    specs.push_back({name + "k_norm.weight", {config.head_dim}});
  }
  AddLinear(specs, name + "o_proj", width, queries,
            bias && options.output_bias);
}

}  // namespace

Llama::Llama(const ModelConfig& config, const LlamaOptions& options,
             int64_t rotated)
    : Decoder(config),
      options_(options),
      rope_(MakeRopeTable(config, rotated > 0 ? rotated : config.head_dim)) {}

std::string Llama::Prefix(int64_t layer) {
  return "model.layers." + std::to_string(layer) + ".";
}

AttentionShape Llama::Shape(int64_t layer) const {
  const double scalar = config().query_scalar;
  return {.heads = config().num_attention_heads,
          .kv_heads = config().num_key_value_heads,
          .head_dim = config().head_dim,
          .scale = scalar > 0 ? 1 / std::sqrt(scalar) : 0,
          .window = config().Window(layer),
          .soft_cap = config().attention_soft_cap};
}

Tensor Llama::Norm(const Tensor& x, const std::string& name) const {
  const auto phase = ProfileScope::Phase("norms");
  return RmsNorm(x, Weight(name), static_cast<float>(config().rms_norm_eps),
                 options_.weights_from_one ? 1.0f : 0.0f);
}

Tensor Llama::GatedMlp(const Tensor& x, const std::string& name) const {
  const auto phase = ProfileScope::Phase("mlp");
  const std::vector<Tensor> inner =
      ProjectAll(x, name, {"gate_proj", "up_proj"});
  return Project(GatedActivation(inner[0], inner[1], config().activation),
                 name + "down_proj");
}

Tensor Llama::SelfAttention(int64_t layer, const Tensor& x,
                            std::span<const int32_t> positions,
                            const Pass& pass) const {
  const auto phase = ProfileScope::Phase("attention");
  const std::string name = Prefix(layer) + "self_attn.";
  std::vector<Tensor> qkv;
  if (pass.leaving.empty()) {
    qkv = ProjectAll(x, name, {"q_proj", "k_proj", "v_proj"});
  } else {
    qkv = ProjectAll(x, name, {"k_proj", "v_proj"});
    qkv.insert(qkv.begin(), Project(Leaving(x, pass), name + "q_proj"));
  }
  Tensor q = qkv[0], k = qkv[1];
  if (options_.query_key_norm) {
    q = Norm(q, name + "q_norm");
    k = Norm(k, name + "k_norm");
  }
  return Project(pass.attend(Rope(q, rope_, pass.leaving_positions),
                             Rope(k, rope_, positions), qkv[2]),
                 name + "o_proj");
}

Tensor Llama::Mlp(int64_t layer, const Tensor& x, const Pass&) const {
  return GatedMlp(x, Prefix(layer) + "mlp.");
}

Tensor Llama::Embed(std::span<const int32_t> tokens,
                    std::span<const int32_t>) const {
  const auto phase = ProfileScope::Phase("embed");
  const Tensor x = Embedding(Weight("model.embed_tokens"), tokens);
  if (!options_.scaled_embedding) return x;
  return Scale(x, std::sqrt(static_cast<float>(config().hidden_size)));
}

Tensor Llama::Block(int64_t layer, const Tensor& x,
                    std::span<const int32_t> positions,
                    const Pass& pass) const {
  const auto phase = ProfileScope::Phase("residual");
  const std::string prefix = Prefix(layer);
  const bool after = options_.norms_after;
  Tensor added = SelfAttention(layer, Norm(x, prefix + "input_layernorm"),
                               positions, pass);
  if (after) added = Norm(added, prefix + "post_attention_layernorm");
  const Tensor attended = Add(Leaving(x, pass), added);
  added = Mlp(layer,
              Norm(attended, prefix + (after ? "pre_feedforward_layernorm"
                                             : "post_attention_layernorm")),
              pass);
  if (after) added = Norm(added, prefix + "post_feedforward_layernorm");
  return Add(attended, added);
}

Tensor Llama::FinalNorm(const Tensor& x) const { return Norm(x, "model.norm"); }

absl::Status ReadLlamaShape(const ConfigFields& fields, ModelConfig& config) {
  for (const auto& [key, value] :
       {std::pair{"hidden_size", &config.hidden_size},
        {"intermediate_size", &config.intermediate_size},
        {"num_hidden_layers", &config.num_hidden_layers},
        {"num_attention_heads", &config.num_attention_heads}}) {
    ALIGN_RETURN_IF_ERROR(fields.Required(key, *value));
  }
  config.num_key_value_heads = config.num_attention_heads;
  ALIGN_RETURN_IF_ERROR(
      fields.Int("num_key_value_heads", config.num_key_value_heads));
  if (!fields.Has("head_dim") && config.head_dim == 0) {
    if (config.num_attention_heads <= 0 ||
        config.hidden_size % config.num_attention_heads != 0) {
      return fields.Wrong("hidden_size", "a multiple of num_attention_heads");
    }
    config.head_dim = config.hidden_size / config.num_attention_heads;
  }
  ALIGN_RETURN_IF_ERROR(fields.Int("head_dim", config.head_dim));
  ALIGN_RETURN_IF_ERROR(
      fields.Int("max_position_embeddings", config.max_position_embeddings));
  ALIGN_RETURN_IF_ERROR(fields.Number("rms_norm_eps", config.rms_norm_eps));
  ALIGN_RETURN_IF_ERROR(fields.ReadActivation("hidden_act", config.activation));
  return ReadRope(fields, config);
}

void WriteLlamaShape(const ModelConfig& config, JsonWriter& json) {
  json.Field("attention_dropout", 0.0);
  json.Field("head_dim", config.head_dim);
  json.Field("hidden_act", ActivationName(config.activation));
  json.Field("hidden_size", config.hidden_size);
  json.Field("intermediate_size", config.intermediate_size);
  json.Field("max_position_embeddings", config.max_position_embeddings);
  json.Field("num_attention_heads", config.num_attention_heads);
  json.Field("num_hidden_layers", config.num_hidden_layers);
  json.Field("num_key_value_heads", config.num_key_value_heads);
  json.Field("rms_norm_eps", config.rms_norm_eps);
  WriteRope(config, json);
}

absl::Status ValidateLlama(const ModelConfig& config) {
  return ValidateRope(config, config.head_dim);
}

absl::Status ReadWindow(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(fields.Int("sliding_window", config.sliding_window));
  if (fields.IsNull("sliding_window")) config.sliding_window = 0;
  if (fields.Has("sliding_window") && config.sliding_window <= 0) {
    return fields.Wrong("sliding_window", "null or a positive integer");
  }
  return absl::OkStatus();
}

void WriteWindow(const ModelConfig& config, JsonWriter& json) {
  json.Key("sliding_window");
  if (config.sliding_window > 0) {
    json.Value(config.sliding_window);
  } else {
    json.Null();
  }
}

absl::Status ReadLayerTypes(const ConfigFields& fields, ModelConfig& config) {
  if (!fields.Has("layer_types")) return absl::OkStatus();
  std::vector<std::string> types;
  ALIGN_RETURN_IF_ERROR(fields.Texts("layer_types", types));
  config.sliding_layers.clear();
  for (const std::string& type : types) {
    if (type != "sliding_attention" && type != "full_attention") {
      return fields.Unsupported("layer_types", type,
                                "sliding_attention or full_attention");
    }
    config.sliding_layers.push_back(type == "sliding_attention");
  }
  return absl::OkStatus();
}

void WriteLayerTypes(const ModelConfig& config, JsonWriter& json) {
  json.Key("layer_types");
  json.BeginArray();
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    json.Value(config.Window(layer) > 0 ? "sliding_attention"
                                        : "full_attention");
  }
  json.EndArray();
}

absl::Status ReadLateWindow(const ConfigFields& fields, ModelConfig& config) {
  bool used = false;
  int64_t first = 28;
  config.sliding_window = 4096;
  ALIGN_RETURN_IF_ERROR(ReadWindow(fields, config));
  ALIGN_RETURN_IF_ERROR(fields.Bool("use_sliding_window", used));
  ALIGN_RETURN_IF_ERROR(fields.Int("max_window_layers", first));
  if (!used) config.sliding_window = 0;
  for (int64_t i = 0;
       i < std::clamp<int64_t>(config.num_hidden_layers, 0, kMaxListedLayers);
       ++i) {
    config.sliding_layers.push_back(i >= first);
  }
  ALIGN_RETURN_IF_ERROR(ReadLayerTypes(fields, config));
  if (config.sliding_window == 0) config.sliding_layers.clear();
  return absl::OkStatus();
}

void WriteLateWindow(const ModelConfig& config, JsonWriter& json) {
  WriteWindow(config, json);
  WriteLayerTypes(config, json);
  json.Field("use_sliding_window", config.sliding_window > 0);
}

std::vector<TensorSpec> LlamaTensors(const ModelConfig& config,
                                     const LlamaOptions& options,
                                     const LlamaParts& parts) {
  const int64_t width = config.hidden_size;
  const int64_t inner = config.intermediate_size;
  std::vector<TensorSpec> specs = {
      {"model.embed_tokens.weight", {config.vocab_size, width}}};
  const auto norm = [&](const std::string& name) {
    specs.push_back({name + ".weight", {width}});
  };
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const std::string prefix = "model.layers." + std::to_string(layer) + ".";
    norm(prefix + "input_layernorm");
    if (parts.attention != nullptr) {
      parts.attention(config, layer, specs);
    } else {
      AddAttention(config, options, prefix + "self_attn.", specs);
    }
    norm(prefix + "post_attention_layernorm");
    if (options.norms_after) norm(prefix + "pre_feedforward_layernorm");
    if (parts.mlp != nullptr) {
      parts.mlp(config, layer, specs);
    } else {
      const std::string mlp = prefix + "mlp.";
      AddLinear(specs, mlp + "gate_proj", inner, width, config.mlp_bias);
      AddLinear(specs, mlp + "up_proj", inner, width, config.mlp_bias);
      AddLinear(specs, mlp + "down_proj", width, inner, config.mlp_bias);
    }
    if (options.norms_after) norm(prefix + "post_feedforward_layernorm");
  }
  norm("model.norm");
  return specs;
}

namespace {

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(ReadLlamaShape(fields, config));
  ALIGN_RETURN_IF_ERROR(fields.Bool("attention_bias", config.attention_bias));
  return fields.Bool("mlp_bias", config.mlp_bias);
}

void Write(const ModelConfig& config, JsonWriter& json) {
  WriteLlamaShape(config, json);
  json.Field("attention_bias", config.attention_bias);
  json.Field("mlp_bias", config.mlp_bias);
}

constexpr LlamaOptions kOptions = {};

}  // namespace

constexpr ModelFamily kLlamaFamily = {
    .family = Family::kLlama,
    .model_type = "llama",
    .language_model = "LlamaForCausalLM",
    .sequence_classifier = "LlamaForSequenceClassification",
    .defaults = [] { return ModelConfig(); },
    .read = Read,
    .write = Write,
    .validate = ValidateLlama,
    .trunk_tensors = TensorsOfLlama<kOptions>,
    .make = MakeLlama<kOptions>,
};

}  // namespace align
