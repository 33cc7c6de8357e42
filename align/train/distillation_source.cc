#include "align/train/distillation_source.h"

#include <string>
#include <utility>

#include "align/train/rollout.h"
#include "align/train/sequence_sums.h"

namespace align::train {
namespace {

constexpr char kWhere[] = "distillation";

absl::Status Check(const std::vector<SftExample>& examples,
                   const DistillationSourceOptions& options) {
  if (options.accumulation < 1) {
    return InvalidArgument(std::string(kWhere) + ": accumulation " +
                           std::to_string(options.accumulation) + " < 1");
  }
  // Negated so that NaN fails.
  if (!(options.lmbda >= 0 && options.lmbda <= 1)) {
    return InvalidArgument(std::string(kWhere) + ": lmbda " +
                           std::to_string(options.lmbda) +
                           "; expected a number in [0, 1]");
  }
  if (options.lmbda == 1 || options.seq_kd) return absl::OkStatus();
  for (const SftExample& example : examples) {
    if (!example.completion.empty()) continue;
    return InvalidArgument(std::string(kWhere) + ": record " + example.id +
                           " has no reply; expected one where lmbda is below 1 "
                           "and seq_kd is off");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DistillationSource>> DistillationSource::Create(
    std::vector<SftExample> examples, const Model& student,
    const Model& teacher, const DistillationSourceOptions& options,
    const Rng& rng, std::function<bool()> stop) {
  ALIGN_RETURN_IF_ERROR(Check(examples, options));
  std::vector<int64_t> rows;
  for (const SftExample& example : examples) {
    rows.push_back(RowsOf(example, options.loader));
  }
  ALIGN_ASSIGN_OR_RETURN(BatchCursor cursor,
                         BatchCursor::Create(options.loader, std::move(rows)));
  return std::unique_ptr<DistillationSource>(
      new DistillationSource(std::move(examples), student, teacher, options,
                             rng, std::move(stop), std::move(cursor)));
}

DistillationSource::DistillationSource(
    std::vector<SftExample> examples, const Model& student,
    const Model& teacher, const DistillationSourceOptions& options,
    const Rng& rng, std::function<bool()> stop, BatchCursor cursor)
    : examples_(std::move(examples)),
      student_(student),
      teacher_(teacher),
      options_(options),
      rng_(rng),
      stop_(std::move(stop)),
      cursor_(std::move(cursor)) {}

ReplyAuthor DistillationSource::AuthorOfStep(int64_t step) const {
  const double coin =
      rng_.Fork("author").Fork(static_cast<uint64_t>(step)).Uniform();
  if (coin < options_.lmbda) return ReplyAuthor::kStudent;
  return options_.seq_kd ? ReplyAuthor::kTeacher : ReplyAuthor::kRecords;
}

absl::StatusOr<DistillationBatch> DistillationSource::Sample(
    std::span<const int64_t> indices, ReplyAuthor author) const {
  std::vector<std::vector<int32_t>> prompts;
  std::vector<uint64_t> streams;
  for (const int64_t index : indices) {
    prompts.push_back(examples_[index].prompt);
    streams.push_back(static_cast<uint64_t>(index));
  }
  const Rng rng =
      rng_.Fork("sample").Fork(static_cast<uint64_t>(cursor_.position().epoch));
  ALIGN_ASSIGN_OR_RETURN(
      const std::vector<samplers::Completion> completions,
      samplers::Generate(author == ReplyAuthor::kStudent ? student_ : teacher_,
                         prompts, 1, options_.sampling, rng, streams, stop_));
  ALIGN_RETURN_IF_ERROR(CheckReplies(kWhere, completions, indices.size()));
  DistillationBatch batch{.author = author};
  for (size_t i = 0; i < indices.size(); ++i) {
    const samplers::Completion& completion = completions[i];
    PackedBatch& packed = batch.replies.packed;
    packed.AppendCompletion(packed.AppendPrompt(prompts[i]), completion.tokens);
    batch.replies.ids.push_back(examples_[indices[i]].id);
    Observe(batch.metrics, "completions/mean_length",
            static_cast<double>(completion.tokens.size()));
    Observe(batch.metrics, "completions/clipped_ratio",
            completion.stopped ? 0 : 1);
  }
  return batch;
}

absl::StatusOr<std::optional<DistillationBatch>> DistillationSource::Next() {
  const LoaderPosition before = cursor_.position();
  if (batches_ % options_.accumulation == 0) step_start_ = {before, batches_};
  const std::optional<std::vector<int64_t>> indices = cursor_.Next();
  if (!indices) {
    // What was given out of a last step is all of it.
    while (batches_ % options_.accumulation != 0) ++batches_;
    return std::optional<DistillationBatch>();
  }
  DistillationBatch batch;
  const ReplyAuthor author = AuthorOfStep(batches_ / options_.accumulation);
  if (author == ReplyAuthor::kRecords) {
    batch.replies = Pack(examples_, *indices, options_.loader);
  } else {
    absl::StatusOr<DistillationBatch> sampled = Sample(*indices, author);
    if (!sampled.ok()) {
      ALIGN_RETURN_IF_ERROR(cursor_.Seek(before));
      return sampled.status();
    }
    batch = *std::move(sampled);
  }
  ++batches_;
  return std::optional<DistillationBatch>(std::move(batch));
}

DistillationState DistillationSource::state() const {
  if (batches_ % options_.accumulation != 0) return step_start_;
  return {cursor_.position(), batches_};
}

absl::Status DistillationSource::set_state(const DistillationState& state) {
  ALIGN_RETURN_IF_ERROR(cursor_.Seek(state.position));
  batches_ = state.batches;
  return absl::OkStatus();
}

double DistillationSource::epoch() const {
  return static_cast<double>(cursor_.position().epoch) +
         static_cast<double>(cursor_.position().index) /
             static_cast<double>(examples_.size());
}

}  // namespace align::train
