#include "align/train/preference_objective.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace align::train {
namespace {

using ::testing::HasSubstr;

TEST(MakePairLoss, SetsOptionsOverDefaults) {
  const auto made =
      MakePairLoss("sigmoid", {{"beta", "0.5"}, {"reference_free", "true"}});
  ASSERT_TRUE(made.ok()) << Message(made.status());
  EXPECT_EQ(made->beta, 0.5);
  EXPECT_FALSE(made->needs.reference);
  losses::PairInputs in;
  in.policy_chosen = Eigen::ArrayXd::Constant(1, -1.0);
  in.policy_rejected = Eigen::ArrayXd::Constant(1, -3.0);
  EXPECT_NEAR(made->loss(in).loss[0], std::log1p(std::exp(-1.0)), 1e-15);
}

TEST(MakePairLoss, SaysWhatIsWrongAndWhatIsAllowed) {
  const absl::Status unknown = MakePairLoss("sigmod").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(unknown), HasSubstr("did you mean 'sigmoid'"));
  EXPECT_THAT(Message(MakePairLoss("hinge", {{"beta", "0"}}).status()),
              HasSubstr("a number in (0, inf)"));
}

}  // namespace
}  // namespace align::train
