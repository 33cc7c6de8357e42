#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/models/checkpoint_reader.h"
#include "align/models/model_config.h"

namespace align {

// A tensor that a model needs: its Hugging Face name and row-major shape.
// Linear weights are [outputs, inputs].
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
};

// Every tensor of a valid `config` in the order of computation: embedding
// [V, D], per layer the norms [D], attention and MLP, the final norm, then
// lm_head.weight [V, D] unless tied, or score.weight [num_labels, D] for a
// classifier. Names as in transformers' modeling_llama.py.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

// Whether `reader` holds every expected tensor with its shape and a dtype that
// converts to float. Returns the sorted names of tensors that the model does
// not use, to be reported. Errors: kInvalidArgument names the first tensor
// that is missing (and how many more are) or whose shape differs, with both
// shapes; kUnimplemented names a dtype.
absl::StatusOr<std::vector<std::string>> CheckTensors(
    const ModelConfig& config, const CheckpointReader& reader);

}  // namespace align
