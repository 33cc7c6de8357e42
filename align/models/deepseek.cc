// DeepSeek-V2 (DeepSeek-AI 2024, arXiv 2405.04434) and V3 (arXiv 2412.19437):
// multi-head latent attention, whose keys and values are expanded from one
// small vector a token and rotate in a part of their own, and a mixture of many
// small experts besides shared ones.
#include <cmath>
#include <memory>
#include <string>
#include <utility>

#include "align/models/llama.h"
#include "align/models/model_family.h"
#include "align/models/rope_scaling.h"
#include "align/ops/experts.h"
#include "align/ops/head_linear.h"

namespace align {
namespace {

constexpr LlamaOptions kOptions = {};

// Of the norms inside attention, whatever rms_norm_eps says: their makers left
// it at its default.
constexpr float kLatentEpsilon = 1e-6f;

constexpr char kBiasName[] = "gate.e_score_correction_bias";

bool IsThird(const ModelConfig& config) {
  return config.architecture.family == Family::kDeepseekV3;
}

class Deepseek : public Llama {
 public:
  explicit Deepseek(const ModelConfig& config)
      : Llama(config, kOptions, config.latent.rope_dim) {}

 protected:
  AttentionShape Shape(int64_t) const override {
    // YaRN's temperature of section 3.4 stands in the scale of the scores here.
    const RopeScaling& scaling = config().rope_scaling;
    const double magnitude =
        scaling.kind == RopeKind::kPlain || scaling.mscale_all_dim == 0
            ? 1
            : YarnMagnitude(scaling.factor, scaling.mscale_all_dim);
    const double root = std::sqrt(static_cast<double>(config().head_dim));
    return {.heads = config().num_attention_heads,
            .kv_heads = config().num_attention_heads,
            .head_dim = config().head_dim,
            .value_dim = config().latent.value_dim,
            .scale = magnitude * magnitude / root};
  }

  // Heads share the latent row and the rotated key behind it, in one row that
  // is read as value too; the heads' own matrices are in the queries.
  AttentionShape AbsorbedShape(int64_t layer) const override {
    AttentionShape shape = Shape(layer);
    shape.kv_heads = 1;
    shape.head_dim = config().latent.kv_rank + config().latent.rope_dim;
    shape.value_dim = shape.head_dim;
    return shape;
  }

  Tensor SelfAttention(int64_t layer, const Tensor& x,
                       std::span<const int32_t> positions,
                       const Pass& pass) const override {
    const LatentConfig& latent = config().latent;
    const int64_t heads = config().num_attention_heads;
    const std::string name = Prefix(layer) + "self_attn.";
    const Tensor q =
        Rope(Queries(Leaving(x, pass), name), rope(), pass.leaving_positions,
             {.head_dim = config().head_dim,
              .offset = latent.nope_dim,
              .interleaved = latent.interleaved});
    const Tensor small = Project(x, name + "kv_a_proj_with_mqa");
    const Tensor rotated =
        Rope(SliceHeads(small, 1, latent.kv_rank, latent.rope_dim), rope(),
             positions, {.interleaved = latent.interleaved});
    const Tensor compressed =
        LatentNorm(SliceHeads(small, 1, 0, latent.kv_rank), name + "kv_a");
    if (pass.absorbed) {
      const Tensor mixed =
          AttendLatent(q, ConcatHeads(compressed, rotated, 1),
                       Weight(name + "kv_b_proj"), pass.attend);
      return Project(mixed, name + "o_proj");
    }
    const Tensor expanded = Project(compressed, name + "kv_b_proj");
    const Tensor k = ConcatHeads(
        SliceHeads(expanded, heads, 0, latent.nope_dim), rotated, heads);
    const Tensor v =
        SliceHeads(expanded, heads, latent.nope_dim, latent.value_dim);
    return Project(pass.attend(q, k, v), name + "o_proj");
  }

  Tensor Mlp(int64_t layer, const Tensor& x, const Pass& pass) const override {
    const ExpertConfig& experts = config().experts;
    const std::string name = Prefix(layer) + "mlp.";
    if (layer < experts.dense_layers) return GatedMlp(x, name);
    const Tensor bias = params().Has(name + kBiasName)
                            ? params().Get(name + kBiasName)
                            : Tensor();
    const Tensor logits = Project(x, name + "gate");
    const Routing routing =
        Route(logits,
              {.chosen = experts.chosen,
               .score = IsThird(config()) ? RouterOptions::Score::kSigmoid
                                          : RouterOptions::Score::kSoftmax,
               .groups = experts.groups,
               .groups_chosen = experts.groups_chosen,
               .group_best = IsThird(config()) ? 2 : 1,
               .normalise = experts.normalise,
               .scale = experts.scale},
              bias);
    if (pass.routers != nullptr) {
      pass.routers->push_back({.logits = logits, .experts = routing.experts});
    }
    const Tensor mixed = MixExperts(
        x, routing, experts.routed, [&](int64_t e, const Tensor& rows) {
          return GatedMlp(rows, name + "experts." + std::to_string(e) + ".");
        });
    return experts.shared == 0
               ? mixed
               : Add(mixed, GatedMlp(x, name + "shared_experts."));
  }

