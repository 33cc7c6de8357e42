#include "align/models/memory_plan.h"

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "align/base/storage.h"
#include "align/models/model_cache.h"
#include "align/models/tensor_spec.h"

namespace align {
namespace {

// An arena of parameters: every tensor begins on a line of 16 floats.
int64_t ArenaBytes(const std::vector<Shape>& shapes) {
  int64_t floats = 0;
  for (const Shape& shape : shapes) {
    floats += (ElementCount(shape) + 15) / 16 * 16;
  }
  return StorageBytes(floats);
}

// Adds up the tensors that one pass of N tokens leaves on the tape; the
// methods follow the families' blocks operation by operation.
class TapeLedger {
 public:
  TapeLedger(const ModelConfig& config, int64_t rows)
      : config_(config), rows_(rows) {}

  int64_t bytes() const { return bytes_; }

  void Embed() {
    Rows(config_.hidden_size);
    switch (config_.architecture.family) {
      case Family::kGpt2:  // positions, and the sum
        Rows(config_.hidden_size, 2);
        break;
      case Family::kGemma:
      case Family::kGemma2:  // the scaled rows
        Rows(config_.hidden_size);
        break;
      default:
        break;
    }
  }

  void Block(int64_t layer) {
    const Family family = config_.architecture.family;
    const int64_t width = config_.hidden_size;
    Norm(width);
    if (family == Family::kGpt2 || family == Family::kGptNeox) {
      FusedAttention(family == Family::kGptNeox);
    } else if (config_.latent.kv_rank > 0) {
      LatentAttention();
    } else {
      SplitAttention(family == Family::kQwen3);
    }
    if (family == Family::kGemma2) Norm(width);
    Rows(width);  // the sum
    Norm(width);
    if (family == Family::kGpt2 || family == Family::kGptNeox) {
      Rows(config_.intermediate_size, 2);
      Rows(width);
    } else if (config_.experts.routed > 0 &&
               layer >= config_.experts.dense_layers) {
      Experts();
    } else {
      GatedMlp(config_.intermediate_size);
    }
    if (family == Family::kGemma2) Norm(width);
    Rows(width);
  }

  void FinalNorm() { Norm(config_.hidden_size); }

  // What an adapter adds to its layer.
  void Adapter(const LoraOptions& lora, const LoraSite& site) {
    const bool expert = site.module.find(".experts.") != std::string::npos;
    const int64_t rows = expert ? ExpertRows() : rows_;
    const bool drops = lora.dropout > 0, dora = lora.use_dora;
    Tensors(rows, lora.rank, 2);
    // What is left of the inputs; DoRA's base has what was dropped besides.
    if (drops) Tensors(rows, site.inputs, dora ? 3 : 1);
    if (dora) Tensors(rows, site.outputs, drops ? 3 : 1);
  }

  // Tensors [N, width] of their own.
  void Rows(int64_t width, int64_t count = 1) { Tensors(rows_, width, count); }

 private:
  void Tensors(int64_t rows, int64_t width, int64_t count = 1) {
    bytes_ += count * StorageBytes(rows * width);
  }

  // The rows, and a number or two for each.
  void Norm(int64_t width, int64_t heads = 1) {
    Rows(width * heads);
    Rows(heads);
  }

  // Rows that an expert sees when all are chosen as often.
  int64_t ExpertRows() const {
    const ExpertConfig& experts = config_.experts;
    return std::max<int64_t>(1, rows_ * experts.chosen / experts.routed);
  }

  void SplitAttention(bool norms) {
    const int64_t heads = config_.num_attention_heads;
    const int64_t kv_heads = config_.num_key_value_heads;
    Rows(heads * config_.head_dim, 3);     // q, rotated, attended
    Rows(kv_heads * config_.head_dim, 3);  // k, rotated, v
    if (norms) {
      Norm(config_.head_dim, heads);
      Norm(config_.head_dim, kv_heads);
    }
    Rows(config_.hidden_size);
  }

  void FusedAttention(bool rotates) {
    const int64_t width = config_.hidden_size;
    Rows(3 * width);
    Rows(width, 3 + (rotates ? 2 : 0) + 2);  // parts, rotated, attended, output
  }

  void LatentAttention() {
    const LatentConfig& latent = config_.latent;
    const int64_t heads = config_.num_attention_heads;
    const int64_t queries = heads * config_.head_dim;
    if (latent.q_rank > 0) {
      Rows(latent.q_rank);
      Norm(latent.q_rank);
    }
    Rows(queries, 2);                        // and rotated
    Rows(latent.kv_rank + latent.rope_dim);  // the small vector
    Rows(latent.rope_dim, 2);
    Rows(latent.kv_rank);
    Norm(latent.kv_rank);
    Rows(heads * (latent.nope_dim + latent.value_dim));
    Rows(heads * latent.nope_dim);
    Rows(queries);                      // keys
    Rows(heads * latent.value_dim, 2);  // values, attended
    Rows(config_.hidden_size);
  }

  void GatedMlp(int64_t inner) {
    Rows(inner, 3);
    Rows(config_.hidden_size);
  }

  void Experts() {
    const ExpertConfig& experts = config_.experts;
    const int64_t width = config_.hidden_size;
    Rows(experts.routed);
    Rows(experts.chosen);
    Tensors(ExpertRows(), width, 2 * experts.routed);  // rows and outputs
    Tensors(ExpertRows(), experts.inner, 3 * experts.routed);
    Rows(width);
    if (experts.shared == 0) return;
    GatedMlp(experts.shared * experts.inner);
    Rows(width);
  }

