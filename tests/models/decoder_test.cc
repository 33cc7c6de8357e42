#include "align/models/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

#include "align/base/threads.h"
#include "align/dnnl/matmul.h"
#include "align/models/model.h"
#include "align/models/model_cache.h"
#include "align/models/recompute.h"
#include "align/ops/packed_batch.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

// A prompt with two completions, and the same tokens without sharing.
struct Packings {
  std::vector<int32_t> prompt = RandomTokens(19, Rng(1));
  std::vector<int32_t> a = RandomTokens(7, Rng(2));
  std::vector<int32_t> b = RandomTokens(12, Rng(3));
  PackedBatch shared, separate, reversed;

  Packings() {
    const int32_t p = shared.AppendPrompt(prompt);
    shared.AppendCompletion(p, a);
    shared.AppendCompletion(p, b);
    separate.AppendCompletion(separate.AppendPrompt(prompt), a);
    separate.AppendCompletion(separate.AppendPrompt(prompt), b);
    reversed.AppendCompletion(reversed.AppendPrompt(prompt), b);
    reversed.AppendCompletion(reversed.AppendPrompt(prompt), a);
  }
};

std::vector<float> Scores(const Model& model, const PackedBatch& batch) {
  const NoGrad no_grad;
  const TokenScores scores = ScoreTokens(
      model.Hidden(batch.tokens, batch.segments), model.Head(), batch.scored);
  return {scores.log_probs().begin(), scores.log_probs().end()};
}

// Of the parameters, for a function of the scores of `hidden`.
std::vector<float> GradientsOf(Model& model, const PackedBatch& batch,
                               const Tensor& hidden) {
  const TokenScores scores = ScoreTokens(hidden, model.Head(), batch.scored);
  std::vector<float> seed(scores.values.size());
  for (size_t i = 0; i < seed.size(); ++i) seed[i] = i % 3 == 0 ? -1 : 0.5f;
  Backward(scores.values, seed);
  const std::span<float> grads = model.params().grads();
  return {grads.begin(), grads.end()};
}

// |a - b| / |a|.
double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double difference = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(a[i] - b[i], 2);
    norm += std::pow(a[i], 2);
  }
  return std::sqrt(difference / norm);
}

// Every family keeps the promises of the design.
class DecoderTest : public ::testing::TestWithParam<Family> {
 protected:
  std::unique_ptr<Model> Create() const { return TinyModel(GetParam()); }
};

INSTANTIATE_TEST_SUITE_P(Families, DecoderTest,
                         ::testing::ValuesIn(AllFamilies()),
                         [](const auto& info) {
                           return std::string(
                               FamilyOf(TinyConfig(info.param)).model_type);
                         });

TEST_P(DecoderTest, LogProbBitsDependOnNeitherSharingNorOrderNorThreads) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const std::unique_ptr<Model> model = Create();
  const Packings p;
  const std::vector<float> shared = Scores(*model, p.shared);
  EXPECT_EQ(shared, Scores(*model, p.separate));
  std::vector<float> alone;
  for (const std::vector<int32_t>& reply : {p.a, p.b}) {
    PackedBatch one;
    one.AppendCompletion(one.AppendPrompt(p.prompt), reply);
    const std::vector<float> scores = Scores(*model, one);
    alone.insert(alone.end(), scores.begin(), scores.end());
  }
  EXPECT_EQ(shared, alone);
  std::vector<float> reversed = Scores(*model, p.reversed);
  std::rotate(reversed.begin(), reversed.begin() + 12, reversed.end());
  EXPECT_EQ(shared, reversed);
  SetThreads(3);
  EXPECT_EQ(shared, Scores(*model, p.shared));
  SetThreads(1);
}

