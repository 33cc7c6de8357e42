#pragma once

#include <string>

#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/ops/token_divergence.h"
#include "align/train/run_loop.h"
#include "losses/registry_entry.h"

namespace align::train {

// The loss `name` of losses/distillation_registry.h with the options `values`,
// names and texts, over its defaults. kInvalidArgument says what is unknown or
// out of range and what is allowed.
absl::StatusOr<DivergenceOptions> MakeDistillationLoss(
    const std::string& name, const losses::OptionValues& values = {});

// Who wrote the replies that student and teacher are compared on.
enum class ReplyAuthor { kRecords, kTeacher, kStudent };

// Replies to learn a teacher's distributions on.
struct DistillationBatch {
  SftBatch replies;
  ReplyAuthor author = ReplyAuthor::kRecords;
  MetricSums metrics;  // passed on to the step's report
};

// The divergence at each scored token, summed; the weight is the number of
// those tokens, so that under any accumulation a step is the mean over its
// tokens (TRL's is that of each micro-batch). No gradient flows through who
// sampled a reply (Agarwal et al. 2023, section 3.1). Metrics by the names of
// TRL's GKD and GOLD: on_policy_loss of replies that the student wrote or
// off_policy_loss of others, and num_tokens (distinct tokens that went through
// the student). `student` must have gradients; both models must outlive the
// objective and have the same vocabulary. Returns kInvalidArgument for tokens
// that either model cannot take.
Objective<DistillationBatch> DistillationObjective(
    const Model& student, const Model& teacher, const DivergenceOptions& loss);

}  // namespace align::train
