#pragma once

// Adapters on models, and PEFT directories: adapter_config.json and
// adapter_model.safetensors, as Hugging Face's PEFT reads and writes them.

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/rng.h"
#include "align/base/status.h"
#include "align/models/model.h"
#include "align/nn/lora.h"

namespace align {

// Every linear layer of the trunk, in the order of computation: attention, MLP,
// experts and their routers, as far as they are linear layers in transformers.
// Not the head.
std::vector<LoraSite> LinearLayers(const ModelConfig& config);

// Whether a layer of that whole name is meant by a regular expression.
using LayerMatch = std::function<bool(std::string_view)>;

// The layers that `options` targets as PEFT chooses them: a target names every
// layer whose name it is or ends with after a dot, "all-linear" all of them;
// with options.target_regex `match` says so, which is else not called.
// kInvalidArgument for a target that names nothing, with what there is;
// kUnimplemented for the embedding or the head.
absl::StatusOr<std::vector<LoraSite>> TargetLayers(
    const ModelConfig& config, const LoraOptions& options,
    const LayerMatch& match = nullptr);

// Puts new adapters on the target layers, with which the model still computes
// the same; its parameters are frozen. A classifier's head is trained whole.
// Errors of TargetLayers, and kInvalidArgument for options out of range.
absl::Status AddAdapters(const LoraOptions& options, const Rng& rng,
                         Model& model, const LayerMatch& match = nullptr);

// Puts what the adapters do into the parameters and takes them off.
void MergeAdapters(Model& model);

// What adapter_config.json says.
struct PeftConfig {
  LoraOptions lora;
  std::string base;          // base_model_name_or_path; may be empty
  bool any_target = false;   // target_modules is null: what the tensors are for
  bool saves_score = false;  // modules_to_save has the score head
};

// Parses adapter_config.json; `where` stands in front of every message.
// kInvalidArgument for malformed JSON and fields of the wrong type or range;
// kUnimplemented, naming it, for any field that asks for what we do not do:
// unknown ones too, unless they are null, false or empty.
absl::StatusOr<PeftConfig> ParsePeftConfig(std::string_view json,
                                           const std::string& where);

// The same of directory/adapter_config.json.
absl::StatusOr<PeftConfig> ReadPeftConfig(const std::string& directory);

// Whether there is an adapter_config.json.
bool IsAdapterDirectory(const std::string& directory);
// Its base: `override` unless that is empty; else the path that it names, if
// relative below the directory itself or else below the working directory.
// kNotFound when there is no model, kInvalidArgument when it is an adapter too.
absl::StatusOr<std::string> BaseDirectory(const std::string& directory,
                                          const std::string& override = "");
// The config of a model directory, or of a PEFT directory's base with the head
// that the adapters are for.
absl::StatusOr<ModelConfig> ConfigOf(const std::string& directory,
                                     const std::string& base = "");
// Where the tokenizer of a model directory is: a PEFT directory without one
// has its base's. Falls back to the directory itself.
std::string DirectoryOfTokenizer(const std::string& directory,
                                 const std::string& base = "");

// Puts the adapters of a PEFT directory on a model that fits them.
// kInvalidArgument names a tensor that is missing, unknown, of another shape or
// on no target; nothing is allocated before all fit.
absl::Status LoadAdapters(const std::string& directory, Model& model);
// The base with the adapters on it: a classifier if they have a score head.
absl::StatusOr<std::unique_ptr<Model>> LoadAdaptedModel(
    const std::string& directory, const std::string& base = "");

// Writes the adapters of `model`, which has some, as a PEFT directory on the
// model `base`, and carries the tokenizer files along. Loading it gives the
// same bits in f32.
absl::Status SaveAdapters(const Model& model, const std::string& directory,
                          const std::string& base,
                          const std::string& tokenizer_directory,
                          WeightFormat format = WeightFormat::kF32);
// Takes adapter_config.json out of a directory that another model is saved in.
void RemoveAdapterConfig(const std::string& directory);

}  // namespace align
