#include "align/config/train_reference.h"

#include <memory>
#include <utility>

#include "align/base/log.h"
#include "align/config/lora.h"
#include "align/config/rollout_setup.h"
#include "align/train/reference_cache.h"
#include "proto/config.pb.h"

namespace align {
namespace {

// The model itself. The start is not copied while it still is the policy.
absl::StatusOr<std::shared_ptr<const Model>> StartOrReference(
    const pb::TrainConfig& config, const Model& policy) {
  if (!config.reference().has_path() && policy.adapters() == nullptr) {
    return std::shared_ptr<const Model>(&policy, [](const Model*) {});
  }
  ALIGN_ASSIGN_OR_RETURN(std::unique_ptr<Model> reference,
                         LoadReference(config, policy));
  return std::shared_ptr<const Model>(std::move(reference));
}

absl::StatusOr<RunReference> ScoredReference(const pb::TrainConfig& config,
                                             const std::string& out,
                                             std::function<bool()> stop,
                                             const Model& policy) {
  ALIGN_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model,
                         StartOrReference(config, policy));
  ALIGN_ASSIGN_OR_RETURN(const std::string fingerprint,
                         train::ReferenceFingerprint(*model));
  ALIGN_ASSIGN_OR_RETURN(
      train::ReferenceCache opened,
      train::ReferenceCache::Open(config.has_reference_cache()
                                      ? config.reference_cache()
                                      : out + "/reference_log_probs",
                                  fingerprint));
  const auto cache = std::make_shared<train::ReferenceCache>(std::move(opened));
  const auto score = [model, cache, stop = std::move(stop)](
                         const train::Source<PackedBatch>& batches) {
    const int64_t there = cache->sequences();
    const absl::StatusOr<int64_t> fresh =
        cache->Score(train::FrozenReference(*model), batches, {.stop = stop});
    if (!fresh.ok()) return fresh.status();
    LogInfo("reference: " + std::to_string(there) + " sequences were in " +
            cache->path() + ", " + std::to_string(*fresh) + " are new");
    return absl::OkStatus();
  };
  return RunReference{.log_probs = cache->LogProbs(), .score = score};
}

}  // namespace

absl::Status CheckReferenceKeys(const pb::TrainConfig& config, bool holds) {
  const bool records =
      config.method() == "preference" || config.method() == "unpaired";
  if (config.precompute_reference() && !records) {
    return InvalidArgument("precompute_reference: not a key of method '" +
                           config.method() +
                           "', only of 'preference' and 'unpaired'");
  }
  if (config.precompute_reference() && !holds) {
    return InvalidArgument(
        "precompute_reference: nothing compares with a reference; expected a "
        "loss that needs one, or the key reference");
  }
  if (config.has_reference_cache() && !config.precompute_reference()) {
    return InvalidArgument(
        "reference_cache: nothing is kept; expected precompute_reference with "
        "it");
  }
  return absl::OkStatus();
}

absl::StatusOr<RunReference> PrepareReference(const pb::TrainConfig& config,
                                              const std::string& out,
                                              std::function<bool()> stop,
                                              const Model& policy) {
  if (config.precompute_reference()) {
    return ScoredReference(config, out, std::move(stop), policy);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::shared_ptr<const Model> model,
                         LoadReference(config, policy));
  return RunReference{
      .log_probs = train::CachedReference(
          [model, score = train::FrozenReference(*model)](
              const PackedBatch& batch) { return score(batch); }),
      .score = nullptr};
}

absl::StatusOr<HeldModel> HeldRunReference(const pb::TrainConfig& config,
                                           const Model& policy) {
  ALIGN_ASSIGN_OR_RETURN(HeldModel held, HeldReference(config, policy));
  if (!config.precompute_reference()) return held;
  // It is there before the optimizer is. Of adapters that is little, so that
  // then their base and another model make the peak.
  held.role = "reference (scored beforehand)";
  if (policy.adapters() == nullptr) held.parameters = 0;
  held.config.reset();
  return held;
}

}  // namespace align
