#include "align/cli/model_commands.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "align/base/memory.h"
#include "align/models/memory_plan.h"
#include "align/models/model_family.h"
#include "align/models/peft.h"
#include "align/models/tensor_spec.h"

namespace align::cli {
namespace {

int64_t ParameterCount(const ModelConfig& config) {
  int64_t total = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    total += ElementCount(spec.shape);
  }
  return total;
}

std::string Size(int64_t bytes) {
  const char* const units[] = {"B", "KB", "MB", "GB", "TB"};
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", value,
                units[unit]);
  return text;
}

void Line(const char* name, const std::string& value) {
  std::printf("%-22s %s\n", name, value.c_str());
}

// "64 heads of 128, 8 for keys and values".
std::string Attention(const ModelConfig& config) {
  std::string text = std::to_string(config.num_attention_heads) + " heads of " +
                     std::to_string(config.head_dim);
  if (config.latent.kv_rank > 0) {
    return text + ", latent of " + std::to_string(config.latent.kv_rank);
  }
  if (config.num_key_value_heads != config.num_attention_heads) {
    text += ", " + std::to_string(config.num_key_value_heads) +
            " for keys and values";
  }
  if (config.sliding_window > 0) {
    text += ", window " + std::to_string(config.sliding_window);
  }
  return text;
}

std::string Layers(const ModelConfig& config) {
  std::string text = std::to_string(config.num_hidden_layers) + " of " +
                     std::to_string(config.hidden_size) + ", MLP " +
                     std::to_string(config.intermediate_size);
  const ExpertConfig& experts = config.experts;
  if (experts.routed == 0) return text;
  text += ", " + std::to_string(experts.routed) + " experts of " +
          std::to_string(experts.inner) + ", " +
          std::to_string(experts.chosen) + " a token";
  if (experts.shared > 0) {
    text += " and " + std::to_string(experts.shared) + " shared";
  }
  return text;
}

std::string Head(const ModelConfig& config) {
  if (config.classifier()) {
    return "sequence classifier, " + std::to_string(config.num_labels) +
           (config.num_labels == 1 ? " label (reward model)" : " labels");
  }
  return "language model over " + std::to_string(config.vocab_size) +
         " tokens, " + (config.tie_word_embeddings ? "tied" : "of its own");
}

void PrintPlan(const char* name, const MemoryPlan& plan) {
  Line(name, Size(plan.Total()) + " = weights " + Size(plan.weights) +
                 " + gradients " + Size(plan.gradients) + " + optimizer " +
                 Size(plan.optimizer) + " + activations " +
                 Size(plan.activations) + " + passing " + Size(plan.transient));
}

// "q_proj,v_proj" -> both.
std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (end > begin) parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

// The adapters of a PEFT directory; else those that the flags ask for.
absl::StatusOr<LoraOptions> LoraOf(const Arguments& arguments) {
  LoraOptions lora;
  ALIGN_ASSIGN_OR_RETURN(lora.rank,
                         arguments.GetInteger("rank", lora.rank, 1, 1 << 16));
  if (arguments.Has("target")) {
    lora.targets = Split(arguments.Get("target", ""));
  }
  lora.use_dora = arguments.Has("dora");
  return lora;
}

absl::Status ShowAdapters(const std::string& directory) {
  ALIGN_ASSIGN_OR_RETURN(const PeftConfig peft, ReadPeftConfig(directory));
  const LoraOptions& lora = peft.lora;
  std::string targets = lora.target_regex;
  for (const std::string& target : lora.targets) {
    targets += (targets.empty() ? "" : ", ") + target;
  }
  Line("adapters", std::string(lora.use_dora ? "DoRA" : "LoRA") + " of rank " +
                       std::to_string(lora.rank) + ", scale " +
                       std::to_string(lora.Scale()) + " on " +
                       (targets.empty() ? "the layers of its file" : targets));
  return absl::OkStatus();
}

}  // namespace

