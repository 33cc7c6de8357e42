#include "align/train/checkpoint.h"

#include <filesystem>
#include <fstream>

#include "align/base/log.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/train/toy_objective.h"

namespace align::train {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// A run on the toy objective, its store, optimizer and data position.
struct ToyRun {
  explicit ToyRun(const std::string& root, int64_t keep = 2)
      : store(ToyStore(1)),
        optimizer({.learning_rate = 0.01}, nullptr, {store.get()}),
        checkpoints(root, keep, {{"policy", store.get()}}, optimizer) {}

  void Train(int64_t until, int64_t first_step) {
    ASSERT_TRUE(RunLoop({.max_steps = until}, Quadratic(*store, 2, position),
                        {store.get()}, optimizer, {}, first_step)
                    .ok());
  }
  absl::Status Save(int64_t step) {
    CheckpointState state;
    state.step = step;
    state.config_hash = "config";
    state.positions["train"] = position;
    state.streams["order"] = rng.state();
    state.values["kl_coef"] = 0.1 + 0.2;
    return checkpoints.Save(state);
  }
  std::vector<float> values() const {
    return {store->values().begin(), store->values().end()};
  }

  std::unique_ptr<ParamStore> store;
  Optimizer optimizer;
  Checkpoints checkpoints;
  Rng rng{5};
  int64_t position = 0;
};

std::string FreshRoot(const std::string& name) {
  const std::string root = testing::TempDir() + "/checkpoint_" + name;
  fs::remove_all(root);
  return root;
}

void FlipByte(const std::string& path, int64_t offset) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  ASSERT_TRUE(file);
  file.seekg(offset);
  const char byte = static_cast<char>(file.get());
  file.seekp(offset);
  file.put(static_cast<char>(byte ^ 1));
}

TEST(Checkpoints, ResumedEqualsStraightThroughToTheBit) {
  const std::string root = FreshRoot("resume");
  ToyRun straight(root);
  straight.Train(3, 0);
  straight.rng.Normal();
  ASSERT_TRUE(straight.Save(3).ok());
  straight.Train(9, 3);

  ToyRun resumed(root);
  const auto state = resumed.checkpoints.RestoreLatest("config");
  ASSERT_TRUE(state.ok()) << Message(state.status());
  ASSERT_TRUE(state->has_value());
  EXPECT_EQ((*state)->step, 3);
  EXPECT_EQ((*state)->values.at("kl_coef"), 0.1 + 0.2);
  EXPECT_EQ(resumed.optimizer.steps(), 3);
  resumed.position = (*state)->positions.at("train");
  resumed.rng.set_state((*state)->streams.at("order"));
  resumed.Train(9, (*state)->step);
  EXPECT_EQ(resumed.values(), straight.values());
  EXPECT_EQ(resumed.rng.Normal(), straight.rng.Normal());
}

TEST(Checkpoints, KeepsTheNewest) {
  const std::string root = FreshRoot("keep");
  ToyRun run(root, 2);
  for (int64_t step : {1, 2, 10, 1000000}) ASSERT_TRUE(run.Save(step).ok());
  EXPECT_FALSE(fs::exists(root + "/step-000001"));
  EXPECT_FALSE(fs::exists(root + "/step-000002"));
  EXPECT_TRUE(fs::exists(root + "/step-000010"));
  EXPECT_EQ((*run.checkpoints.RestoreLatest("config"))->step, 1000000);
}

TEST(Checkpoints, ACorruptOneFallsBackToThePrevious) {
  for (const char* file :
       {"policy.safetensors", "policy.moments.safetensors", "manifest"}) {
    const std::string root = FreshRoot("corrupt");
    ToyRun run(root);
    run.Train(1, 0);
    ASSERT_TRUE(run.Save(1).ok());
    const std::vector<float> good = run.values();
    run.Train(2, 1);
    ASSERT_TRUE(run.Save(2).ok());
    const std::string path = root + "/step-000002/" + file;
    FlipByte(path, static_cast<int64_t>(fs::file_size(path)) - 3);
    std::string warning;
    SetLogSink([&](LogLevel, const std::string& line) { warning = line; });
    const auto state = run.checkpoints.RestoreLatest("config");
    SetLogSink(nullptr);
    ASSERT_TRUE(state.ok());
    EXPECT_EQ((*state)->step, 1) << file;
    EXPECT_EQ(run.values(), good) << file;
    EXPECT_THAT(warning, HasSubstr(path));
  }
}

TEST(Checkpoints, TruncatedAndMissingFilesFallBackToo) {
  const std::string root = FreshRoot("truncated");
  ToyRun run(root, 3);
  for (int64_t step : {1, 2, 3}) ASSERT_TRUE(run.Save(step).ok());
  fs::resize_file(root + "/step-000003/manifest", 7);
  fs::remove(root + "/step-000002/policy.safetensors");
  SetLogSink([](LogLevel, const std::string&) {});
  const auto state = run.checkpoints.RestoreLatest("config");
  SetLogSink(nullptr);
  ASSERT_TRUE(state.ok());
  EXPECT_EQ((*state)->step, 1);
}

TEST(Checkpoints, SavingAfterAFallBackKeepsWhatIsGood) {
  const std::string root = FreshRoot("after_fallback");
  ToyRun run(root, 1);
  ASSERT_TRUE(run.Save(5).ok());
  fs::resize_file(root + "/step-000005/manifest", 7);
  ASSERT_TRUE(run.Save(4).ok());
  SetLogSink([](LogLevel, const std::string&) {});
  EXPECT_EQ((*run.checkpoints.RestoreLatest("config"))->step, 4);
  SetLogSink(nullptr);
}

TEST(Checkpoints, NothingToRestoreIsNoError) {
  ToyRun run(FreshRoot("none"));
  const auto state = run.checkpoints.RestoreLatest("config");
  ASSERT_TRUE(state.ok());
  EXPECT_FALSE(state->has_value());
}

TEST(Checkpoints, RefusesAnotherConfigOrModel) {
  const std::string root = FreshRoot("config");
  ToyRun run(root);
  ASSERT_TRUE(run.Save(1).ok());
  const auto other = run.checkpoints.RestoreLatest("other");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(Message(other.status()), HasSubstr("expected other"));

  ParamStore small({{"weight", {2, 3}}});
  small.EnableGradients();
  Optimizer optimizer({}, nullptr, {&small});
  Checkpoints checkpoints(root, 1, {{"policy", &small}}, optimizer);
  EXPECT_EQ(checkpoints.RestoreLatest("config").status().code(),
            absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace align::train