  const ModelConfig& config_;
  int64_t rows_;
  int64_t bytes_ = 0;
};

// What the walk back holds while it passes the last MLP: gradients of it.
int64_t BlockGradients(const ModelConfig& config, int64_t rows) {
  const int64_t inner = std::max(config.intermediate_size,
                                 config.experts.shared * config.experts.inner);
  return 3 * StorageBytes(rows * inner) +
         2 * StorageBytes(rows * config.hidden_size);
}

// What it holds while it passes the head: gathered rows, their gradients and
// the logits.
int64_t HeadTransient(const ModelConfig& config, const TrainingShape& shape) {
  constexpr int64_t kChunk = 4096;
  if (config.classifier()) return 0;
  const int64_t rows = shape.batch * shape.length;
  const int64_t vocab = config.vocab_size;
  const bool cached =
      rows * vocab * int64_t{sizeof(float)} <= shape.head_cache_mb << 20;
  int64_t logits = 0;
  for (int64_t begin = 0; begin < vocab; begin += kChunk) {
    const int64_t chunk = StorageBytes(rows * std::min(kChunk, vocab - begin));
    logits = cached ? logits + chunk : std::max(logits, chunk);
  }
  return logits + 2 * StorageBytes(rows * config.hidden_size);
}

// Bytes that block `layer` leaves on the tape, with its share of the adapters.
int64_t BlockBytes(const ModelConfig& config, int64_t rows, int64_t layer,
                   const LoraOptions* lora,
                   const std::vector<LoraSite>& sites) {
  TapeLedger ledger(config, rows);
  for (const LoraSite& site : sites) ledger.Adapter(*lora, site);
  const int64_t adapters = ledger.bytes() / config.num_hidden_layers;
  TapeLedger block(config, rows);
  block.Block(layer);
  return block.bytes() + adapters;
}

MemoryPlan Plan(const ModelConfig& config, const TrainingShape& shape,
                const LoraOptions* lora, const std::vector<LoraSite>& sites) {
  const int64_t rows = shape.batch * shape.length;
  TapeLedger ledger(config, rows);
  ledger.Embed();
  ledger.FinalNorm();
  int64_t blocks = 0, largest = 0;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    const int64_t block = BlockBytes(config, rows, layer, lora, sites);
    blocks += block;
    largest = std::max(largest, block);
  }
  const int64_t head = HeadTransient(config, shape);
  const int64_t gradients = BlockGradients(config, rows);
  if (!shape.recompute_activations) {
    return {.activations = ledger.bytes() + blocks,
            .transient = std::max(head, gradients)};
  }
  // The rows between blocks; the last one's stand in the block, too.
  const int64_t kept =
      config.num_hidden_layers * StorageBytes(rows * config.hidden_size);
  return {.activations = ledger.bytes() + kept,
          .transient = std::max(head, largest + gradients)};
}

// Whether a table gives rows and is no factor: one of positions, or of tokens
// that is not the head too.
bool OnlyLooksUp(const std::string& name, const ModelConfig& config) {
  const auto is = [&](std::string_view part) {
    return name.find(part) != std::string::npos;
  };
  if (is("wpe.")) return true;
  const bool head = config.tie_word_embeddings && !config.classifier();
  return !head && (is("embed_tokens.") || is("wte.") || is("embed_in."));
}

void AddTrained(int64_t arena, const TrainingShape& shape, MemoryPlan& plan) {
  plan.weights += arena;
  plan.gradients = arena;
  plan.optimizer = shape.optimizer_state * arena;
}

}  // namespace

int64_t WeightBytes(const ModelConfig& config) {
  std::vector<Shape> shapes;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    shapes.push_back(spec.shape);
  }
  return ArenaBytes(shapes);
}

int64_t PackedBytes(const ModelConfig& config, Precision precision) {
  // Panels of 64 columns, rows in sixteens; bf16 has them in pairs.
  const int64_t rows_apart = precision == Precision::kBf16 ? 32 : 16;
  const int64_t value_bytes = precision == Precision::kBf16 ? 2 : 4;
  const auto rounded = [](int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
  };
  int64_t bytes = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    if (spec.shape.size() != 2 || OnlyLooksUp(spec.name, config)) continue;
    bytes += value_bytes * rounded(spec.shape[0], 64) *
             rounded(spec.shape[1], rows_apart);
  }
  return bytes;
}

int64_t CacheBytesPerToken(const ModelConfig& config) {
  return CacheOf(config, CacheMode::kExact, Precision::kF32).bytes_per_token();
}

MemoryPlan PlanTraining(const ModelConfig& config, const TrainingShape& shape) {
  MemoryPlan plan = Plan(config, shape, nullptr, {});
  AddTrained(WeightBytes(config), shape, plan);
  return plan;
}

MemoryPlan PlanLoraTraining(const ModelConfig& config,
                            const TrainingShape& shape, const LoraOptions& lora,
                            const std::vector<LoraSite>& sites) {
  MemoryPlan plan = Plan(config, shape, &lora, sites);
  plan.weights = WeightBytes(config);
  std::vector<Shape> trained;
  for (const LoraSite& site : sites) {
    trained.push_back({lora.rank, site.inputs});
    trained.push_back({site.outputs, lora.rank});
    if (lora.use_dora) trained.push_back({site.outputs});
  }
  if (config.classifier()) {
    trained.push_back({config.num_labels, config.hidden_size});
  }
  AddTrained(ArenaBytes(trained), shape, plan);
  return plan;
}

}  // namespace align
