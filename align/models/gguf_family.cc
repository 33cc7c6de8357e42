#include "align/models/gguf_family.h"

#include <algorithm>
#include <cmath>

#include "align/models/model_family.h"

namespace align {
namespace {

using Change = GgufChange;
using Row = GgufName;

// What all of Llama's kin share.
constexpr Row kLlamaRows[] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm", Change::kAddOne},
    {"lm_head", "output"},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", Change::kAddOne},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q", Change::kQueries},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k", Change::kKeys},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v"},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output"},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm"},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm"},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate"},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up"},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down"},
};
// One norm before attention, one before the MLP.
constexpr Row kNormsBefore[] = {
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm",
     Change::kAddOne},
};
constexpr Row kNormsAround[] = {
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm",
     Change::kAddOne},
    {"model.layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm",
     Change::kAddOne},
    {"model.layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm",
     Change::kAddOne},
};
constexpr Row kGpt2Rows[] = {
    {"transformer.wte", "token_embd"},
    {"transformer.wpe", "position_embd"},
    {"transformer.ln_f", "output_norm"},
    {"lm_head", "output"},
    {"transformer.h.*.ln_1", "blk.*.attn_norm"},
    {"transformer.h.*.attn.c_attn", "blk.*.attn_qkv", Change::kTranspose},
    {"transformer.h.*.attn.c_proj", "blk.*.attn_output", Change::kTranspose},
    {"transformer.h.*.ln_2", "blk.*.ffn_norm"},
    {"transformer.h.*.mlp.c_fc", "blk.*.ffn_up", Change::kTranspose},
    {"transformer.h.*.mlp.c_proj", "blk.*.ffn_down", Change::kTranspose},
};

constexpr GgufFamily kFamilies[] = {
    {.family = Family::kLlama,
     .architecture = "llama",
     .names = kLlamaRows,
     .norms = kNormsBefore,
     .neighbours_rotate = true,
     .attention_bias = true,
     .mlp_bias = true},
    {.family = Family::kMistral,
     .architecture = "llama",
     .names = kLlamaRows,
     .norms = kNormsBefore,
     .neighbours_rotate = true},
    {.family = Family::kQwen2,
     .architecture = "qwen2",
     .names = kLlamaRows,
     .norms = kNormsBefore,
     .attention_bias = true},
    {.family = Family::kQwen3,
     .architecture = "qwen3",
     .names = kLlamaRows,
     .norms = kNormsBefore},
    {.family = Family::kGemma,
     .architecture = "gemma",
     .names = kLlamaRows,
     .norms = kNormsBefore,
     .norms_from_one = true,
     .untied = false,
     .activation = Activation::kGeluTanh},
    {.family = Family::kGemma2,
     .architecture = "gemma2",
     .names = kLlamaRows,
     .norms = kNormsAround,
     .norms_from_one = true,
     .untied = false,
     .activation = Activation::kGeluTanh},
    {.family = Family::kGpt2,
     .architecture = "gpt2",
     .names = kGpt2Rows,
     .norms = {},
     .activation = Activation::kGeluTanh},
};

// `name` as `row` writes it; nullopt if it is another's.
std::optional<std::string> Rename(const Row& row, std::string_view name) {
  const size_t star = row.from.find('*');
  if (star == std::string_view::npos) {
    if (name != row.from) return std::nullopt;
    return std::string(row.to);
  }
  const std::string_view head = row.from.substr(0, star);
  const std::string_view tail = row.from.substr(star + 1);
  if (name.size() <= head.size() + tail.size() || !name.starts_with(head) ||
      !name.ends_with(tail)) {
    return std::nullopt;
  }
  const std::string_view number =
      name.substr(head.size(), name.size() - head.size() - tail.size());
  if (!std::all_of(number.begin(), number.end(),
                   [](char c) { return c >= '0' && c <= '9'; })) {
    return std::nullopt;
  }
  const size_t to = row.to.find('*');
  return std::string(row.to.substr(0, to)) + std::string(number) +
         std::string(row.to.substr(to + 1));
}

// RoPE turns elements i and i + d / 2 of a head here, 2i and 2i + 1 there: each
// head's rows are dealt out in turn from its two halves.
void DealRows(std::span<float> values, int64_t heads, int64_t head_dim) {
  const std::vector<float> from(values.begin(), values.end());
  const int64_t rows = heads * head_dim, half = head_dim / 2;
  const int64_t columns = static_cast<int64_t>(values.size()) / rows;
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t head = row / head_dim, at = row % head_dim;
    const int64_t source = head * head_dim + at / 2 + at % 2 * half;
    std::copy_n(from.data() + source * columns, columns,
                values.data() + row * columns);
  }
}

void Transpose(int64_t rows, int64_t columns, std::span<float> values) {
  const std::vector<float> from(values.begin(), values.end());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      values[j * rows + i] = from[i * columns + j];
    }
  }
}

// Gemma 2 divides scores by the root of a number of its own, llama.cpp by that
// of a head's size (of the width among heads, for the 46 layers of 27B): what
// differs goes into the queries.
double QueryScale(const ModelConfig& config) {
  if (config.architecture.family != Family::kGemma2) return 1;
  constexpr int64_t kLayersOf27B = 46;
  const int64_t divisor = config.num_hidden_layers == kLayersOf27B
                              ? config.hidden_size / config.num_attention_heads
                              : config.head_dim;
  const double wanted = config.query_scalar > 0
                            ? config.query_scalar
                            : static_cast<double>(config.head_dim);
  return std::sqrt(static_cast<double>(divisor) / wanted);
}

}  // namespace

const GgufFamily* FindGgufFamily(Family family) {
  const auto* found =
      std::find_if(std::begin(kFamilies), std::end(kFamilies),
                   [&](const GgufFamily& f) { return f.family == family; });
  return found == std::end(kFamilies) ? nullptr : found;
}

std::string GgufFamilyNames() {
  std::string names;
  for (const ModelFamily* family : ModelFamilies()) {
    if (FindGgufFamily(family->family) == nullptr) continue;
    names.append(names.empty() ? "" : ", ").append(family->language_model);
  }
  return names;
}

std::optional<GgufPlace> PlaceInGguf(const GgufFamily& family,
                                     std::string_view name) {
  const size_t dot = name.rfind('.');
  if (dot == std::string_view::npos) return std::nullopt;
  for (const std::span<const Row> rows : {family.names, family.norms}) {
    for (const Row& row : rows) {
      auto renamed = Rename(row, name.substr(0, dot));
      if (!renamed) continue;
      return GgufPlace{*std::move(renamed) + std::string(name.substr(dot)),
                       row.change};
    }
  }
  return std::nullopt;
}

void ChangeForGguf(const GgufFamily& family, const ModelConfig& config,
                   GgufChange change, std::span<const int64_t> shape,
                   std::span<float> values) {
  switch (change) {
    case Change::kNone:
      break;
    case Change::kTranspose:
      if (shape.size() == 2) Transpose(shape[0], shape[1], values);
      break;
    case Change::kAddOne:
      if (!family.norms_from_one) break;
      for (float& value : values) value += 1;
      break;
    case Change::kQueries:
      if (family.neighbours_rotate) {
        DealRows(values, config.num_attention_heads, config.head_dim);
      }
      if (const double scale = QueryScale(config); scale != 1) {
        for (float& value : values) value *= static_cast<float>(scale);
      }
      break;
    case Change::kKeys:
      if (family.neighbours_rotate) {
        DealRows(values, config.num_key_value_heads, config.head_dim);
      }
      break;
  }
}

}  // namespace align