TEST_P(DecoderTest, CachedRowsHaveTheBitsOfPackedRows) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const std::unique_ptr<Model> model = Create();
  const Packings p;
  const Tensor packed = model->Hidden(p.shared.tokens, p.shared.segments);
  KvCache cache = model->MakeCache();
  const int32_t prompt = cache.AddSequence(19);
  const CachedRows prompt_rows{.sequence = prompt, .rows = 19};
  const Tensor prefill = model->HiddenCached(
      p.prompt, std::span<const CachedRows>(&prompt_rows, 1), cache);
  EXPECT_EQ(std::memcmp(prefill.data(), packed.data(), 19 * 32 * 4), 0);
  const int32_t first = cache.AddSequence(7, prompt);
  const int32_t second = cache.AddSequence(12, prompt);
  for (int i = 0; i < 7; ++i) {
    const CachedRows rows[] = {{second, 1}, {first, 1}};
    const std::vector<int32_t> tokens = {p.b[i], p.a[i]};
    const Tensor step = model->HiddenCached(tokens, rows, cache);
    EXPECT_EQ(std::memcmp(step.data(), packed.data() + (26 + i) * 32, 128), 0);
    EXPECT_EQ(std::memcmp(step.data() + 32, packed.data() + (19 + i) * 32, 128),
              0);
  }
  EXPECT_EQ(cache.length(first), 26);
}

// Whether the rows `read` are those of `all`, and the others zero.
::testing::AssertionResult HasRowsOrZeros(const Tensor& some, const Tensor& all,
                                          std::span<const int32_t> read) {
  if (some.shape() != all.shape()) {
    return ::testing::AssertionFailure() << ToString(some.shape());
  }
  const int64_t width = all.dim(1);
  const std::vector<float> zeros(width, 0.0f);
  for (int32_t row = 0; row < all.dim(0); ++row) {
    const bool wanted = std::ranges::count(read, row) > 0;
    const float* expected = wanted ? all.data() + row * width : zeros.data();
    if (std::memcmp(some.data() + row * width, expected,
                    width * sizeof(float)) != 0) {
      return ::testing::AssertionFailure() << "row " << row;
    }
  }
  return ::testing::AssertionSuccess();
}

TEST_P(DecoderTest, RowsThatAreReadHaveTheBitsOfAllRows) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const std::unique_ptr<Model> model = Create();
  const Packings p;
  const Tensor all = model->Hidden(p.shared.tokens, p.shared.segments);
  // In any order, and some twice; what is not read is zero.
  const std::vector<int32_t> read = {37, 18, 20, 18, 3};
  EXPECT_TRUE(HasRowsOrZeros(
      model->Hidden(p.shared.tokens, p.shared.segments, read), all, read));
}

TEST_P(DecoderTest, CachedRowsThatAreReadHaveTheBitsOfAllRows) {
  if (GetMatmulMode() == MatmulMode::kTolerance) GTEST_SKIP();
  const std::unique_ptr<Model> model = Create();
  const Packings p;
  std::vector<int32_t> tokens = p.prompt;
  tokens.insert(tokens.end(), p.b.begin(), p.b.end());
  // The prefill of two sequences, and a token more of each.
  const auto decode = [&](CacheMode mode, std::span<const int32_t> read) {
    KvCache cache = model->MakeCache(mode);
    const int32_t first = cache.AddSequence(20), second = cache.AddSequence(13);
    const CachedRows all[] = {{first, 19}, {second, 12}};
    const CachedRows more[] = {{first, 1}, {second, 1}};
    const Tensor prefill = model->HiddenCached(tokens, all, cache, read);
    return std::pair(prefill, model->HiddenCached({{5, 6}}, more, cache));
  };
  std::vector<CacheMode> modes = {CacheMode::kExact};
  if (CheckCacheMode(model->config(), CacheMode::kAbsorbed).ok()) {
    modes.push_back(CacheMode::kAbsorbed);
  }
  for (const CacheMode mode : modes) {
    const auto [all, after_all] = decode(mode, {});
    for (const std::vector<int32_t>& read :
         std::vector<std::vector<int32_t>>{{30, 18}, {3}}) {
      const auto [some, after_some] = decode(mode, read);
      EXPECT_TRUE(HasRowsOrZeros(some, all, read));
      EXPECT_EQ(std::memcmp(after_some.data(), after_all.data(), 2 * 128), 0);
    }
  }
}

