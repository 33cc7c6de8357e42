#include "align/models/tensor_spec.h"

#include <set>
#include <utility>

#include "align/models/model_family.h"

namespace align {
namespace {

absl::Status Missing(const std::vector<std::string>& names,
                     const CheckpointReader& reader) {
  std::string message =
      reader.directory() + ": tensor " + names[0] + " is missing";
  if (names.size() > 1) {
    message += " (and " + std::to_string(names.size() - 1) + " more)";
  }
  return InvalidArgument(message);
}

}  // namespace

void AddLinear(std::vector<TensorSpec>& specs, const std::string& name,
               int64_t outputs, int64_t inputs, bool bias) {
  specs.push_back({name + ".weight", {outputs, inputs}});
  if (bias) specs.push_back({name + ".bias", {outputs}});
}

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  const ModelFamily& family = FamilyOf(config);
  std::vector<TensorSpec> specs = family.trunk_tensors(config);
  if (config.classifier()) {
    AddLinear(specs, "score", config.num_labels, config.hidden_size, false);
  } else if (!config.tie_word_embeddings) {
    specs.push_back(
        {std::string(family.head), {config.vocab_size, config.hidden_size}});
  }
  return specs;
}

const TensorInfo* FindTensor(const ModelConfig& config,
                             const CheckpointReader& reader,
                             std::string_view name) {
  const TensorInfo* found = reader.Find(name);
  const std::string_view trunk = FamilyOf(config).trunk;
  if (found != nullptr || !name.starts_with(trunk)) return found;
  return reader.Find(name.substr(trunk.size()));
}

absl::StatusOr<std::vector<std::string>> CheckTensors(
    const ModelConfig& config, const CheckpointReader& reader) {
  const std::vector<std::string> names = reader.Names();
  std::set<std::string> extra(names.begin(), names.end());
  std::vector<std::string> missing;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    const TensorInfo* found = FindTensor(config, reader, spec.name);
    if (found == nullptr) {
      missing.push_back(spec.name);
      continue;
    }
    extra.erase(found->name);
    const std::string where = reader.directory() + ": tensor " + spec.name;
    if (found->shape != spec.shape) {
      return InvalidArgument(where + " has shape " + ShapeText(found->shape) +
                             "; " + ShapeText(spec.shape) +
                             " expected from config.json");
    }
    if (!ConvertsToFloat(found->dtype)) {
      return Unimplemented(where + " has dtype " +
                           std::string(DtypeName(found->dtype)) +
                           "; F32, F16 or BF16 expected");
    }
  }
  if (!missing.empty()) return Missing(missing, reader);
  return std::vector<std::string>(extra.begin(), extra.end());
}

}  // namespace align
