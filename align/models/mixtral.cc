// Mixtral (Jiang et al. 2024, arXiv 2401.04088): Mistral with a mixture of
// experts for an MLP.
#include <memory>
#include <string>

#include "align/models/llama.h"
#include "align/models/model_family.h"
#include "align/ops/experts.h"

namespace align {
namespace {

constexpr LlamaOptions kOptions = {};

std::string ExpertName(int64_t layer, int64_t expert) {
  return "model.layers." + std::to_string(layer) +
         ".block_sparse_moe.experts." + std::to_string(expert) + ".";
}

class Mixtral : public Llama {
 public:
  explicit Mixtral(const ModelConfig& config) : Llama(config, kOptions) {}

 protected:
  Tensor Mlp(int64_t layer, const Tensor& x, const Pass& pass) const override {
    const ExpertConfig& experts = config().experts;
    const Tensor logits = Project(x, Prefix(layer) + "block_sparse_moe.gate");
    const Routing routing =
        Route(logits, {.chosen = experts.chosen, .normalise = true});
    if (pass.routers != nullptr) {
      pass.routers->push_back({.logits = logits, .experts = routing.experts});
    }
    return MixExperts(
        x, routing, experts.routed, [&](int64_t e, const Tensor& rows) {
          const std::string name = ExpertName(layer, e);
          const std::vector<Tensor> inner =
              ProjectAll(rows, name, {"w1", "w3"});
          return Project(
              GatedActivation(inner[0], inner[1], config().activation),
              name + "w2");
        });
  }
};

ModelConfig Defaults() {
  ModelConfig config;
  config.max_position_embeddings = 131072;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 1e6;
  config.experts.routed = 8;
  config.experts.chosen = 2;
  return config;
}

absl::Status Read(const ConfigFields& fields, ModelConfig& config) {
  if (!fields.Has("num_key_value_heads")) {
    return fields.Wrong("num_key_value_heads", "an integer");
  }
  ALIGN_RETURN_IF_ERROR(ReadLlamaShape(fields, config));
  ALIGN_RETURN_IF_ERROR(ReadWindow(fields, config));
  ALIGN_RETURN_IF_ERROR(fields.Int("num_local_experts", config.experts.routed));
  ALIGN_RETURN_IF_ERROR(
      fields.Int("num_experts_per_tok", config.experts.chosen));
  config.experts.inner = config.intermediate_size;
  // Whether and how much a run trains against imbalance is the run's.
  fields.Has("output_router_logits");
  fields.Has("router_aux_loss_coef");
  double noise = 0;
  ALIGN_RETURN_IF_ERROR(fields.Number("router_jitter_noise", noise));
  if (noise == 0) return absl::OkStatus();
  return fields.Unsupported("router_jitter_noise", std::to_string(noise), "0");
}

void Write(const ModelConfig& config, JsonWriter& json) {
  WriteLlamaShape(config, json);
  WriteWindow(config, json);
  json.Field("num_local_experts", config.experts.routed);
  json.Field("num_experts_per_tok", config.experts.chosen);
}

absl::Status Validate(const ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(ValidateExperts(config.experts));
  return ValidateLlama(config);
}

void AddExperts(const ModelConfig& config, int64_t layer,
                std::vector<TensorSpec>& specs) {
  const int64_t width = config.hidden_size, inner = config.experts.inner;
  AddLinear(specs,
            "model.layers." + std::to_string(layer) + ".block_sparse_moe.gate",
            config.experts.routed, width, false);
  for (int64_t e = 0; e < config.experts.routed; ++e) {
    const std::string name = ExpertName(layer, e);
    AddLinear(specs, name + "w1", inner, width, false);
    AddLinear(specs, name + "w2", width, inner, false);
    AddLinear(specs, name + "w3", inner, width, false);
  }
}

}  // namespace

constexpr ModelFamily kMixtralFamily = {
    .family = Family::kMixtral,
    .model_type = "mixtral",
    .language_model = "MixtralForCausalLM",
    .sequence_classifier = "MixtralForSequenceClassification",
    .defaults = Defaults,
    .read = Read,
    .write = Write,
    .validate = Validate,
    .trunk_tensors =
        [](const ModelConfig& config) {
          return LlamaTensors(config, kOptions, {.mlp = AddExperts});
        },
    .make = [](const ModelConfig& config) -> std::unique_ptr<Model> {
      return std::make_unique<Mixtral>(config);
    },
};

}  // namespace align
