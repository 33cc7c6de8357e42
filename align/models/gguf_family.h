#pragma once

// How llama.cpp lays out the tensors of the families that it shares with us:
// names and changes of values. Source: its gguf-py/gguf/tensor_mapping.py and
// src/models.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "align/models/model_config.h"
#include "align/ops/ops.h"

namespace align {

// What becomes of a tensor's values.
enum class GgufChange {
  kNone,
  kTranspose,  // [inputs, outputs], as GPT-2 has it, to [outputs, inputs]
  kAddOne,     // norm weights, where ours are relative to 1
  kQueries,    // rows of rotated heads, in the order that its RoPE wants
  kKeys,
};

// Names without ".weight" or ".bias"; '*' is a layer's number.
struct GgufName {
  std::string_view from, to;
  GgufChange change = GgufChange::kNone;
};

// A family as llama.cpp computes it.
struct GgufFamily {
  Family family;
  std::string_view architecture;
  std::span<const GgufName> names, norms;
  bool neighbours_rotate = false;  // RoPE turns elements 2i and 2i + 1
  bool norms_from_one = false;     // ours are relative to 1, its are factors
  bool attention_bias = false;     // it has room for biases of attention
  bool mlp_bias = false;
  bool untied = true;  // it has room for a head of its own
  Activation activation = Activation::kSilu;
};

// nullptr for one that we do not export.
const GgufFamily* FindGgufFamily(Family family);
// "llama, mistral, ...", for messages.
std::string GgufFamilyNames();

// A tensor of ours in a file of theirs.
struct GgufPlace {
  std::string name;
  GgufChange change = GgufChange::kNone;
};
// nullopt if the family has no such tensor there.
std::optional<GgufPlace> PlaceInGguf(const GgufFamily& family,
                                     std::string_view name);

// Changes the values of a row-major tensor in place; a transposed one's shape
// is the caller's to turn around.
void ChangeForGguf(const GgufFamily& family, const ModelConfig& config,
                   GgufChange change, std::span<const int64_t> shape,
                   std::span<float> values);

}  // namespace align
