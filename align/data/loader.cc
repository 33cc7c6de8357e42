#include "align/data/loader.h"

#include <algorithm>
#include <numeric>
#include <string>

#include "align/base/rng.h"

namespace align {
namespace {

int64_t Size(const std::vector<int32_t>& ids) {
  return static_cast<int64_t>(ids.size());
}

}  // namespace

std::vector<int64_t> ExampleOrder(int64_t count, uint64_t seed, int64_t epoch) {
  return Rng(seed)
      .Fork("shuffle")
      .Fork(static_cast<uint64_t>(epoch))
      .Permutation(count);
}

std::vector<int64_t> MismatchedPartners(int64_t count, int64_t group) {
  std::vector<int64_t> partners(count);
  for (int64_t begin = 0; begin < count; begin += group) {
    const int64_t end = std::min(begin + group, count);
    partners[begin] = end - 1;
    for (int64_t i = begin + 1; i < end; ++i) partners[i] = i - 1;
  }
  if (count > 1 && (count - 1) % group == 0) partners[count - 1] = count - 2;
  return partners;
}

absl::StatusOr<BatchCursor> BatchCursor::Create(const LoaderOptions& options,
                                                std::vector<int64_t> rows) {
  if (options.batch_size < 1 || options.epochs < 0 || options.max_tokens < 0 ||
      options.mismatch_group < 0) {
    return InvalidArgument(
        "loader options: batch_size " + std::to_string(options.batch_size) +
        ", epochs " + std::to_string(options.epochs) + ", max_tokens " +
        std::to_string(options.max_tokens) + ", mismatch_group " +
        std::to_string(options.mismatch_group) +
        "; at least 1, 0, 0 and 0 expected");
  }
  if (rows.empty()) {
    return InvalidArgument("loader: no examples; at least one expected");
  }
  return BatchCursor(options, std::move(rows));
}

BatchCursor::BatchCursor(const LoaderOptions& options,
                         std::vector<int64_t> rows)
    : options_(options), rows_(std::move(rows)) {
  if (options.mismatch_group > 0) {
    partners_ = MismatchedPartners(count(), options.mismatch_group);
  }
  StartEpoch(0);
}

void BatchCursor::StartEpoch(int64_t epoch) {
  position_ = {.epoch = epoch, .index = 0};
  if (options_.shuffle) {
    order_ = ExampleOrder(count(), options_.seed, epoch);
  } else {
    order_.resize(rows_.size());
    std::iota(order_.begin(), order_.end(), 0);
  }
}

absl::Status BatchCursor::Seek(const LoaderPosition& position) {
  if (position.epoch < 0 || position.index < 0 || position.index > count()) {
    return OutOfRange("loader position: epoch " +
                      std::to_string(position.epoch) + ", example " +
                      std::to_string(position.index) + "; at most " +
                      std::to_string(count()) + " examples expected");
  }
  StartEpoch(position.epoch);
  position_.index = position.index;
  return absl::OkStatus();
}

std::optional<std::vector<int64_t>> BatchCursor::Next() {
  while (true) {
    if (position_.index == count()) StartEpoch(position_.epoch + 1);
    if (options_.epochs > 0 && position_.epoch >= options_.epochs) {
      return std::nullopt;
    }
    const int64_t begin = position_.index;
    std::vector<int64_t> batch;
    int64_t rows = 0;
    bool full = false;
    for (int64_t i = begin; i < count() && !full; ++i) {
      const int64_t example = order_[i];
      if (options_.max_tokens > 0 && !batch.empty() &&
          rows + rows_[example] > options_.max_tokens) {
        full = true;
        break;
      }
      batch.push_back(example);
      rows += rows_[example];
      full = static_cast<int64_t>(batch.size()) == options_.batch_size;
    }
    if (full || !options_.drop_last) {
      position_.index += static_cast<int64_t>(batch.size());
      return batch;
    }
    // A whole epoch without a full batch: the next ones need not have any.
    if (begin == 0) return std::nullopt;
    position_.index = count();
  }
}

int64_t BatchCursor::LargestBatch(int64_t batches) const {
  BatchCursor ahead = *this;
  int64_t largest = 0;
  for (int64_t i = 0; i < batches; ++i) {
    const std::optional<std::vector<int64_t>> batch = ahead.Next();
    if (!batch || ahead.position_.epoch != position_.epoch) break;
    int64_t rows = 0;
    for (const int64_t example : *batch) rows += rows_[example];
    largest = std::max(largest, rows);
  }
  return largest;
}

std::vector<int64_t> BatchCursor::Partners(size_t count) const {
  std::vector<int64_t> examples;
  if (partners_.empty()) return examples;
  const int64_t begin = position_.index - static_cast<int64_t>(count);
  for (int64_t i = begin; i < position_.index; ++i) {
    examples.push_back(order_[partners_[i]]);
  }
  return examples;
}

int64_t RowsOf(const PairExample& example, const LoaderOptions& options) {
  return Size(example.prompt) * (options.share_prefix ? 1 : 2) +
         Size(example.chosen) + Size(example.rejected);
}

int64_t RowsOf(const SftExample& example, const LoaderOptions&) {
  return Size(example.prompt) + Size(example.completion);
}

int64_t RowsOf(const PromptExample& example, const LoaderOptions&) {
  return Size(example.prompt);
}

int64_t RowsOf(const UnpairedExample& example, const LoaderOptions& options) {
  return Size(example.prompt) +
         Size(example.completion) * (options.mismatch_group > 0 ? 2 : 1);
}

PreferenceBatch Pack(const std::vector<PairExample>& examples,
                     std::span<const int64_t> indices,
                     const LoaderOptions& options) {
  PreferenceBatch batch;
  for (const int64_t index : indices) {
    const PairExample& example = examples[index];
    const int32_t prompt = batch.packed.AppendPrompt(example.prompt);
    batch.packed.AppendCompletion(prompt, example.chosen);
    batch.packed.AppendCompletion(
        options.share_prefix ? prompt
                             : batch.packed.AppendPrompt(example.prompt),
        example.rejected);
    batch.ids.push_back(example.id);
    batch.margins.push_back(example.margin);
  }
  return batch;
}

SftBatch Pack(const std::vector<SftExample>& examples,
              std::span<const int64_t> indices, const LoaderOptions&) {
  SftBatch batch;
  for (const int64_t index : indices) {
    const SftExample& example = examples[index];
    const int32_t prompt = batch.packed.AppendPrompt(example.prompt);
    batch.packed.AppendCompletion(prompt, example.completion, example.mask);
    batch.ids.push_back(example.id);
  }
  return batch;
}

PromptBatch Pack(const std::vector<PromptExample>& examples,
                 std::span<const int64_t> indices, const LoaderOptions&) {
  PromptBatch batch;
  for (const int64_t index : indices) {
    const PromptExample& example = examples[index];
    batch.prompts.push_back(example.prompt);
    batch.ids.push_back(example.id);
    batch.numbers.push_back(example.number);
    batch.answers.push_back(example.answer);
  }
  return batch;
}

UnpairedBatch Pack(const std::vector<UnpairedExample>& examples,
                   std::span<const int64_t> indices,
                   std::span<const int64_t> partners) {
  UnpairedBatch batch;
  std::vector<int32_t> prompts;
  for (const int64_t index : indices) {
    const UnpairedExample& example = examples[index];
    prompts.push_back(batch.packed.AppendPrompt(example.prompt));
    batch.packed.AppendCompletion(prompts.back(), example.completion);
    batch.ids.push_back(example.id);
    batch.desirable.push_back(example.desirable ? 1 : 0);
    batch.density_ratios.push_back(example.density_ratio.value_or(1));
  }
  batch.mismatched = !partners.empty();
  for (size_t i = 0; i < partners.size(); ++i) {
    batch.packed.AppendCompletion(prompts[i], examples[partners[i]].completion);
  }
  return batch;
}

}  // namespace align
