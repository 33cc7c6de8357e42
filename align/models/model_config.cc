#include "align/models/model_config.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "align/base/files.h"
#include "align/base/json_document.h"
#include "align/base/log.h"
#include "align/models/config_fields.h"
#include "align/models/model_family.h"

namespace align {
namespace {

constexpr int64_t kMaxConfigBytes = 16 << 20;
constexpr size_t kMaxJsonDepth = 64;

// Bounds that keep every count of elements or bytes below 2^60.
constexpr int64_t kMaxWidth = int64_t{1} << 20;
constexpr int64_t kMaxVocabulary = int64_t{1} << 24;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxPositions = int64_t{1} << 30;

absl::StatusOr<Architecture> ReadArchitecture(const ConfigFields& fields) {
  std::string_view name;
  if (!fields.Has("architectures") ||
      fields.object()["architectures"].at(0).get(name) != simdjson::SUCCESS) {
    return fields.Wrong("architectures", "a list with the model's class");
  }
  std::string known;
  for (const ModelFamily* family : ModelFamilies()) {
    if (family->language_model == name) {
      return Architecture{family->family, HeadKind::kLanguageModel};
    }
    if (family->sequence_classifier == name) {
      return Architecture{family->family, HeadKind::kSequenceClassifier};
    }
    known.append(family->language_model).append(", ");
  }
  return Unimplemented(fields.where() + ": architecture " +
                       std::string(name.substr(0, 128)) +
                       " is not supported; " + known +
                       "or one of their ForSequenceClassification expected");
}

// Weights that a quantizer has rewritten are not the tensors that we expect.
absl::Status RefuseQuantization(const ConfigFields& fields) {
  if (!fields.Has("quantization_config")) return absl::OkStatus();
  return Unimplemented(fields.where() +
                       ": quantization_config is not supported; weights in "
                       "F32, F16 or BF16 expected");
}

// transformers counts id2label; a bare num_labels comes from hand-made files.
absl::Status ReadLabelCount(const ConfigFields& fields, int64_t& num_labels) {
  if (!fields.Has("id2label")) {
    num_labels = 2;
    return fields.Int("num_labels", num_labels);
  }
  simdjson::dom::object labels;
  if (fields.object()["id2label"].get(labels) != simdjson::SUCCESS) {
    return fields.Wrong("id2label", "an object");
  }
  num_labels = static_cast<int64_t>(labels.size());
  return absl::OkStatus();
}

// Fields that every transformers config may hold and that say nothing about
// the numbers of a forward pass: generation defaults, heads of other tasks,
// dropouts, bookkeeping.
constexpr std::string_view kNeutral[] = {
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_name_or_path",
    "add_cross_attention",
    "attention_dropout",
    "attn_pdrop",
    "auto_map",
    "aux_loss_alpha",
    "ep_size",
    "output_router_logits",
    "router_aux_loss_coef",
    "seq_aux",
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "cross_attention_hidden_size",
    "decoder_start_token_id",
    "diversity_penalty",
    "do_sample",
    "dtype",
    "early_stopping",
    "embd_pdrop",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "finetuning_task",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "hidden_dropout",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_encoder_decoder",
    "label2id",
    "length_penalty",
    "max_length",
    "min_length",
    "model_type",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_labels",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_scores",
    "prefix",
    "pretraining_tp",
    "problem_type",
    "pruned_heads",
    "remove_invalid_values",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "return_dict_in_generate",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "suppress_tokens",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "typical_p",
    "use_bfloat16",
    "use_cache",
};

std::vector<std::string> UnreadFields(const ConfigFields& fields) {
  std::vector<std::string> unread = fields.Unread();
  std::erase_if(unread, [](const std::string& name) {
    return std::find(std::begin(kNeutral), std::end(kNeutral), name) !=
           std::end(kNeutral);
  });
  return unread;
}

absl::Status Bad(const std::string& name, const std::string& value,
                 const std::string& expected) {
  return InvalidArgument(name + " is " + value + "; " + expected + " expected");
}

absl::Status CheckAttention(const ModelConfig& config) {
  if (config.sliding_window < 0 || config.sliding_window > kMaxPositions) {
    return Bad("sliding_window", std::to_string(config.sliding_window),
               "1 to " + std::to_string(kMaxPositions));
  }
  const auto layers = static_cast<int64_t>(config.sliding_layers.size());
  if (layers != 0 && layers != config.num_hidden_layers) {
    return Bad("the length of layer_types", std::to_string(layers),
               "num_hidden_layers " + std::to_string(config.num_hidden_layers));
  }
  for (const auto& [name, value] :
       {std::pair{"query_pre_attn_scalar", config.query_scalar},
        {"attn_logit_softcapping", config.attention_soft_cap},
        {"final_logit_softcapping", config.logit_soft_cap}}) {
    if (!(value >= 0) || !std::isfinite(value)) {
      return Bad(name, std::to_string(value), "a positive number");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIds(const ModelConfig& config) {
  std::vector<int32_t> ids = config.eos_token_ids;
  if (config.bos_token_id) ids.push_back(*config.bos_token_id);
  if (config.pad_token_id) ids.push_back(*config.pad_token_id);
  for (const int32_t id : ids) {
    if (id < 0 || id >= config.vocab_size) {
      return Bad("a bos, eos or pad token id", std::to_string(id),
                 "at least 0 and below vocab_size " +
                     std::to_string(config.vocab_size));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateConfig(const ModelConfig& config) {
  struct Range {
    const char* name;
    int64_t value;
    int64_t most;
  };
  for (const Range& range : {
           Range{"vocab_size", config.vocab_size, kMaxVocabulary},
           Range{"hidden_size", config.hidden_size, kMaxWidth},
           Range{"intermediate_size", config.intermediate_size, kMaxWidth},
           Range{"num_hidden_layers", config.num_hidden_layers, kMaxLayers},
           Range{"num_attention_heads", config.num_attention_heads, kMaxWidth},
           Range{"num_key_value_heads", config.num_key_value_heads, kMaxWidth},
           Range{"head_dim", config.head_dim, kMaxWidth},
           Range{"max_position_embeddings", config.max_position_embeddings,
                 kMaxPositions},
           Range{"num_labels", config.num_labels, kMaxWidth},
       }) {
    if (range.value < 1 || range.value > range.most) {
      return Bad(range.name, std::to_string(range.value),
                 "1 to " + std::to_string(range.most));
    }
  }
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    return Bad("num_attention_heads",
               std::to_string(config.num_attention_heads),
               "a multiple of num_key_value_heads " +
                   std::to_string(config.num_key_value_heads));
  }
  if (config.num_attention_heads * config.head_dim > kMaxWidth) {
    return Bad("num_attention_heads * head_dim",
               std::to_string(config.num_attention_heads * config.head_dim),
               "at most " + std::to_string(kMaxWidth));
  }
  if (!(config.rms_norm_eps >= 0) || !(config.rms_norm_eps < 1)) {
    return Bad("rms_norm_eps", std::to_string(config.rms_norm_eps), "0 to 1");
  }
  // More is a list of tensors that outgrows any file that names them.
  constexpr int64_t kMaxExpertsOfAllLayers = 1 << 16;
  if (config.experts.routed >
      kMaxExpertsOfAllLayers / config.num_hidden_layers) {
    return Bad(
        "the number of experts", std::to_string(config.experts.routed),
        "at most " + std::to_string(kMaxExpertsOfAllLayers) + " in all layers");
  }
  ALIGN_RETURN_IF_ERROR(CheckAttention(config));
  ALIGN_RETURN_IF_ERROR(FamilyOf(config).validate(config));
  return CheckIds(config);
}

absl::Status ValidateExperts(const ExpertConfig& experts) {
  constexpr int64_t kMaxExperts = 1024;
  struct Range {
    const char* name;
    int64_t value, least, most;
  };
  const int64_t routed = experts.routed;
  for (const Range& range :
       {Range{"the number of experts", routed, 1, kMaxExperts},
        Range{"experts a token", experts.chosen, 1, routed},
        Range{"the width of an expert", experts.inner, 1, kMaxWidth},
        Range{"n_shared_experts", experts.shared, 0, kMaxExperts},
        Range{"first_k_dense_replace", experts.dense_layers, 0, kMaxLayers},
        Range{"n_group", experts.groups, 1, routed},
        Range{"topk_group", experts.groups_chosen, 1, experts.groups},
        Range{"n_shared_experts * moe_intermediate_size",
              std::min(experts.shared, kMaxExperts) *
                  std::min(experts.inner, kMaxWidth),
              0, kMaxWidth}}) {
    if (range.value < range.least || range.value > range.most) {
      return Bad(
          range.name, std::to_string(range.value),
          std::to_string(range.least) + " to " + std::to_string(range.most));
    }
  }
  if (routed % experts.groups != 0) {
    return Bad("n_group", std::to_string(experts.groups),
               "a divisor of the number of experts");
  }
  if (experts.chosen > routed / experts.groups * experts.groups_chosen) {
    return Bad("num_experts_per_tok", std::to_string(experts.chosen),
               "at most the experts of topk_group groups");
  }
  if (!std::isfinite(experts.scale)) {
    return Bad("routed_scaling_factor", std::to_string(experts.scale),
               "a number");
  }
  return absl::OkStatus();
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view json,
                                             const std::string& where,
                                             std::vector<std::string>* unread) {
  simdjson::dom::parser parser;
  ALIGN_ASSIGN_OR_RETURN(const simdjson::dom::object root,
                         ParseJsonObject(parser, json, where, kMaxJsonDepth));
  const ConfigFields fields(root, where);
  ModelConfig config;
  ALIGN_ASSIGN_OR_RETURN(config.architecture, ReadArchitecture(fields));
  const ModelFamily& family = FamilyOf(config);
  const Architecture architecture = config.architecture;
  config = family.defaults();
  config.architecture = architecture;
  ALIGN_RETURN_IF_ERROR(RefuseQuantization(fields));
  ALIGN_RETURN_IF_ERROR(fields.Required("vocab_size", config.vocab_size));
  ALIGN_RETURN_IF_ERROR(
      fields.Bool("tie_word_embeddings", config.tie_word_embeddings));
  ALIGN_RETURN_IF_ERROR(family.read(fields, config));
  ALIGN_RETURN_IF_ERROR(fields.Id("bos_token_id", config.bos_token_id));
  ALIGN_RETURN_IF_ERROR(fields.Id("pad_token_id", config.pad_token_id));
  ALIGN_RETURN_IF_ERROR(fields.Ids("eos_token_id", config.eos_token_ids));
  if (config.classifier()) {
    ALIGN_RETURN_IF_ERROR(ReadLabelCount(fields, config.num_labels));
  }
  const absl::Status valid = ValidateConfig(config);
  if (!valid.ok()) return Annotate(valid, where);
  if (unread != nullptr) *unread = UnreadFields(fields);
  return config;
}

absl::StatusOr<ModelConfig> ReadModelConfig(const std::string& directory) {
  const std::string path = directory + "/config.json";
  ALIGN_ASSIGN_OR_RETURN(const std::string json,
                         ReadFile(path, kMaxConfigBytes));
  std::vector<std::string> unread;
  auto config = ParseModelConfig(json, path, &unread);
  if (config.ok() && !unread.empty()) {
    std::string names;
    for (const std::string& name : unread) {
      names.append(names.empty() ? "" : ", ").append(name);
    }
    std::replace_if(
        names.begin(), names.end(),
        [](char c) { return static_cast<unsigned char>(c) < 0x20; }, '?');
    LogInfo(path + ": fields that are not known and not used: " + names);
  }
  return config;
}

}  // namespace align
