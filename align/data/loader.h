#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/data/examples.h"

namespace align {

struct LoaderOptions {
  int64_t batch_size = 1;  // examples a micro-batch; >= 1
  int64_t epochs = 1;      // passes over the examples; 0: endless
  bool shuffle = true;     // anew each epoch; else in the given order
  uint64_t seed = 0;       // of the shuffles
  bool drop_last = false;  // leave out an epoch's last batch if it is short
  int64_t max_tokens = 0;  // rows a batch, unless one example has more; 0: any
  bool share_prefix = true;  // a pair's prompt stands once, not once a reply
  // Unpaired examples: how many of an epoch's order exchange replies to make
  // mismatched ones (see MismatchedPartners); 0: none are made.
  int64_t mismatch_group = 0;
};

// The order in which epoch `epoch` visits `count` examples: a permutation that
// depends on these three numbers alone.
std::vector<int64_t> ExampleOrder(int64_t count, uint64_t seed, int64_t epoch);

// For each place in an epoch's order of `count` examples, the place whose reply
// its prompt gets for KTO's estimate of the KL. The order is cut into groups of
// `group` places; within one every place gets the reply of the place before it
// and the first gets the last one's, so that the mismatched replies of a group
// are its own replies (TRL's rule, per micro-batch there). A last group of one
// place gets the reply before it; one example alone keeps its own.
std::vector<int64_t> MismatchedPartners(int64_t count, int64_t group);

// Where a loader stands: `index` examples of epoch `epoch` are done.
struct LoaderPosition {
  int64_t epoch = 0;
  int64_t index = 0;
  bool operator==(const LoaderPosition&) const = default;
};

// Which examples make the next batch, given each example's rows. No batch spans
// two epochs. Not for concurrent use.
class BatchCursor {
 public:
  // kInvalidArgument: no examples, or options out of range.
  static absl::StatusOr<BatchCursor> Create(const LoaderOptions& options,
                                            std::vector<int64_t> rows);

  // nullopt: all epochs are done, or drop_last leaves nothing of an epoch.
  std::optional<std::vector<int64_t>> Next();

  const LoaderPosition& position() const { return position_; }
  // Rows of the largest of the next `batches`, as far as this epoch goes.
  int64_t LargestBatch(int64_t batches) const;
  // For each of the `count` examples that Next gave last the one whose reply
  // its prompt also gets; empty without mismatch_group.
  std::vector<int64_t> Partners(size_t count) const;
  // kOutOfRange: not a position that these examples can have.
  absl::Status Seek(const LoaderPosition& position);

 private:
  BatchCursor(const LoaderOptions& options, std::vector<int64_t> rows);
  int64_t count() const { return static_cast<int64_t>(rows_.size()); }
  void StartEpoch(int64_t epoch);

  LoaderOptions options_;
  std::vector<int64_t> rows_;
  LoaderPosition position_;
  std::vector<int64_t> order_;     // of position_.epoch
  std::vector<int64_t> partners_;  // of places; empty without mismatch_group
};

// Rows that an example takes in a batch.
int64_t RowsOf(const PairExample& example, const LoaderOptions& options);
int64_t RowsOf(const SftExample& example, const LoaderOptions& options);
int64_t RowsOf(const PromptExample& example, const LoaderOptions& options);
// With mismatched replies its own stands for the one that its prompt gets: over
// a whole group the sum is exact.
int64_t RowsOf(const UnpairedExample& example, const LoaderOptions& options);

// The named examples as one batch, in that order.
PreferenceBatch Pack(const std::vector<PairExample>& examples,
                     std::span<const int64_t> indices,
                     const LoaderOptions& options);
SftBatch Pack(const std::vector<SftExample>& examples,
              std::span<const int64_t> indices, const LoaderOptions& options);
PromptBatch Pack(const std::vector<PromptExample>& examples,
                 std::span<const int64_t> indices,
                 const LoaderOptions& options);
// `partners` names for each of `indices` the example whose reply its prompt
// also gets; empty: none.
UnpairedBatch Pack(const std::vector<UnpairedExample>& examples,
                   std::span<const int64_t> indices,
                   std::span<const int64_t> partners);

// Yields batches of examples that it owns. What comes next is a function of
// (examples, options, position): Seek to a saved position() continues exactly.
// Not for concurrent use.
//
//   ALIGN_ASSIGN_OR_RETURN(PairLoader loader,
//                          PairLoader::Create(std::move(pairs.examples),
//                                             {.batch_size = 8}));
//   while (std::optional<PreferenceBatch> batch = loader.Next()) ...
template <class Example, class Batch>
class Loader {
 public:
  // kInvalidArgument: no examples, or options out of range.
  static absl::StatusOr<Loader> Create(std::vector<Example> examples,
                                       const LoaderOptions& options) {
    std::vector<int64_t> rows;
    rows.reserve(examples.size());
    for (const Example& example : examples) {
      rows.push_back(RowsOf(example, options));
    }
    ALIGN_ASSIGN_OR_RETURN(BatchCursor cursor,
                           BatchCursor::Create(options, std::move(rows)));
    return Loader(std::move(examples), options, std::move(cursor));
  }

  // The next batch; nullopt: see BatchCursor::Next.
  std::optional<Batch> Next() {
    const std::optional<std::vector<int64_t>> indices = cursor_.Next();
    if (!indices) return std::nullopt;
    if constexpr (std::is_same_v<Example, UnpairedExample>) {
      return Pack(examples_, *indices, cursor_.Partners(indices->size()));
    } else {
      return Pack(examples_, *indices, options_);
    }
  }

  const std::vector<Example>& examples() const { return examples_; }
  const LoaderPosition& position() const { return cursor_.position(); }
  // As the cursor's.
  int64_t LargestBatch(int64_t batches) const {
    return cursor_.LargestBatch(batches);
  }
  // kOutOfRange: not a position that these examples can have.
  absl::Status Seek(const LoaderPosition& position) {
    return cursor_.Seek(position);
  }

 private:
  Loader(std::vector<Example> examples, const LoaderOptions& options,
         BatchCursor cursor)
      : examples_(std::move(examples)),
        options_(options),
        cursor_(std::move(cursor)) {}

  std::vector<Example> examples_;
  LoaderOptions options_;
  BatchCursor cursor_;
};

using PairLoader = Loader<PairExample, PreferenceBatch>;
using SftLoader = Loader<SftExample, SftBatch>;  // text blocks too
using PromptLoader = Loader<PromptExample, PromptBatch>;
using UnpairedLoader = Loader<UnpairedExample, UnpairedBatch>;

}  // namespace align
