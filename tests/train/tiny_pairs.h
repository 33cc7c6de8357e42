#pragma once

#include <string>
#include <vector>

#include "align/data/batches.h"
#include "tests/support/tiny_model.h"

namespace align::train {

enum class Packing { kSharedPrefix, kSeparate };

// Pairs first..first + count - 1 of an endless series: pair i depends on i
// alone.
inline PreferenceBatch TinyPairs(int64_t first, int64_t count,
                                 Packing packing = Packing::kSharedPrefix) {
  PreferenceBatch batch;
  for (int64_t i = first; i < first + count; ++i) {
    Rng rng = Rng(17).Fork(static_cast<uint64_t>(i));
    const auto prompt =
        RandomTokens(3 + static_cast<int64_t>(rng.Below(9)), rng.Fork("p"));
    const auto chosen =
        RandomTokens(1 + static_cast<int64_t>(rng.Below(12)), rng.Fork("w"));
    const auto rejected =
        RandomTokens(1 + static_cast<int64_t>(rng.Below(12)), rng.Fork("l"));
    const int32_t prefix = batch.packed.AppendPrompt(prompt);
    batch.packed.AppendCompletion(prefix, chosen);
    batch.packed.AppendCompletion(packing == Packing::kSharedPrefix
                                      ? prefix
                                      : batch.packed.AppendPrompt(prompt),
                                  rejected);
    batch.ids.push_back("pair" + std::to_string(i));
    batch.margins.push_back(0.25 * static_cast<double>(i % 3));
    batch.policy_won.push_back(static_cast<uint8_t>(i % 2));
  }
  return batch;
}

}  // namespace align::train
