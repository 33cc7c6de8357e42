// A steady step takes no memory from the system: the range of tensors
// (align/base/storage.h) does not grow, and nothing large comes from the heap
// besides. What oneDNN keeps for its own use is in neither count.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <utility>
#include <vector>

#include "align/base/storage.h"
#include "align/dnnl/precision.h"
#include "align/train/optimizer.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "align/train/run_loop.h"
#include "align/train/sft_objective.h"
#include "tests/support/tiny_model.h"

namespace {

// A fifth of a tensor that has a row of the width below for every token.
constexpr size_t kLarge = 64 << 10;  // bytes
std::atomic<int64_t> large_blocks = 0;

}  // namespace

// Of this program: what `new`, and with it std::vector, takes. All forms of one
// object's, or a sanitizer brings its own of the rest.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  if (bytes >= kLarge) ++large_blocks;
  return std::malloc(bytes > 0 ? bytes : 1);
}
void* operator new(size_t bytes) {
  if (void* const block = operator new(bytes, std::nothrow)) return block;
  throw std::bad_alloc();
}
void operator delete(void* block) noexcept { std::free(block); }
void operator delete(void* block, size_t) noexcept { std::free(block); }

namespace align::train {
namespace {

ModelConfig Config() {
  ModelConfig config = TinyConfig();
  config.vocab_size = 700;
  config.hidden_size = 128;
  config.intermediate_size = 320;
  config.num_hidden_layers = 3;
  return config;
}

// Six prompts with two replies each, of other tokens in every step.
PreferenceBatch Pairs(uint64_t step) {
  PreferenceBatch batch;
  for (uint64_t i = 0; i < 6; ++i) {
    const auto draw = [&](const char* part, int64_t count) {
      return RandomTokens(count, Rng(step).Fork(i).Fork(part), 700);
    };
    const int32_t prompt = batch.packed.AppendPrompt(draw("prompt", 40));
    batch.packed.AppendCompletion(prompt, draw("chosen", 32));
    batch.packed.AppendCompletion(prompt, draw("rejected", 28));
    batch.margins.push_back(0);
  }
  return batch;
}

// What was taken in a step, and the most that tensors held until its end.
struct Taken {
  int64_t growths = 0;
  int64_t large = 0;
  int64_t peak_bytes = 0;
};

// `count` steps of `objective` on Pairs of equal shape.
std::vector<Taken> Steps(Model& policy,
                         const Objective<PreferenceBatch>& objective,
                         int64_t count) {
  const std::vector<ParamStore*> stores = {&policy.params()};
  Optimizer optimizer({.learning_rate = 1e-3}, {}, stores);
  std::vector<Taken> taken;
  StorageStats before = GetStorageStats();
  const MicroSteps micro_steps =
      [&]() -> absl::StatusOr<std::optional<MicroStep>> {
    const PreferenceBatch batch = Pairs(taken.size());
    before = GetStorageStats();
    large_blocks = 0;
    absl::StatusOr<MicroStep> step = objective(batch);
    if (!step.ok()) return step.status();
    return std::optional<MicroStep>(*std::move(step));
  };
  const Observer note =
      [&](const StepReport& report) -> absl::StatusOr<ObserverResult> {
    EXPECT_FALSE(report.skipped);
    const StorageStats after = GetStorageStats();
    taken.push_back(
        {.growths = after.system_allocations - before.system_allocations,
         .large = large_blocks,
         .peak_bytes = after.peak_bytes});
    return ObserverResult();
  };
  const auto run =
      RunLoop({.max_steps = count}, micro_steps, stores, optimizer, {note});
  EXPECT_TRUE(run.ok()) << run.status();
  return taken;
}

void ExpectSteady(const std::vector<Taken>& taken) {
  ASSERT_EQ(taken.size(), 6);
  // The counts count: the first step had to take its memory.
  EXPECT_GT(taken[0].growths, 0);
  for (size_t step = 2; step < taken.size(); ++step) {
    SCOPED_TRACE("step " + std::to_string(step + 1));
    EXPECT_EQ(taken[step].growths, 0);
    EXPECT_EQ(taken[step].large, 0);
    EXPECT_EQ(taken[step].peak_bytes, taken[2].peak_bytes);
  }
}

class SteadyStepTest : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    TrimStorage();
    ResetStoragePeak();
    policy_ = *CreateModel(Config(), Rng(1));
    policy_->params().SetPrecision(GetParam());
    policy_->params().EnableGradients();
  }

  std::unique_ptr<Model> policy_;
};

INSTANTIATE_TEST_SUITE_P(Precisions, SteadyStepTest,
                         ::testing::Values(Precision::kF32, Precision::kBf16),
                         [](const auto& info) {
                           return std::string(PrecisionName(info.param));
                         });

TEST_P(SteadyStepTest, OfSftTakesNoMemory) {
  const Objective<SftBatch> sft = SftObjective(*policy_);
  ExpectSteady(Steps(
      *policy_,
      [&](const PreferenceBatch& batch) {
        return sft({.packed = batch.packed, .ids = {}});
      },
      6));
}

TEST_P(SteadyStepTest, OfDpoTakesNoMemory) {
  const std::unique_ptr<Model> reference = CloneModel(*policy_);
  reference->params().SetPrecision(GetParam());
  const auto loss = MakePairLoss("sigmoid");
  ASSERT_TRUE(loss.ok()) << loss.status();
  ExpectSteady(Steps(*policy_,
                     PerMicroBatch(PreferenceObjective(
                         *policy_, FrozenReference(*reference), *loss)),
                     6));
}

TEST(LargeBlocksTest, AVectorIsCounted) {
  large_blocks = 0;
  const std::vector<char> large(kLarge);
  EXPECT_EQ(large_blocks, 1);
}

}  // namespace
}  // namespace align::train
