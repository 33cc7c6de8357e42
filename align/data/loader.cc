#include "align/data/loader.h"

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

absl::StatusOr<BatchCursor> BatchCursor::Create(const LoaderOptions& options,
                                                std::vector<int64_t> rows) {
  if (options.batch_size < 1 || options.epochs < 0 || options.max_tokens < 0) {
    return InvalidArgument(
        "loader options: batch_size " + std::to_string(options.batch_size) +
        ", epochs " + std::to_string(options.epochs) + ", max_tokens " +
        std::to_string(options.max_tokens) + "; at least 1, 0 and 0 expected");
  }
  if (rows.empty()) {
    return InvalidArgument("loader: no examples; at least one expected");
  }
  return BatchCursor(options, std::move(rows));
}

BatchCursor::BatchCursor(const LoaderOptions& options,
                         std::vector<int64_t> rows)
    : options_(options), rows_(std::move(rows)) {
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
  }
  return batch;
}

}  // namespace align
