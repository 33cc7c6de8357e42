#include "bench/bench_model.h"

#include <set>
#include <string>
#include <vector>

#include "align/models/tensor_spec.h"

namespace align::bench {
namespace {

constexpr uint64_t kSeed = 1;  // of every new weight

ModelConfig TinyConfig() {
  return {.vocab_size = 64,
          .hidden_size = 32,
          .intermediate_size = 64,
          .num_hidden_layers = 2,
          .num_attention_heads = 4,
          .num_key_value_heads = 2,
          .head_dim = 8,
          .max_position_embeddings = 512,
          .eos_token_ids = {2}};
}

ModelConfig SmallConfig() {
  return {.vocab_size = 32000,
          .hidden_size = 512,
          .intermediate_size = 1376,
          .num_hidden_layers = 8,
          .num_attention_heads = 8,
          .num_key_value_heads = 4,
          .head_dim = 64,
          .max_position_embeddings = 2048,
          .tie_word_embeddings = true};
}

}  // namespace

absl::StatusOr<ModelConfig> BenchConfig(const std::string& name) {
  if (name == "tiny") return TinyConfig();
  if (name == "small") return SmallConfig();
  return ReadModelConfig(name);
}

absl::StatusOr<std::unique_ptr<Model>> BenchModel(const std::string& name) {
  if (name != "tiny" && name != "small") return LoadModel(name);
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig config, BenchConfig(name));
  return CreateModel(config, Rng(kSeed));
}

absl::StatusOr<std::unique_ptr<Model>> BenchRewardModel(
    const std::string& name) {
  if (name != "tiny" && name != "small") {
    return LoadRewardModel(name, Rng(kSeed));
  }
  // Weights are drawn by name: the trunk is that of BenchModel.
  ALIGN_ASSIGN_OR_RETURN(ModelConfig config, BenchConfig(name));
  config.architecture.head = HeadKind::kSequenceClassifier;
  return CreateModel(config, Rng(kSeed));
}

std::vector<int32_t> RandomTokens(int64_t count, int64_t vocab, Rng rng) {
  std::vector<int32_t> tokens(count);
  for (int32_t& token : tokens) {
    token = static_cast<int32_t>(rng.Below(static_cast<uint64_t>(vocab)));
  }
  return tokens;
}

PackedBatch RandomBatch(const BatchShape& shape, int64_t vocab) {
  PackedBatch batch;
  uint64_t stream = 0;
  const auto draw = [&](int64_t count) {
    return RandomTokens(count, vocab, Rng(kSeed).Fork(stream++));
  };
  for (int64_t p = 0; p < shape.prompts; ++p) {
    const int32_t prompt = batch.AppendPrompt(draw(shape.prompt_tokens));
    for (int64_t r = 0; r < shape.replies; ++r) {
      batch.AppendCompletion(prompt, draw(shape.reply_tokens));
    }
  }
  return batch;
}

int64_t RowsRead(const PackedBatch& batch) {
  const std::vector<int32_t> rows =
      batch.scored.empty() ? batch.last_rows : RowsOf(batch.scored);
  return static_cast<int64_t>(std::set(rows.begin(), rows.end()).size());
}

double ForwardFlops(const ModelConfig& config, const PackedBatch& batch) {
  const std::string last =
      "model.layers." + std::to_string(config.num_hidden_layers - 1) + ".";
  const auto all = static_cast<double>(batch.rows());
  const auto read = static_cast<double>(RowsRead(batch));
  double flops = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    if (!spec.name.starts_with("model.layers.") || spec.shape.size() != 2) {
      continue;
    }
    const bool leaving = spec.name.starts_with(last) &&
                         !spec.name.ends_with("k_proj.weight") &&
                         !spec.name.ends_with("v_proj.weight");
    flops += 2.0 * static_cast<double>(spec.shape[0] * spec.shape[1]) *
             (leaving ? read : all);
  }
  if (config.classifier()) return flops;
  return flops +
         2.0 * static_cast<double>(config.vocab_size * config.hidden_size) *
             static_cast<double>(batch.scored.size());
}

}  // namespace align::bench
