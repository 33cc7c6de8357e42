// The models that examples/demo.sh runs on: examples/reviews.

#include <gmock/gmock.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "align/config/compare_plan.h"
#include "align/config/parse.h"
#include "align/models/model.h"
#include "align/text/tokenizer.h"
#include "align/train/reward_function.h"
#include "proto/config.pb.h"
#include "samplers/generate.h"

namespace align {
namespace {

using ::testing::ContainsRegex;
using ::testing::Le;
using ::testing::SizeIs;

const std::string kFolder =
    std::string(ALIGN_SOURCE_DIR) + "/examples/reviews/";

TEST(ReviewsTest, ModelsAreAsSmallAsTheirCardsSay) {
  for (const std::string name : {"policy", "gold"}) {
    const auto model = LoadModel(kFolder + name);
    ASSERT_TRUE(model.ok()) << model.status();
    EXPECT_THAT((*model)->params().parameter_count(), Le(2'000'000)) << name;
    EXPECT_THAT((*model)->config().vocab_size, Le(4096)) << name;
    EXPECT_THAT(
        std::filesystem::file_size(kFolder + name + "/model.safetensors"),
        Le(uint64_t{5'000'000}))
        << name;
    EXPECT_TRUE(std::filesystem::exists(kFolder + name + "/README.md"));
  }
}

TEST(ReviewsTest, JudgeTellsPraiseFromBlame) {
  const auto judge = LoadModel(kFolder + "gold");
  const auto tokenizer = LoadTokenizer(kFolder + "gold");
  ASSERT_TRUE(judge.ok()) << judge.status();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::vector<std::string> praise = {
      "A wonderful film, warm and funny, with a superb cast. I loved it.",
      "One of the best movies of the year, highly recommended."};
  const std::vector<std::string> blame = {
      "A terrible film, boring and stupid, with an awful cast. I hated it.",
      "One of the worst movies of the year, avoid it at all costs."};
  std::vector<std::vector<int32_t>> prompts, replies;
  for (const auto* side : {&praise, &blame}) {
    for (const std::string& text : *side) {
      prompts.push_back({*(*tokenizer)->bos_id()});
      replies.push_back((*tokenizer)->EncodeContinuation(text));
    }
  }
  const auto rewards = train::RewardModelFunction(**judge)(prompts, replies);
  ASSERT_TRUE(rewards.ok()) << rewards.status();
  EXPECT_GT((*rewards)[0], 0);
  EXPECT_GT((*rewards)[1], 0);
  EXPECT_LT((*rewards)[2], 0);
  EXPECT_LT((*rewards)[3], 0);
}

TEST(ReviewsTest, WriterWritesWords) {
  const auto policy = LoadModel(kFolder + "policy");
  const auto tokenizer = LoadTokenizer(kFolder + "policy");
  ASSERT_TRUE(policy.ok()) << policy.status();
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::vector<std::vector<int32_t>> start = {{*(*tokenizer)->bos_id()}};
  const auto replies = samplers::Generate(
      **policy, start, 1, {.max_new_tokens = 24, .temperature = 0}, Rng(0));
  ASSERT_TRUE(replies.ok()) << replies.status();
  // What the likeliest review begins with is English.
  EXPECT_THAT((*tokenizer)->DecodeContinuation((*replies)[0].tokens),
              ContainsRegex(" (the|this|a) .*(movie|film)"));
}

TEST(ReviewsTest, CompareConfigHasEveryStage) {
  pb::CompareConfig config;
  const absl::Status status =
      LoadConfig(kFolder + "compare.textproto",
                 {"base.path=" + kFolder + "policy",
                  "gold.reward_model=" + kFolder + "gold"},
                 config);
  ASSERT_TRUE(status.ok()) << status;
  const auto plan = PlanCompare(config);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(*plan, SizeIs(12));
}

}  // namespace
}  // namespace align
