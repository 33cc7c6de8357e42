#include "align/models/gguf_export.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <utility>
#include <vector>

#include "align/base/log.h"
#include "align/models/checkpoint_reader.h"
#include "align/models/gguf_family.h"
#include "align/models/model_family.h"
#include "align/models/rope_scaling.h"
#include "align/models/tensor_spec.h"

namespace align {
namespace {

// llama.cpp's enum llama_ftype.
uint32_t FileType(GgufType type) {
  switch (type) {
    case GgufType::kF32:
      return 0;
    case GgufType::kF16:
      return 1;
    case GgufType::kQ8_0:
      return 7;
    case GgufType::kBF16:
      break;
  }
  return 32;
}

absl::Status Refuse(const std::string& what) {
  return Unimplemented("GGUF: " + what);
}

absl::Status CheckRope(const GgufFamily& family, const RopeScaling& scaling) {
  if (scaling.kind == RopeKind::kLlama3 && family.architecture != "llama") {
    return Refuse("rope_scaling of type llama3 in " +
                  std::string(family.architecture) +
                  " is not supported: llama.cpp reads its frequencies in llama "
                  "alone");
  }
  if (scaling.kind == RopeKind::kYarn &&
      (scaling.attention_factor > 0 || scaling.mscale > 0 ||
       scaling.mscale_all_dim > 0 || !scaling.truncate)) {
    return Refuse(
        "rope_scaling of type yarn with attention_factor, mscale or truncate "
        "is not supported: llama.cpp has the paper's");
  }
  return absl::OkStatus();
}

// Gemma 2's windows and caps are not the file's to turn off.
absl::Status CheckGemma2(const ModelConfig& config) {
  if (config.attention_soft_cap == 0 || config.logit_soft_cap == 0) {
    return Refuse("gemma2 without soft caps is not supported");
  }
  for (size_t i = 0; i < config.sliding_layers.size(); ++i) {
    if (config.sliding_layers[i] != (i % 2 == 0)) {
      return Refuse(
          "layer_types: every other layer with a window expected, "
          "from the first on");
    }
  }
  return absl::OkStatus();
}

// Refuses what llama.cpp would compute otherwise, or not at all.
absl::Status CheckExportable(const ModelConfig& config) {
  const GgufFamily* family = FindGgufFamily(config.architecture.family);
  if (family == nullptr || config.classifier()) {
    return Refuse(std::string(ArchitectureName(config.architecture)) +
                  " is not supported; " + GgufFamilyNames() + " expected");
  }
  const std::string name(family->architecture);
  if (config.activation != family->activation) {
    return Refuse(
        "activation " + std::string(ActivationName(config.activation)) +
        " in " + name + " is not supported; " +
        std::string(ActivationName(family->activation)) + " expected");
  }
  for (const auto& [there, room, what] :
       {std::tuple{config.attention_bias, family->attention_bias,
                   "attention_bias"},
        {config.mlp_bias, family->mlp_bias, "mlp_bias"},
        {!config.tie_word_embeddings, family->untied,
         "tie_word_embeddings false"},
        {config.scale_scores_by_layer, false,
         "scale_attn_by_inverse_layer_idx"},
        {config.rotary_share != 1, false, "partial_rotary_factor"}}) {
    if (there && !room) {
      return Refuse(std::string(what) + " in " + name + " is not supported");
    }
  }
  if (config.architecture.family == Family::kGemma2) {
    ALIGN_RETURN_IF_ERROR(CheckGemma2(config));
  }
  return CheckRope(*family, config.rope_scaling);
}

// Positions whose numbers are the same there: up to where a window that it does
// not have would hide the first of them.
int64_t ContextLength(const ModelConfig& config, const std::string& path) {
  const PositionLimit limit = LimitOfPositions(config);
  int64_t positions = limit.positions;
  std::string reason = limit.reason;
  if (config.architecture.family != Family::kGemma2 &&
      config.sliding_window > 0 && config.sliding_window < positions) {
    positions = config.sliding_window;
    reason = ", as many as its sliding window: llama.cpp has none here";
  }
  if (positions < config.max_position_embeddings) {
    LogInfo(path + ": a context of " + std::to_string(positions) + " tokens" +
            reason);
  }
  return positions;
}

void AddRope(const ModelConfig& config, const std::string& arch,
             GgufMetadata& metadata) {
  const RopeScaling& scaling = config.rope_scaling;
  const auto add = [&](const char* key, GgufValue value) {
    metadata.emplace_back(arch + ".rope." + key, std::move(value));
  };
  add("freq_base", static_cast<float>(config.rope_theta));
  add("dimension_count", static_cast<uint32_t>(config.head_dim));
  if (scaling.kind != RopeKind::kLinear && scaling.kind != RopeKind::kYarn) {
    return;
  }
  const bool yarn = scaling.kind == RopeKind::kYarn;
  add("scaling.type", std::string(yarn ? "yarn" : "linear"));
  add("scaling.factor", static_cast<float>(scaling.factor));
  if (!yarn) return;
  add("scaling.original_context_length",
      static_cast<uint32_t>(scaling.original_positions > 0
                                ? scaling.original_positions
                                : config.max_position_embeddings));
  add("scaling.yarn_beta_fast", static_cast<float>(scaling.beta_fast));
  add("scaling.yarn_beta_slow", static_cast<float>(scaling.beta_slow));
}

GgufMetadata MetadataOf(const ModelConfig& config, const std::string& name,
                        GgufType type, int64_t context) {
  const bool gpt2 = config.architecture.family == Family::kGpt2;
  const std::string arch(
      FindGgufFamily(config.architecture.family)->architecture);
  GgufMetadata metadata = {{"general.architecture", arch},
                           {"general.name", name},
                           {"general.file_type", FileType(type)}};
  if (type == GgufType::kQ8_0) {
    metadata.emplace_back("general.quantization_version", uint32_t{2});
  }
  const auto size = [&](const char* key, int64_t value) {
    metadata.emplace_back(arch + key, static_cast<uint32_t>(value));
  };
  const auto number = [&](const char* key, double value) {
    metadata.emplace_back(arch + key, static_cast<float>(value));
  };
  size(".block_count", config.num_hidden_layers);
  size(".context_length", context);
  size(".embedding_length", config.hidden_size);
  size(".feed_forward_length", config.intermediate_size);
  size(".vocab_size", config.vocab_size);
  size(".attention.head_count", config.num_attention_heads);
  size(".attention.head_count_kv", config.num_key_value_heads);
  number(gpt2 ? ".attention.layer_norm_epsilon"
              : ".attention.layer_norm_rms_epsilon",
         config.rms_norm_eps);
  if (gpt2) return metadata;
  size(".attention.key_length", config.head_dim);
  size(".attention.value_length", config.head_dim);
  if (config.architecture.family == Family::kGemma2) {
    size(".attention.sliding_window", config.sliding_window > 0
                                          ? config.sliding_window
                                          : config.max_position_embeddings);
    number(".attn_logit_softcapping", config.attention_soft_cap);
    number(".final_logit_softcapping", config.logit_soft_cap);
  }
  AddRope(config, arch, metadata);
  return metadata;
}

// Of each rotated pair, what llama.cpp divides the plain frequency by.
GgufTensor RopeFactors(const ModelConfig& config) {
  return {.name = "rope_freqs.weight",
          .shape = {config.head_dim / 2},
          .read = [config](std::span<float> out) {
            ModelConfig plain = config;
            plain.rope_scaling = {};
            const auto before = RopeFrequencies(plain, config.head_dim);
            const auto after = RopeFrequencies(config, config.head_dim);
            for (size_t i = 0; i < out.size(); ++i) {
              out[i] = static_cast<float>(before[i] / after[i]);
            }
            return absl::OkStatus();
          }};
}

GgufType TypeFor(const GgufTensor& tensor, GgufType wanted) {
  if (tensor.shape.size() < 2 || tensor.name == "position_embd.weight") {
    return GgufType::kF32;
  }
  return tensor.shape.back() % GgufBlock(wanted) == 0 ? wanted : GgufType::kF16;
}

// The tensors in our order; `config` and `reader` must outlive them.
absl::StatusOr<std::vector<GgufTensor>> TensorsOf(
    const ModelConfig& config, const CheckpointReader& reader, GgufType type) {
  const GgufFamily& family = *FindGgufFamily(config.architecture.family);
  std::vector<GgufTensor> tensors;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const auto place = PlaceInGguf(family, spec.name);
    if (!place) {
      return Refuse("tensor " + spec.name + " is not supported in " +
                    std::string(family.architecture));
    }
    GgufTensor tensor{.name = place->name, .shape = spec.shape};
    if (place->change == GgufChange::kTranspose) {
      std::reverse(tensor.shape.begin(), tensor.shape.end());
    }
    tensor.type = TypeFor(tensor, type);
    tensor.read =
        [&config, &family, change = place->change, spec,
         info = FindTensor(config, reader, spec.name)](std::span<float> out) {
          ALIGN_RETURN_IF_ERROR(CopyToFloat(*info, out));
          ChangeForGguf(family, config, change, spec.shape, out);
          return absl::OkStatus();
        };
    tensors.push_back(std::move(tensor));
  }
  if (config.rope_scaling.kind == RopeKind::kLlama3) {
    tensors.push_back(RopeFactors(config));
  }
  return tensors;
}

}  // namespace

absl::Status WriteModelAsGguf(const std::string& directory,
                              const std::string& path,
                              const GgufOptions& options) {
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  ALIGN_RETURN_IF_ERROR(Annotate(CheckExportable(config), directory));
  ALIGN_ASSIGN_OR_RETURN(const CheckpointReader reader,
                         CheckpointReader::Open(directory));
  ALIGN_RETURN_IF_ERROR(CheckTensors(config, reader).status());
  ALIGN_ASSIGN_OR_RETURN(const std::vector<GgufTensor> tensors,
                         TensorsOf(config, reader, options.type));
  const std::filesystem::path absolute =
      std::filesystem::absolute(directory).lexically_normal();
  const std::string name = absolute.has_filename()
                               ? absolute.filename().string()
                               : absolute.parent_path().filename().string();
  GgufMetadata metadata =
      MetadataOf(config, name, options.type, ContextLength(config, path));
  metadata.insert(metadata.end(), options.metadata.begin(),
                  options.metadata.end());
  return WriteGguf(path, metadata, tensors);
}

}  // namespace align
