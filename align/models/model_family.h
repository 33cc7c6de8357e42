#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/json_writer.h"
#include "align/base/status.h"
#include "align/models/config_fields.h"
#include "align/models/model.h"
#include "align/models/model_config.h"
#include "align/models/tensor_spec.h"

namespace align {

// Everything that one family of models does in its own way; one file a family
// defines it, and model_family.cc lists them.
struct ModelFamily {
  Family family;
  // Names in transformers: model_type and the classes.
  std::string_view model_type;
  std::string_view language_model;
  std::string_view sequence_classifier;
  // Names of tensors: what all of the trunk start with, the embedding table
  // [V, D] and the head [V, D] that is there unless the two are tied.
  std::string_view trunk = "model.";
  std::string_view embedding = "model.embed_tokens.weight";
  std::string_view head = "lm_head.weight";
  // What names of matrices in the trunk that are no linear layer's end with,
  // besides the embedding table's; empty: there are none. And how the weights
  // of linear layers lie.
  std::string_view no_linear = "";
  WeightLayout layout = WeightLayout::kOutIn;
  // What a new model's norm weights are, such that they change nothing.
  float norm_start = 1;

  // What transformers takes for fields that config.json does not have.
  ModelConfig (*defaults)();
  // Fields beyond those of every family (vocabulary, ids, tying, labels), and
  // the refusal of options that are not supported.
  absl::Status (*read)(const ConfigFields& fields, ModelConfig& config);
  // The same fields inside an open object.
  void (*write)(const ModelConfig& config, JsonWriter& json);
  // What ValidateConfig does not check for every family; kInvalidArgument.
  absl::Status (*validate)(const ModelConfig& config);
  // Every tensor but the head, in the order of computation.
  std::vector<TensorSpec> (*trunk_tensors)(const ModelConfig& config);
  // An empty model of a valid config.
  std::unique_ptr<Model> (*make)(const ModelConfig& config);
};

extern const ModelFamily kLlamaFamily;
extern const ModelFamily kMistralFamily;
extern const ModelFamily kQwen2Family;
extern const ModelFamily kQwen3Family;
extern const ModelFamily kGemmaFamily;
extern const ModelFamily kGemma2Family;
extern const ModelFamily kGpt2Family;
extern const ModelFamily kGptNeoxFamily;
extern const ModelFamily kMixtralFamily;
extern const ModelFamily kDeepseekV2Family;
extern const ModelFamily kDeepseekV3Family;

// All of them, and one.
std::span<const ModelFamily* const> ModelFamilies();
const ModelFamily& FamilyOf(const ModelConfig& config);

}  // namespace align
