#include "align/config/compare_needs.h"

#include <algorithm>
#include <vector>

#include "align/base/memory.h"
#include "align/config/compare_plan.h"
#include "align/config/settings.h"
#include "align/models/memory_plan.h"
#include "align/models/model_config.h"
#include "align/models/peft.h"
#include "align/models/tensor_spec.h"
#include "proto/config.pb.h"

namespace align {
namespace {

struct Sizes {
  int64_t policy = 0;  // parameters
  int64_t reward = 0;
  int64_t judge = 0;  // 0: a lexicon
  // Bytes of their packed copies in the job's precision.
  int64_t packed_policy = 0;
  int64_t packed_reward = 0;
};

int64_t ParameterCount(const ModelConfig& config) {
  int64_t total = 0;
  for (const TensorSpec& spec : ExpectedTensors(config)) {
    int64_t count = 1;
    for (const int64_t extent : spec.shape) count *= extent;
    total += count;
  }
  return total;
}

absl::StatusOr<Sizes> ReadSizes(const pb::CompareConfig& config) {
  Sizes sizes;
  ALIGN_ASSIGN_OR_RETURN(ModelConfig base,
                         ConfigOf(config.base().path(), config.base().base()));
  ALIGN_ASSIGN_OR_RETURN(const Precision precision, ComparePrecision(config));
  sizes.policy = ParameterCount(base);
  sizes.packed_policy = PackedBytes(base, precision);
  base.architecture.head = HeadKind::kSequenceClassifier;
  sizes.reward = ParameterCount(base);
  sizes.packed_reward = PackedBytes(base, precision);
  if (config.gold().has_reward_model()) {
    ALIGN_ASSIGN_OR_RETURN(const ModelConfig judge,
                           ConfigOf(config.gold().reward_model()));
    sizes.judge = ParameterCount(judge);
  }
  return sizes;
}

const pb::StageTraining& TrainingOf(const pb::CompareConfig& config,
                                    const std::string& stage) {
  if (stage == "sft") return config.sft().training();
  if (stage == "reward_model") return config.reward_model();
  if (stage == "dpo") return config.dpo().training();
  if (stage == "rso") return config.rso().training();
  if (stage == "ppo") return config.ppo().training();
  return pb::StageTraining::default_instance();
}

// Parameters, gradients and optimizer state that a stage holds at its fullest.
absl::StatusOr<int64_t> FloatsHeld(const pb::CompareConfig& config,
                                   const std::string& stage,
                                   const Sizes& sizes) {
  const int64_t policy = sizes.policy, reward = sizes.reward;
  ALIGN_ASSIGN_OR_RETURN(const int64_t trained,
                         TrainedCopies(TrainingOf(config, stage).optimizer()));
  if (stage == "prompts") return config.prompts().sampled() ? policy : 0;
  if (stage == "sft") return config.sft().enabled() ? trained * policy : 0;
  if (stage == "pairs") return policy;
  if (stage == "reward_model") return trained * reward;
  // The reference besides; RSO's sampling before it holds less.
  if (stage == "dpo" || stage == "rso") return (trained + 1) * policy;
  if (stage == "ppo") return (trained + 1) * (policy + reward);
  // Held-out replies are scored under SFT too.
  return 2 * policy + (stage == "eval_best_of_n" ? reward : 0);
}

// Bytes of the copies that models keep for products at that moment: in bf16
// those that compute without gradients, in f32 those that sample.
int64_t PackedHeld(const pb::CompareConfig& config, const std::string& stage,
                   bool bf16, const Sizes& sizes) {
  const int64_t policy = sizes.packed_policy, reward = sizes.packed_reward;
  const bool prompts = stage == "prompts";
  if (stage == "pairs" || (prompts && config.prompts().sampled())) {
    return policy;
  }
  if (prompts || stage == "sft" || stage == "reward_model") return 0;
  if (stage == "dpo" || stage == "rso") return bf16 ? policy : 0;
  if (!bf16) return policy;
  if (stage == "ppo") return 2 * (policy + reward);
  return 2 * policy + (stage == "eval_best_of_n" ? reward : 0);
}

std::string Megabytes(int64_t bytes) {
  return std::to_string((bytes + 999999) / 1000000) + " MB";
}

}  // namespace

absl::StatusOr<std::string> DescribeCompareJob(
    const pb::CompareConfig& config) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<CompareStage> stages,
                         PlanCompare(config));
  ALIGN_ASSIGN_OR_RETURN(const Sizes sizes, ReadSizes(config));
  ALIGN_ASSIGN_OR_RETURN(const Precision precision, ComparePrecision(config));
  const bool bf16 = precision == Precision::kBf16;
  std::string text =
      "parameters: " + std::to_string(sizes.policy) +
      "\nmemory for weights, gradients, moments, references and packed "
      "copies, by stage:\n";
  int64_t largest = 0;
  for (const CompareStage& stage : stages) {
    ALIGN_ASSIGN_OR_RETURN(const int64_t floats,
                           FloatsHeld(config, stage.name, sizes));
    const int64_t bytes =
        (floats + sizes.judge) * static_cast<int64_t>(sizeof(float)) +
        PackedHeld(config, stage.name, bf16, sizes);
    largest = std::max(largest, bytes);
    text += "  " + stage.name +
            std::string(16 - std::min<size_t>(15, stage.name.size()), ' ') +
            Megabytes(bytes) + "\n";
  }
  return text + "largest stage: " + Megabytes(largest) +
         " (available: " + std::to_string(AvailableMemoryBytes() / 1000000) +
         " MB)\n";
}

}  // namespace align
