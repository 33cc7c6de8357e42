#pragma once

#include <cstdint>
#include <string>
#include <string_view>
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

// Appends NAME.weight [outputs, inputs] and, with `bias`, NAME.bias [outputs].
void AddLinear(std::vector<TensorSpec>& specs, const std::string& name,
               int64_t outputs, int64_t inputs, bool bias);

// Every tensor of a valid `config` in the order of computation: those of the
// family's trunk, from the embedding [V, D] to the final norm [D], then the
// head [V, D] unless tied, or score.weight [num_labels, D] for a classifier.
// Names as in transformers.
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

// The tensor of that name, or of that name without what the family's trunk
// starts with, as files of a bare trunk have it (the first GPT-2); nullptr if
// there is neither.
const TensorInfo* FindTensor(const ModelConfig& config,
                             const CheckpointReader& reader,
                             std::string_view name);

// Whether `reader` holds every expected tensor with its shape and a dtype that
// converts to float. Returns the sorted names of tensors that the model does
// not use, to be reported. Errors: kInvalidArgument names the first tensor
// that is missing (and how many more are) or whose shape differs, with both
// shapes; kUnimplemented names a dtype.
absl::StatusOr<std::vector<std::string>> CheckTensors(
    const ModelConfig& config, const CheckpointReader& reader);

}  // namespace align
