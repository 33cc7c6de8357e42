#include "align/train/distillation_objective.h"

#include <vector>

#include "align/base/check.h"
#include "align/base/profile.h"
#include "align/tensor/tape.h"
#include "losses/distillation_registry.h"

namespace align::train {
namespace {

HeadInput Constant(const Model& model, const PackedBatch& packed) {
  const auto stage = ProfileScope::Stage("teacher");
  const NoGrad constant;
  return {model.Hidden(packed.tokens, packed.segments, RowsOf(packed.scored)),
          model.Head()};
}

absl::StatusOr<MicroStep> Step(const Model& student, const Model& teacher,
                               const DivergenceOptions& options,
                               const DistillationBatch& batch) {
  const PackedBatch& packed = batch.replies.packed;
  ALIGN_RETURN_IF_ERROR(student.CheckTokens(packed.tokens, packed.segments));
  const absl::Status known =
      teacher.CheckTokens(packed.tokens, packed.segments);
  if (!known.ok()) return Annotate(known, "teacher");
  MicroStep step;
  step.record_ids = batch.replies.ids;
  step.metrics = batch.metrics;
  step.weight = static_cast<double>(packed.scored.size());
  if (packed.scored.empty()) return step;
  const Tensor losses = TokenDivergence(
      {student.Hidden(packed.tokens, packed.segments, RowsOf(packed.scored)),
       student.Head()},
      Constant(teacher, packed), packed.scored, options);
  for (const float loss : losses.values()) step.loss_sum += loss;
  const char* name = batch.author == ReplyAuthor::kStudent ? "on_policy_loss"
                                                           : "off_policy_loss";
  step.metrics[name] = {step.loss_sum, step.weight};
  step.metrics["num_tokens"] = Total(static_cast<double>(packed.rows()));
  Backward(losses, std::vector<float>(packed.scored.size(), 1.0f));
  return step;
}

}  // namespace

absl::StatusOr<DivergenceOptions> MakeDistillationLoss(
    const std::string& name, const losses::OptionValues& values) {
  const losses::DistillationLossOrError made =
      losses::MakeDistillationLoss(name, values);
  if (!made.ok()) return InvalidArgument(made.error);
  return DivergenceOptions{.beta = made.options.jsd.beta,
                           .temperature = made.options.temperature};
}

Objective<DistillationBatch> DistillationObjective(
    const Model& student, const Model& teacher, const DivergenceOptions& loss) {
  ALIGN_CHECK(student.config().vocab_size == teacher.config().vocab_size)
      << "[DistillationObjective] " << student.config().vocab_size
      << " ids and " << teacher.config().vocab_size << " of the teacher";
  return [&student, &teacher, loss](const DistillationBatch& batch) {
    return Step(student, teacher, loss, batch);
  };
}

}  // namespace align::train
