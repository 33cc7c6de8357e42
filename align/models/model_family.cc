#include "align/models/model_family.h"

#include <algorithm>
#include <iterator>

#include "align/base/check.h"

namespace align {
namespace {

constexpr const ModelFamily* kFamilies[] = {
    &kLlamaFamily,   &kMistralFamily,    &kQwen2Family,      &kQwen3Family,
    &kGemmaFamily,   &kGemma2Family,     &kGpt2Family,       &kGptNeoxFamily,
    &kMixtralFamily, &kDeepseekV2Family, &kDeepseekV3Family,
};

const ModelFamily& Find(Family family) {
  const auto* found =
      std::find_if(std::begin(kFamilies), std::end(kFamilies),
                   [&](const ModelFamily* f) { return f->family == family; });
  ALIGN_CHECK(found != std::end(kFamilies)) << "[ModelFamily] not listed";
  return **found;
}

}  // namespace

std::span<const ModelFamily* const> ModelFamilies() { return kFamilies; }

const ModelFamily& FamilyOf(const ModelConfig& config) {
  return Find(config.architecture.family);
}

std::string_view ArchitectureName(const Architecture& architecture) {
  const ModelFamily& family = Find(architecture.family);
  return architecture.head == HeadKind::kLanguageModel
             ? family.language_model
             : family.sequence_classifier;
}

}  // namespace align