absl::Status ShowCommand(const Arguments& arguments) {
  ALIGN_RETURN_IF_ERROR(ExpectPositional(arguments, 1, kShowUsage));
  const std::string& directory = arguments.positional[0];
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig config,
                         ConfigOf(directory, arguments.Get("base", "")));
  TrainingShape shape;
  ALIGN_ASSIGN_OR_RETURN(
      shape.batch, arguments.GetInteger("batch", shape.batch, 1, 1 << 16));
  const int64_t positions = config.max_position_embeddings;
  ALIGN_ASSIGN_OR_RETURN(
      shape.length,
      arguments.GetInteger("length", std::min(shape.length, positions), 1,
                           positions));
  ALIGN_ASSIGN_OR_RETURN(const LoraOptions lora, LoraOf(arguments));
  ALIGN_ASSIGN_OR_RETURN(const std::vector<LoraSite> sites,
                         TargetLayers(config, lora));
  Line("architecture", std::string(ArchitectureName(config.architecture)));
  if (IsAdapterDirectory(directory)) {
    ALIGN_RETURN_IF_ERROR(ShowAdapters(directory));
  }
  Line("parameters", std::to_string(ParameterCount(config)));
  Line("layers", Layers(config));
  Line("attention", Attention(config));
  Line("head", Head(config));
  Line("positions", std::to_string(positions));
  Line("KV cache", Size(CacheBytesPerToken(config)) + " a token");
  Line("load", Size(WeightBytes(config)));
  Line("packed", Size(PackedBytes(config, Precision::kF32)) +
                     " to sample in f32, " +
                     Size(PackedBytes(config, Precision::kBf16)) +
                     " to sample or score in bf16");
  std::printf("a step of %lld x %lld tokens, AdamW, f32:\n",
              static_cast<long long>(shape.batch),
              static_cast<long long>(shape.length));
  const std::string adapters =
      "  train LoRA, rank " + std::to_string(lora.rank);
  PrintPlan("  train all", PlanTraining(config, shape));
  PrintPlan(adapters.c_str(), PlanLoraTraining(config, shape, lora, sites));
  shape.recompute_activations = true;
  std::printf("the same with recompute_activations:\n");
  PrintPlan("  train all", PlanTraining(config, shape));
  PrintPlan(adapters.c_str(), PlanLoraTraining(config, shape, lora, sites));
  Line("available", Size(AvailableMemoryBytes()));
  return absl::OkStatus();
}

absl::Status MergeCommand(const Arguments& arguments) {
  ALIGN_RETURN_IF_ERROR(ExpectPositional(arguments, 1, kMergeUsage));
  const std::string& directory = arguments.positional[0];
  const std::string out = arguments.Get("out", "");
  const std::string format = arguments.Get("format", "f32");
  if (out.empty()) {
    return InvalidArgument(std::string("--out is missing. Usage: ") +
                           kMergeUsage);
  }
  if (format != "f32" && format != "bf16") {
    return InvalidArgument("--format " + format + ": expected f32 or bf16");
  }
  if (!IsAdapterDirectory(directory)) {
    return InvalidArgument(directory +
                           ": no adapter_config.json; expected the directory "
                           "of an adapter");
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string base,
                         BaseDirectory(directory, arguments.Get("base", "")));
  if (std::filesystem::weakly_canonical(out) ==
          std::filesystem::weakly_canonical(base) ||
      std::filesystem::weakly_canonical(out) ==
          std::filesystem::weakly_canonical(directory)) {
    return InvalidArgument("--out " + out +
                           ": expected another directory than the adapter's "
                           "and its base's");
  }
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                         LoadModel(directory, base));
  const std::string tokenizer = DirectoryOfTokenizer(directory);
  ALIGN_RETURN_IF_ERROR(
      SaveModel(*model, out, tokenizer == directory ? directory : base,
                format == "f32" ? WeightFormat::kF32 : WeightFormat::kBf16));
  std::printf("model: %s\n", out.c_str());
  return absl::OkStatus();
}

}  // namespace align::cli
