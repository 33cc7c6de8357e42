#include "align/config/parse.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "proto/config.pb.h"

namespace align {
namespace {

using ::testing::HasSubstr;

TEST(ParseConfigTest, UnknownKeyNamesLineAndNearMiss) {
  pb::TrainConfig config;
  const absl::Status status =
      ParseConfig("method: \"sft\"\noptimizer {\n  learning_rat: 1\n}\n",
                  "c.textproto", config);
  EXPECT_THAT(Message(status), HasSubstr("c.textproto:3:"));
  EXPECT_THAT(Message(status), HasSubstr("did you mean 'learning_rate'?"));
}

TEST(ParseConfigTest, WrongTypeIsRefused) {
  pb::TrainConfig config;
  const absl::Status status =
      ParseConfig("loop { steps: \"many\" }", "c", config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("c:1:"));
}

TEST(ApplyOverrideTest, SetsNestedScalarsStringsAndLists) {
  pb::TrainConfig config;
  ASSERT_TRUE(ApplyOverride("optimizer.learning_rate=2e-4", config).ok());
  ASSERT_TRUE(ApplyOverride("model.path=/a b/\"c\"", config).ok());
  ASSERT_TRUE(ApplyOverride("data.train=x,y", config).ok());
  ASSERT_TRUE(ApplyOverride("data.train=u,v,w", config).ok());
  EXPECT_EQ(config.optimizer().learning_rate(), 2e-4);
  EXPECT_EQ(config.model().path(), "/a b/\"c\"");
  EXPECT_EQ(config.data().train_size(), 3);
  EXPECT_EQ(config.data().train(2), "w");
}

TEST(ApplyOverrideTest, ErrorsNameThePart) {
  pb::TrainConfig config;
  EXPECT_THAT(Message(ApplyOverride("optimiser.beta1=1", config)),
              HasSubstr("did you mean 'optimizer'?"));
  EXPECT_THAT(Message(ApplyOverride("optimizer.beta1=big", config)),
              HasSubstr("'big' is no double"));
  EXPECT_THAT(Message(ApplyOverride("optimizer=1", config)),
              HasSubstr("group of keys"));
  EXPECT_THAT(Message(ApplyOverride("method.x=1", config)),
              HasSubstr("has no keys below it"));
}

TEST(IsOverrideTest, TellsOverridesFromPathsAndFlags) {
  EXPECT_TRUE(IsOverride("a.b=c"));
  EXPECT_FALSE(IsOverride("--out=x"));
  EXPECT_FALSE(IsOverride("dir/a=b"));
  EXPECT_FALSE(IsOverride("config.textproto"));
}

}  // namespace
}  // namespace align