TEST_P(DecoderTest, RowsThatAreReadAreInTheBatch) {
  const std::unique_ptr<Model> model = Create();
  const Packings p;
  const auto read = [&](int32_t row) {
    model->Hidden(p.shared.tokens, p.shared.segments, {{5, row}});
  };
  EXPECT_DEATH(read(38), "read from 5 to 38 of 38");
  EXPECT_DEATH(read(-1), "read from -1 to 5 of 38");
}

TEST_P(DecoderTest, LeavingOutRowsThatAreNotReadChangesNoGradient) {
  const Packings p;
  const std::vector<int32_t> scored = RowsOf(p.shared.scored);
  std::vector<std::vector<float>> grads;
  for (const bool recompute : {false, true}) {
    for (const std::vector<int32_t>& read : {{}, scored}) {
      const std::unique_ptr<Model> model = Create();
      model->params().EnableGradients();
      SetRecomputeActivations(*model, recompute);
      grads.push_back(
          GradientsOf(*model, p.shared,
                      model->Hidden(p.shared.tokens, p.shared.segments, read)));
    }
  }
  EXPECT_LT(Distance(grads[0], grads[1]), 1e-6);
  EXPECT_EQ(grads[2], grads[0]);
  EXPECT_EQ(grads[3], grads[1]);
}

TEST_P(DecoderTest, SharedAndSeparateGradientsAgree) {
  const Packings p;
  std::vector<std::vector<float>> grads;
  for (const PackedBatch* batch : {&p.shared, &p.separate}) {
    const std::unique_ptr<Model> model = Create();
    model->params().EnableGradients();
    grads.push_back(GradientsOf(*model, *batch,
                                model->Hidden(batch->tokens, batch->segments)));
  }
  EXPECT_LT(Distance(grads[0], grads[1]), 1e-6);
}

// The whole model as one function: a step along the gradient changes the value
// by step * |gradient|^2.
TEST_P(DecoderTest, GradientPredictsTheChangeOfTheLoss) {
  const Packings p;
  const std::unique_ptr<Model> model = Create();
  const auto value = [&] {
    double sum = 0;
    for (float x : Scores(*model, p.shared)) sum += x;
    return sum;
  };
  model->params().EnableGradients();
  const TokenScores scores =
      ScoreTokens(model->Hidden(p.shared.tokens, p.shared.segments),
                  model->Head(), p.shared.scored);
  Backward(scores.values, std::vector<float>(scores.values.size(), 1.0f));
  double squared_norm = 0;
  for (float g : model->params().grads()) squared_norm += double{g} * g;
  // Small enough for the linear term to rule, large enough for f32 sums.
  const double step = 2e-2 / squared_norm;
  const double before = value();
  const auto move = [&](double by) {
    for (size_t i = 0; i < model->params().values().size(); ++i) {
      model->params().values()[i] +=
          static_cast<float>(by * model->params().grads()[i]);
    }
  };
  move(step);
  const double up = value();
  move(-2 * step);
  const double down = value();
  EXPECT_NEAR((up - down) / 2, 2e-2, 4e-4);
  EXPECT_NEAR((up + down) / 2, before, 4e-3);
}

TEST_P(DecoderTest, SaveThenLoadIsBitEqual) {
  const std::string directory =
      ::testing::TempDir() + "/align_decoder_test_" +
      std::string(FamilyOf(TinyConfig(GetParam())).model_type);
  const std::unique_ptr<Model> model = Create();
  ASSERT_TRUE(SaveModel(*model, directory, "").ok());
  auto loaded = LoadModel(directory);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->params().Hash(), model->params().Hash());
  EXPECT_EQ((*loaded)->config(), model->config());
  // What BF16 rounds off is gone after the first time.
  ASSERT_TRUE(SaveModel(*model, directory, "", WeightFormat::kBf16).ok());
  loaded = LoadModel(directory);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_TRUE(SaveModel(**loaded, directory, "", WeightFormat::kBf16).ok());
  EXPECT_EQ((*LoadModel(directory))->params().Hash(),
            (*loaded)->params().Hash());
  const auto reward = LoadRewardModel(directory, Rng(5));
  ASSERT_TRUE(reward.ok()) << reward.status();
  EXPECT_EQ((*reward)->Head().shape(), Shape({1, 32}));
  ASSERT_TRUE(SaveModel(**reward, directory, "").ok());
  const auto again = LoadRewardModel(directory, Rng(6));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->params().Hash(), (*reward)->params().Hash());
  std::filesystem::remove_all(directory);
}

