#include "align/config/export_job.h"

#include <utility>

#include "align/base/log.h"
#include "align/models/gguf_export.h"
#include "align/models/model_config.h"
#include "align/text/gguf_vocabulary.h"

namespace align {
namespace {

GgufMetadata TokenizerMetadata(GgufVocabulary vocabulary) {
  GgufMetadata metadata;
  const auto add = [&](const char* key, GgufValue value) {
    metadata.emplace_back(std::string("tokenizer.") + key, std::move(value));
  };
  const auto add_id = [&](const char* key, std::optional<int32_t> id) {
    if (id) add(key, static_cast<uint32_t>(*id));
  };
  const bool byte_pairs = vocabulary.model == "gpt2";  // merges, even if none
  add("ggml.model", std::move(vocabulary.model));
  if (!vocabulary.pre.empty()) add("ggml.pre", std::move(vocabulary.pre));
  add("ggml.tokens", std::move(vocabulary.tokens));
  if (!vocabulary.scores.empty()) {
    add("ggml.scores", std::move(vocabulary.scores));
    add("ggml.add_space_prefix", vocabulary.add_space_prefix);
  }
  add("ggml.token_type", std::move(vocabulary.types));
  if (byte_pairs) add("ggml.merges", std::move(vocabulary.merges));
  add_id("ggml.bos_token_id", vocabulary.bos);
  add_id("ggml.eos_token_id", vocabulary.eos);
  add_id("ggml.unknown_token_id", vocabulary.unknown);
  add_id("ggml.padding_token_id", vocabulary.padding);
  add("ggml.add_bos_token", vocabulary.add_bos);
  add("ggml.add_eos_token", vocabulary.add_eos);
  if (!vocabulary.chat_template.empty()) {
    add("chat_template", std::move(vocabulary.chat_template));
  }
  return metadata;
}

}  // namespace

absl::Status ExportGguf(const std::string& directory, const std::string& path,
                        GgufType type) {
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig config, ReadModelConfig(directory));
  ALIGN_ASSIGN_OR_RETURN(GgufVocabulary vocabulary,
                         ReadGgufVocabulary(directory));
  const auto size = static_cast<int64_t>(vocabulary.tokens.size());
  if (size > config.vocab_size) {
    return InvalidArgument(directory + ": the tokenizer has " +
                           std::to_string(size) + " ids; at most vocab_size " +
                           std::to_string(config.vocab_size) + " expected");
  }
  for (const std::string& difference : vocabulary.differences) {
    LogWarning(path +
               ": llama.cpp encodes some texts otherwise: " + difference);
  }
  vocabulary.PadTo(config.vocab_size);
  // Files name the ids of a model that its tokenizer does not.
  if (!vocabulary.bos) vocabulary.bos = config.bos_token_id;
  if (!vocabulary.eos && !config.eos_token_ids.empty()) {
    vocabulary.eos = config.eos_token_ids[0];
  }
  if (!vocabulary.padding) vocabulary.padding = config.pad_token_id;
  return WriteModelAsGguf(
      directory, path,
      {.type = type, .metadata = TokenizerMetadata(std::move(vocabulary))});
}

}  // namespace align
