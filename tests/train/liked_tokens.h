#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/data/batches.h"
#include "tests/support/tiny_model.h"

namespace align::train {

// A third of the tiny model's ids: a reward that is dense.
constexpr int32_t kLikedBelow = 20;

// The share of ids below kLikedBelow in a completion.
inline absl::StatusOr<std::vector<double>> Liked(
    std::span<const std::vector<int32_t>>,
    std::span<const std::vector<int32_t>> completions) {
  std::vector<double> scores;
  for (const std::vector<int32_t>& c : completions) {
    scores.push_back(static_cast<double>(std::ranges::count_if(
                         c, [](int32_t id) { return id < kLikedBelow; })) /
                     static_cast<double>(c.size()));
  }
  return scores;
}

// Prompts of 2 to 5 tokens.
inline PromptBatch TinyPrompts(int64_t count) {
  PromptBatch batch;
  for (int64_t i = 0; i < count; ++i) {
    const Rng rng = Rng(23).Fork(static_cast<uint64_t>(i));
    batch.prompts.push_back(RandomTokens(2 + i % 4, rng));
    batch.ids.push_back("prompt" + std::to_string(i));
  }
  return batch;
}

}  // namespace align::train
