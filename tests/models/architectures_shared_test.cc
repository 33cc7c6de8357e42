// Every architecture that the oracle has a model of, variants of a family among
// them: what must not change a number does not change a bit.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "align/dnnl/matmul.h"
#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Directories() {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(
           std::string(ALIGN_SHARED_DIR) + "/oracle/models")) {
    if (fs::exists(entry.path() / "config.json")) {
      found.push_back(entry.path().string());
    }
  }
  std::sort(found.begin(), found.end());
  return found;
}

class ArchitectureTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
    auto loaded = LoadModel(GetParam());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    model_ = *std::move(loaded);
    const int64_t vocab = model_->config().vocab_size;
    prompt_ = RandomTokens(21, Rng(1), vocab);
    for (int i = 0; i < 3; ++i) {
      replies_.push_back(RandomTokens(5 + 9 * i, Rng(2 + i), vocab));
    }
  }

  std::vector<float> Scores(const PackedBatch& batch) const {
    const NoGrad no_grad;
    const TokenScores scores =
        ScoreTokens(model_->Hidden(batch.tokens, batch.segments),
                    model_->Head(), batch.scored);
    return {scores.log_probs().begin(), scores.log_probs().end()};
  }

  std::unique_ptr<Model> model_;
  std::vector<int32_t> prompt_;
  std::vector<std::vector<int32_t>> replies_;
};

INSTANTIATE_TEST_SUITE_P(Oracle, ArchitectureTest,
                         ::testing::ValuesIn(Directories()),
                         [](const auto& info) {
                           return fs::path(info.param).filename().string();
                         });

TEST_P(ArchitectureTest, PackedOnASharedPromptEqualsOneByOneToTheBit) {
  PackedBatch shared;
  const int32_t prefix = shared.AppendPrompt(prompt_);
  std::vector<float> one_by_one;
  for (const std::vector<int32_t>& reply : replies_) {
    shared.AppendCompletion(prefix, reply);
    PackedBatch alone;
    alone.AppendCompletion(alone.AppendPrompt(prompt_), reply);
    const std::vector<float> scores = Scores(alone);
    one_by_one.insert(one_by_one.end(), scores.begin(), scores.end());
  }
  EXPECT_EQ(Scores(shared), one_by_one);
}

TEST_P(ArchitectureTest, CachedDecodeEqualsTheFullForwardToTheBit) {
  const NoGrad no_grad;
  std::vector<int32_t> tokens = prompt_;
  tokens.insert(tokens.end(), replies_[2].begin(), replies_[2].end());
  Segments segments;
  segments.Append(static_cast<int64_t>(tokens.size()));
  const Tensor full = model_->Hidden(tokens, segments);
  KvCache cache = model_->MakeCache();
  const auto prompt_rows = static_cast<int64_t>(prompt_.size());
  const int32_t parent = cache.AddSequence(prompt_rows);
  const int32_t child_capacity = static_cast<int32_t>(replies_[2].size());
  const CachedRows first{.sequence = parent, .rows = prompt_rows};
  std::vector<float> rows;
  const auto feed = [&](std::span<const int32_t> next, const CachedRows& at) {
    const Tensor hidden =
        model_->HiddenCached(next, std::span<const CachedRows>(&at, 1), cache);
    rows.insert(rows.end(), hidden.values().begin(), hidden.values().end());
  };
  feed(prompt_, first);
  const CachedRows step{.sequence = cache.AddSequence(child_capacity, parent),
                        .rows = 1};
  for (const int32_t& token : replies_[2]) {
    feed(std::span<const int32_t>(&token, 1), step);
  }
  ASSERT_EQ(static_cast<int64_t>(rows.size()), full.size());
  EXPECT_EQ(std::memcmp(rows.data(), full.data(), rows.size() * sizeof(float)),
            0);
}

}  // namespace
}  // namespace align