TEST(ModelTest, SaveThenLoadIsBitEqual) {
  const std::string directory = ::testing::TempDir() + "/align_model_test";
  for (bool tied : {false, true}) {
    const std::unique_ptr<Model> model = TinyModel(3, tied);
    ASSERT_TRUE(SaveModel(*model, directory, "").ok());
    const auto loaded = LoadModel(directory);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ((*loaded)->params().Hash(), model->params().Hash());
    EXPECT_EQ((*loaded)->config(), model->config());
  }
  std::filesystem::remove_all(directory);
}

// The first GPT-2 files name tensors without "transformer.".
TEST(ModelTest, FilesOfABareTrunkAreRead) {
  const std::string directory = ::testing::TempDir() + "/align_bare_test";
  const std::unique_ptr<Model> model = TinyModel(Family::kGpt2);
  ASSERT_TRUE(SaveModel(*model, directory, "").ok());
  std::vector<TensorToWrite> tensors;
  for (const ParamSpec& spec : model->params().specs()) {
    tensors.push_back({.name = spec.name.substr(sizeof("transformer.") - 1),
                       .shape = spec.shape,
                       .values = model->params().Get(spec.name).values()});
  }
  ASSERT_TRUE(WriteCheckpoint(directory, std::move(tensors)).ok());
  const auto loaded = LoadModel(directory);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ((*loaded)->params().Hash(), model->params().Hash());
  std::filesystem::remove_all(directory);
}

TEST(ModelTest, ShardsAndOneFileReplaceEachOther) {
  const std::string directory = ::testing::TempDir() + "/align_shards_test";
  for (const uint64_t seed : {1, 2, 3}) {
    const std::unique_ptr<Model> model = TinyModel(seed);
    const int64_t most = seed == 2 ? 10'000 : kMaxShardBytes;
    ASSERT_TRUE(
        SaveModel(*model, directory, "", WeightFormat::kF32, most).ok());
    EXPECT_EQ(
        std::filesystem::exists(directory + "/model.safetensors.index.json"),
        seed == 2);
    const auto loaded = LoadModel(directory);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_EQ((*loaded)->params().Hash(), model->params().Hash());
  }
  int shards = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (!entry.path().filename().string().starts_with("model-")) continue;
    ++shards;
    EXPECT_LE(entry.file_size(), 11'000u);  // with its header
  }
  EXPECT_GT(shards, 4);
  std::filesystem::remove_all(directory);
}

TEST(ModelTest, RewardModelTakesTheTrunkAndSavesAsClassifier) {
  const std::string directory = ::testing::TempDir() + "/align_reward_test";
  const std::unique_ptr<Model> policy = TinyModel(3);
  ASSERT_TRUE(SaveModel(*policy, directory, "").ok());
  const auto reward = LoadRewardModel(directory, Rng(5));
  ASSERT_TRUE(reward.ok()) << reward.status();
  EXPECT_EQ((*reward)->Head().shape(), Shape({1, 32}));
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  EXPECT_EQ((*reward)->params().Get(name).data()[5],
            policy->params().Get(name).data()[5]);
  ASSERT_TRUE(SaveModel(**reward, directory, "").ok());
  const auto again = LoadRewardModel(directory, Rng(6));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ((*again)->params().Hash(), (*reward)->params().Hash());
  std::filesystem::remove_all(directory);
}

TEST(ModelTest, TokensOutsideVocabularyAndTooLongSequencesAreRefused) {
  const std::unique_ptr<Model> model = TinyModel();
  Segments segments;
  segments.Append(2);
  EXPECT_TRUE(model->CheckTokens(std::vector<int32_t>{0, 60}, segments).ok());
  const absl::Status outside =
      model->CheckTokens(std::vector<int32_t>{0, 61}, segments);
  EXPECT_NE(Message(outside).find("token 1: id 61; expected 0 to 60"),
            std::string::npos);
  Segments lengthy;
  lengthy.Append(129);
  EXPECT_EQ(model->CheckTokens({}, lengthy).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace align