 private:
  // Attention among latent rows [N, kv_rank + rope_dim] -> [N, H * value_dim]:
  // q^T (W_k c) = (W_k^T q)^T c, and W_v can wait until the rows are mixed
  // (arXiv 2405.04434, section 2.1.2). `expand` is W_k over W_v, by head.
  Tensor AttendLatent(const Tensor& q, const Tensor& rows, const Tensor& expand,
                      const Attend& attend) const {
    const LatentConfig& latent = config().latent;
    const int64_t heads = config().num_attention_heads;
    const Tensor queries = HeadLinear(q, expand,
                                      {.heads = heads,
                                       .first = 0,
                                       .count = latent.nope_dim,
                                       .layout = WeightLayout::kInOut,
                                       .keep_rest = true});
    return HeadLinear(
        attend(queries, rows, rows), expand,
        {.heads = heads, .first = latent.nope_dim, .count = latent.value_dim});
  }
  Tensor LatentNorm(const Tensor& x, const std::string& name) const {
    return RmsNorm(x, Weight(name + "_layernorm"), kLatentEpsilon);
  }
  Tensor Queries(const Tensor& x, const std::string& name) const {
    if (config().latent.q_rank == 0) return Project(x, name + "q_proj");
    return Project(LatentNorm(Project(x, name + "q_a_proj"), name + "q_a"),
                   name + "q_b_proj");
  }
};

ModelConfig Defaults() {
  ModelConfig config;
  config.latent = {.q_rank = 1536,
                   .kv_rank = 512,
                   .nope_dim = 128,
                   .rope_dim = 64,
                   .value_dim = 128,
                   .interleaved = true};
  config.experts.scale = 1;
  return config;
}

ModelConfig DefaultsOfThird() {
  ModelConfig config = Defaults();
  config.max_position_embeddings = 4096;
  config.experts.normalise = true;
  config.experts.scale = 2.5;
  config.bos_token_id = 0;
  config.eos_token_ids = {1};
  return config;
}

absl::Status ReadLatent(const ConfigFields& fields, ModelConfig& config) {
  LatentConfig& latent = config.latent;
  if (fields.IsNull("q_lora_rank")) latent.q_rank = 0;
  for (const auto& [key, value] : {std::pair{"q_lora_rank", &latent.q_rank},
                                   {"kv_lora_rank", &latent.kv_rank},
                                   {"qk_nope_head_dim", &latent.nope_dim},
                                   {"qk_rope_head_dim", &latent.rope_dim},
                                   {"v_head_dim", &latent.value_dim}}) {
    ALIGN_RETURN_IF_ERROR(fields.Int(key, *value));
  }
  // head_dim of the file is that of the rotated part; ours is of the whole key.
  fields.Has("qk_head_dim");
  constexpr int64_t kLargest = int64_t{1} << 20;
  if (latent.nope_dim < 1 || latent.nope_dim > kLargest ||
      latent.rope_dim < 2 || latent.rope_dim > kLargest) {
    return fields.Wrong("qk_nope_head_dim and qk_rope_head_dim",
                        "sizes of 1 to 1048576");
  }
  config.head_dim = latent.nope_dim + latent.rope_dim;
  return fields.Bool("attention_bias", config.attention_bias);
}

absl::Status ReadExperts(const ConfigFields& fields, ModelConfig& config) {
  ExpertConfig& experts = config.experts;
  ALIGN_RETURN_IF_ERROR(fields.Required("n_routed_experts", experts.routed));
  ALIGN_RETURN_IF_ERROR(fields.Required("num_experts_per_tok", experts.chosen));
  ALIGN_RETURN_IF_ERROR(
      fields.Required("moe_intermediate_size", experts.inner));
  for (const auto& [key, value] :
       {std::pair{"n_shared_experts", &experts.shared},
        {"first_k_dense_replace", &experts.dense_layers},
        {"n_group", &experts.groups},
        {"topk_group", &experts.groups_chosen}}) {
    ALIGN_RETURN_IF_ERROR(fields.Int(key, *value));
  }
  ALIGN_RETURN_IF_ERROR(fields.Number("routed_scaling_factor", experts.scale));
  ALIGN_RETURN_IF_ERROR(fields.Bool("norm_topk_prob", experts.normalise));
  // Whether and how much a run trains against imbalance is the run's.
  fields.Has("aux_loss_alpha");
  ALIGN_RETURN_IF_ERROR(fields.Bool("seq_aux", experts.balance_by_sequence));
  int64_t every = 1;
  ALIGN_RETURN_IF_ERROR(fields.Int("moe_layer_freq", every));
  if (every == 1) return absl::OkStatus();
  return fields.Unsupported("moe_layer_freq", std::to_string(every), "1");
}

// What both versions have. ReadLlamaShape sees the file's head_dim, so ours is
// set after it.
absl::Status ReadBoth(const ConfigFields& fields, ModelConfig& config) {
  config.head_dim = 2;  // no multiple of heads is asked for
  ALIGN_RETURN_IF_ERROR(ReadLlamaShape(fields, config));
  config.num_key_value_heads = config.num_attention_heads;
  ALIGN_RETURN_IF_ERROR(ReadLatent(fields, config));
  return ReadExperts(fields, config);
}

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(ReadBoth(fields, config));
  ALIGN_RETURN_IF_ERROR(fields.Bool("mlp_bias", config.mlp_bias));
  std::string method = "greedy";
  ALIGN_RETURN_IF_ERROR(fields.Text("topk_method", method));
  if (method == "greedy") {
    config.experts.groups = config.experts.groups_chosen = 1;
  } else if (method != "group_limited_greedy") {
    return fields.Unsupported("topk_method", method,
                              "greedy or group_limited_greedy");
  }
  ALIGN_RETURN_IF_ERROR(fields.Only("scoring_func", "softmax"));
  // DeepSeek's code then leaves out routed_scaling_factor, transformers' does
  // not normalise at all.
  return fields.Only("norm_topk_prob", false);
}

absl::Status ReadThird(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(ReadBoth(fields, config));
  ALIGN_RETURN_IF_ERROR(
      fields.Bool("rope_interleave", config.latent.interleaved));
  ALIGN_RETURN_IF_ERROR(fields.Only("scoring_func", "sigmoid"));
  fields.Has("num_nextn_predict_layers");  // further heads for pre-training
  return fields.Only("topk_method", "noaux_tc");
}

void Write(const ModelConfig& config, JsonWriter& json) {
  ModelConfig rotated = config;
  rotated.head_dim = config.latent.rope_dim;
  WriteLlamaShape(rotated, json);
  json.Field("attention_bias", config.attention_bias);
  json.Key("q_lora_rank");
  if (config.latent.q_rank > 0) {
    json.Value(config.latent.q_rank);
  } else {
    json.Null();
  }
  json.Field("kv_lora_rank", config.latent.kv_rank);
  json.Field("qk_nope_head_dim", config.latent.nope_dim);
  json.Field("qk_rope_head_dim", config.latent.rope_dim);
  json.Field("v_head_dim", config.latent.value_dim);
  const ExpertConfig& experts = config.experts;
  json.Field("n_routed_experts", experts.routed);
  json.Field("n_shared_experts", experts.shared);
  json.Field("num_experts_per_tok", experts.chosen);
  json.Field("moe_intermediate_size", experts.inner);
  json.Field("first_k_dense_replace", experts.dense_layers);
  json.Field("n_group", experts.groups);
  json.Field("topk_group", experts.groups_chosen);
  json.Field("routed_scaling_factor", experts.scale);
  json.Field("norm_topk_prob", experts.normalise);
  json.Field("seq_aux", experts.balance_by_sequence);
  if (IsThird(config)) {
    json.Field("rope_interleave", config.latent.interleaved);
  } else {
    json.Field("mlp_bias", config.mlp_bias);
    json.Field("topk_method",
               experts.groups > 1 ? "group_limited_greedy" : "greedy");
  }
}

absl::Status Bad(const char* field, int64_t value, const char* expected) {
  return InvalidArgument(std::string(field) + " is " + std::to_string(value) +
                         "; " + expected + " expected");
}

absl::Status Validate(const ModelConfig& config) {
  const LatentConfig& latent = config.latent;
  constexpr int64_t kLargest = int64_t{1} << 20;
  for (const auto& [field, value] :
       {std::pair{"kv_lora_rank", latent.kv_rank},
        {"qk_nope_head_dim", latent.nope_dim},
        {"v_head_dim", latent.value_dim},
        {"num_attention_heads * v_head_dim",
         latent.value_dim > kLargest
             ? latent.value_dim
             : latent.value_dim * config.num_attention_heads}}) {
    if (value < 1 || value > kLargest) {
      return Bad(field, value, "1 to 1048576");
    }
  }
  if (latent.q_rank < 0 || latent.q_rank > kLargest) {
    return Bad("q_lora_rank", latent.q_rank, "null or 1 to 1048576");
  }
  if (config.head_dim != latent.nope_dim + latent.rope_dim) {
    return Bad("head_dim", config.head_dim,
               "qk_nope_head_dim + qk_rope_head_dim");
  }
  ALIGN_RETURN_IF_ERROR(ValidateExperts(config.experts));
  if (IsThird(config) && config.experts.groups * 2 > config.experts.routed) {
    return Bad("n_group", config.experts.groups,
               "groups of at least two experts");
  }
  return ValidateRope(config, latent.rope_dim);
}

void AddMlp(std::vector<TensorSpec>& specs, const std::string& name,
            int64_t inner, const ModelConfig& config) {
  const int64_t width = config.hidden_size;
  AddLinear(specs, name + "gate_proj", inner, width, config.mlp_bias);
  AddLinear(specs, name + "up_proj", inner, width, config.mlp_bias);
  AddLinear(specs, name + "down_proj", width, inner, config.mlp_bias);
}

void AddAttention(const ModelConfig& config, int64_t layer,
                  std::vector<TensorSpec>& specs) {
  const LatentConfig& latent = config.latent;
  const int64_t width = config.hidden_size, heads = config.num_attention_heads;
  const bool bias = config.attention_bias;
  const std::string name =
      "model.layers." + std::to_string(layer) + ".self_attn.";
  if (latent.q_rank == 0) {
    AddLinear(specs, name + "q_proj", heads * config.head_dim, width, false);
  } else {
    AddLinear(specs, name + "q_a_proj", latent.q_rank, width, bias);
    specs.push_back({name + "q_a_layernorm.weight", {latent.q_rank}});
    AddLinear(specs, name + "q_b_proj", heads * config.head_dim, latent.q_rank,
              false);
  }
  AddLinear(specs, name + "kv_a_proj_with_mqa",
            latent.kv_rank + latent.rope_dim, width, bias);
  specs.push_back({name + "kv_a_layernorm.weight", {latent.kv_rank}});
  AddLinear(specs, name + "kv_b_proj",
            heads * (latent.nope_dim + latent.value_dim), latent.kv_rank,
            false);
  AddLinear(specs, name + "o_proj", width, heads * latent.value_dim, bias);
}

void AddExperts(const ModelConfig& config, int64_t layer,
                std::vector<TensorSpec>& specs) {
  const ExpertConfig& experts = config.experts;
  const std::string name = "model.layers." + std::to_string(layer) + ".mlp.";
  if (layer < experts.dense_layers) {
    return AddMlp(specs, name, config.intermediate_size, config);
  }
  AddLinear(specs, name + "gate", experts.routed, config.hidden_size, false);
  if (IsThird(config)) {
    specs.push_back({name + kBiasName, {experts.routed}});
  }
  for (int64_t e = 0; e < experts.routed; ++e) {
    AddMlp(specs, name + "experts." + std::to_string(e) + ".", experts.inner,
           config);
  }
  if (experts.shared > 0) {
    AddMlp(specs, name + "shared_experts.", experts.shared * experts.inner,
           config);
  }
}

std::vector<TensorSpec> Tensors(const ModelConfig& config) {
  return LlamaTensors(config, kOptions,
                      {.attention = AddAttention, .mlp = AddExperts});
}

std::unique_ptr<Model> Make(const ModelConfig& config) {
  return std::make_unique<Deepseek>(config);
}

}  // namespace

constexpr ModelFamily kDeepseekV2Family = {
    .family = Family::kDeepseekV2,
    .model_type = "deepseek_v2",
    .language_model = "DeepseekV2ForCausalLM",
    .sequence_classifier = "DeepseekV2ForSequenceClassification",
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = Validate,
    .trunk_tensors = Tensors,
    .make = Make,
};

constexpr ModelFamily kDeepseekV3Family = {
    .family = Family::kDeepseekV3,
    .model_type = "deepseek_v3",
    .language_model = "DeepseekV3ForCausalLM",
    .sequence_classifier = "DeepseekV3ForSequenceClassification",
    .no_linear = ".mlp.gate.weight",  // a module of its own in transformers
    .defaults = DefaultsOfThird,
    .read = ReadThird,
    .write = Write,
    .validate = Validate,
    .trunk_tensors = Tensors,
    .make = Make,
};

}  // namespace align
