// Which layers get adapters, and adapters on models.

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "align/models/model_family.h"
#include "align/models/peft.h"
#include "align/models/tensor_spec.h"

namespace align {
namespace {

constexpr char kAllLinear[] = "all-linear";
constexpr std::string_view kWeight = ".weight";

// "…layers.0.self_attn.q_proj" is meant by itself, "q_proj",
// "self_attn.q_proj".
bool IsNamedBy(std::string_view layer, std::string_view target) {
  return layer == target ||
         (layer.size() > target.size() && layer.ends_with(target) &&
          layer[layer.size() - target.size() - 1] == '.');
}

std::string_view LayerOf(std::string_view weight) {
  return weight.substr(0, weight.size() - kWeight.size());
}

// The embedding and the head, which no adapter goes on.
std::vector<std::string> OtherLayers(const ModelConfig& config) {
  const ModelFamily& family = FamilyOf(config);
  std::vector<std::string> layers = {std::string(LayerOf(family.embedding))};
  layers.emplace_back(config.classifier() ? "score" : LayerOf(family.head));
  return layers;
}

// The last parts of the layers' names, "down_proj, gate_proj".
std::string LastParts(const std::vector<LoraSite>& layers) {
  std::set<std::string> parts;
  for (const LoraSite& layer : layers) {
    parts.insert(layer.module.substr(layer.module.rfind('.') + 1));
  }
  std::string text;
  for (const std::string& part : parts) {
    text += (text.empty() ? "" : ", ") + part;
  }
  return text;
}

absl::Status CheckOptions(const LoraOptions& options) {
  constexpr int64_t kMaxRank = 1 << 16;
  const char* wrong = nullptr;
  if (options.rank < 1 || options.rank > kMaxRank) {
    wrong = "rank: expected 1 to 65536";
  } else if (!std::isfinite(options.alpha)) {
    wrong = "alpha: expected a finite number";
  } else if (!(options.dropout >= 0 && options.dropout < 1)) {
    wrong = "dropout: expected 0 or more and less than 1";
  }
  return wrong == nullptr ? absl::OkStatus()
                          : InvalidArgument(std::string("lora.") + wrong);
}

}  // namespace

std::vector<LoraSite> LinearLayers(const ModelConfig& config) {
  const ModelFamily& family = FamilyOf(config);
  const bool out_in = family.layout == WeightLayout::kOutIn;
  std::vector<LoraSite> layers;
  for (const TensorSpec& spec : family.trunk_tensors(config)) {
    if (spec.shape.size() != 2 || !spec.name.ends_with(kWeight) ||
        spec.name == family.embedding ||
        (!family.no_linear.empty() && spec.name.ends_with(family.no_linear))) {
      continue;
    }
    layers.push_back({.module = std::string(LayerOf(spec.name)),
                      .inputs = spec.shape[out_in ? 1 : 0],
                      .outputs = spec.shape[out_in ? 0 : 1],
                      .layout = family.layout});
  }
  return layers;
}

absl::StatusOr<std::vector<LoraSite>> TargetLayers(const ModelConfig& config,
                                                   const LoraOptions& options,
                                                   const LayerMatch& match) {
  const std::vector<LoraSite> all = LinearLayers(config);
  if (options.target_regex.empty() &&
      options.targets == std::vector<std::string>{kAllLinear}) {
    return all;
  }
  const bool by_regex = !options.target_regex.empty();
  const std::vector<std::string> targets =
      by_regex ? std::vector<std::string>{options.target_regex}
               : options.targets;
  std::set<std::string> chosen;
  for (const std::string& target : targets) {
    const auto meant = [&](std::string_view layer) {
      return by_regex ? match(layer) : IsNamedBy(layer, target);
    };
    for (const std::string& layer : OtherLayers(config)) {
      if (!meant(layer)) continue;
      return Unimplemented("lora target '" + target + "': " + layer +
                           " takes no adapter; expected linear layers of the "
                           "trunk: " +
                           LastParts(all));
    }
    const size_t before = chosen.size();
    bool found = false;
    for (const LoraSite& layer : all) {
      if (!meant(layer.module)) continue;
      found = true;
      chosen.insert(layer.module);
    }
    if (!found && chosen.size() == before) {
      return InvalidArgument("lora target '" + target +
                             "': no layer has that name; expected " +
                             kAllLinear + " or some of " + LastParts(all));
    }
  }
  std::vector<LoraSite> layers;
  std::copy_if(
      all.begin(), all.end(), std::back_inserter(layers),
      [&](const LoraSite& layer) { return chosen.contains(layer.module); });
  if (!layers.empty()) return layers;
  return InvalidArgument("lora target: expected at least one");
}

absl::Status AddAdapters(const LoraOptions& options, const Rng& rng,
                         Model& model, const LayerMatch& match) {
  ALIGN_RETURN_IF_ERROR(CheckOptions(options));
  ALIGN_ASSIGN_OR_RETURN(std::vector<LoraSite> layers,
                         TargetLayers(model.config(), options, match));
  std::vector<ParamSpec> whole;
  for (const ParamSpec& spec : model.params().specs()) {
    if (model.config().classifier() && spec.name == "score.weight") {
      whole.push_back(spec);
    }
  }
  auto adapters = std::make_unique<LoraAdapters>(options, std::move(layers),
                                                 std::move(whole));
  model.params().Freeze();
  adapters->Start(model.params(), rng);
  model.SetAdapters(std::move(adapters));
  return absl::OkStatus();
}

void MergeAdapters(Model& model) {
  if (model.adapters() == nullptr) return;
  model.adapters()->MergeInto(model.params());
  model.SetAdapters(nullptr);
}

}  // namespace align
