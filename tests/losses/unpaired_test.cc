#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "losses/unpaired_registry.h"

namespace align::losses {
namespace {

UnpairedInputs Inputs() {
  UnpairedInputs in;
  in.policy = Eigen::ArrayXd{{-10.0, -3.5, -21.0, -7.25}};
  in.reference = Eigen::ArrayXd{{-11.0, -3.0, -19.0, -7.0}};
  in.desirable = Labels{{true, false, false, true}};
  in.mismatched_policy = Eigen::ArrayXd{{-30.0, -41.0, -35.0, -28.0}};
  in.mismatched_reference = Eigen::ArrayXd{{-31.0, -40.5, -38.0, -28.5}};
  in.density_ratio = Eigen::ArrayXd{{2.0, 0.1, 3.0, 40.0}};
  return in;
}

// Option sets that cover every branch.
struct Setting {
  std::string name;
  OptionValues values;
};
std::vector<Setting> Settings() {
  return {
      {"kto", {}},
      {"kto", {{"desirable_weight", "1.3"}, {"undesirable_weight", "0.4"}}},
      {"kto", {{"kl", "given"}, {"kl_value", "2.5"}, {"beta", "0.7"}}},
      {"apo_zero_unpaired", {}},
      {"apo_zero_unpaired", {{"undesirable_weight", "2"}, {"beta", "1"}}},
      {"bco", {}},
      {"bco", {{"delta", "batch"}, {"udm", "true"}, {"beta", "0.6"}}},
      {"bco", {{"delta", "given"}, {"delta_value", "-0.3"}}},
  };
}

UnpairedLossOrError Make(const Setting& setting) {
  UnpairedLossOrError made = MakeUnpairedLoss(setting.name, setting.values);
  EXPECT_TRUE(made.ok()) << made.error;
  return made;
}

// The loss with its reference point held, as its gradient has it.
UnpairedLoss Held(const Setting& setting, double reference_point) {
  OptionValues values = setting.values;
  const std::string text = std::to_string(reference_point);
  if (setting.name == "kto") {
    values.insert(values.end(), {{"kl", "given"}, {"kl_value", text}});
  } else if (setting.name == "bco") {
    values.insert(values.end(), {{"delta", "given"}, {"delta_value", text}});
  }
  return Make({setting.name, values}).loss;
}

TEST(UnpairedLoss, GradientsMatchFiniteDifferencesWithTheReferencePointHeld) {
  const double h = 1e-5;
  for (const Setting& setting : Settings()) {
    RunningMoments moments;
    const UnpairedResult at = Make(setting).loss(Inputs(), moments);
    const UnpairedLoss held = Held(setting, at.reference_point);
    for (Eigen::Index i = 0; i < at.loss.size(); ++i) {
      UnpairedInputs up = Inputs(), down = Inputs();
      up.policy[i] += h;
      down.policy[i] -= h;
      const double slope =
          (held(up, moments).loss.sum() - held(down, moments).loss.sum()) /
          (2 * h);
      // The held point is a text of six decimals.
      EXPECT_NEAR(at.d_policy[i], slope, 1e-6) << setting.name << " " << i;
    }
  }
}

TEST(UnpairedLoss, GradientPushesDesirableUpAndUndesirableDown) {
  for (const Setting& setting : Settings()) {
    RunningMoments moments;
    const UnpairedResult out = Make(setting).loss(Inputs(), moments);
    for (Eigen::Index i = 0; i < out.loss.size(); ++i) {
      EXPECT_GE(out.loss[i], 0) << setting.name;
      EXPECT_LT(Inputs().desirable[i] ? out.d_policy[i] : -out.d_policy[i], 0)
          << setting.name;
    }
  }
}

TEST(UnpairedLoss, FlippingLabelsAndLogRatiosLeavesTheLossOfPlainWeights) {
  UnpairedInputs flipped = Inputs();
  std::swap(flipped.policy, flipped.reference);
  flipped.desirable = !flipped.desirable;
  for (const Setting& setting :
       {Setting{"kto", {{"kl", "given"}}}, Setting{"apo_zero_unpaired", {}},
        Setting{"bco", {}}}) {
    const UnpairedLoss loss = Make(setting).loss;
    RunningMoments one, other;
    const UnpairedResult a = loss(Inputs(), one), b = loss(flipped, other);
    for (Eigen::Index i = 0; i < a.loss.size(); ++i) {
      EXPECT_NEAR(a.loss[i], b.loss[i], 1e-15) << setting.name;
      EXPECT_NEAR(a.d_policy[i], -b.d_policy[i], 1e-15) << setting.name;
    }
  }
}

TEST(UnpairedLoss, OneClassOneRowAndNoneAreFinite) {
  for (const Setting& setting : Settings()) {
    const UnpairedLoss loss = Make(setting).loss;
    for (const bool label : {true, false}) {
      UnpairedInputs in = Inputs();
      in.desirable.setConstant(label);
      RunningMoments moments;
      EXPECT_TRUE(loss(in, moments).loss.isFinite().all()) << setting.name;
      in = {Eigen::ArrayXd{{-5.0}},     Eigen::ArrayXd{{-4.0}},
            Labels::Constant(1, label), Eigen::ArrayXd{{-5.0}},
            Eigen::ArrayXd{{-4.0}},     Eigen::ArrayXd{{1.0}}};
      moments = {};
      const UnpairedResult one = loss(in, moments);
      EXPECT_TRUE(one.loss.isFinite().all()) << setting.name;
      EXPECT_TRUE(one.d_policy.isFinite().all()) << setting.name;
    }
    RunningMoments moments;
    EXPECT_EQ(loss(UnpairedInputs(), moments).loss.size(), 0) << setting.name;
    EXPECT_EQ(moments.count, 0) << setting.name;
  }
}

TEST(UnpairedLoss, ExtremeLogProbsGiveFiniteLossesAndGradients) {
  UnpairedInputs in = Inputs();
  in.policy = Eigen::ArrayXd{{-1e4, -1e4, 0.0, 0.0}};
  in.reference = Eigen::ArrayXd{{0.0, 0.0, -1e4, -1e4}};
  in.mismatched_policy = in.policy + 1e3;
  in.mismatched_reference = in.reference;
  for (Setting setting : Settings()) {
    for (const char* beta : {"0.1", "1000"}) {
      setting.values.emplace_back("beta", beta);
      RunningMoments moments;
      const UnpairedResult out = Make(setting).loss(in, moments);
      EXPECT_TRUE(out.loss.isFinite().all()) << setting.name;
      EXPECT_TRUE(out.d_policy.isFinite().all()) << setting.name;
      EXPECT_TRUE(out.rewards.isFinite().all()) << setting.name;
    }
  }
}

TEST(UnpairedLoss, AtTheReferenceKtoIsHalfAndBcoLnTwo) {
  UnpairedInputs in = Inputs();
  in.policy = in.reference;
  in.mismatched_policy = in.mismatched_reference;
  RunningMoments moments;
  const Setting weighted = {
      "kto", {{"desirable_weight", "3"}, {"undesirable_weight", "5"}}};
  EXPECT_EQ(Make(weighted).loss(in, moments).loss[0], 1.5);
  EXPECT_EQ(Make(weighted).loss(in, moments).loss[1], 2.5);
  EXPECT_EQ(Make({"apo_zero_unpaired", {}}).loss(in, moments).loss[2], 0.5);
  EXPECT_NEAR(Make({"bco", {}}).loss(in, moments).loss[3], std::log(2.0),
              1e-15);
}

TEST(Kto, KlIsTheMeanOfMismatchedRatiosClampedAtZero) {
  UnpairedInputs in = Inputs();
  RunningMoments moments;
  const UnpairedLoss loss = Make({"kto", {}}).loss;
  const UnpairedResult out = loss(in, moments);
  EXPECT_DOUBLE_EQ(out.reference_point, (1.0 - 0.5 + 3.0 + 0.5) / 4);
  // lambda (1 - sigmoid(0.1 (r - z))) of the first row, r = 1.
  EXPECT_DOUBLE_EQ(out.loss[0], 0.5);
  in.mismatched_policy -= 10.0;
  EXPECT_EQ(loss(in, moments).reference_point, 0);
  EXPECT_EQ(loss(in, moments).loss[0],
            Make({"apo_zero_unpaired", {}}).loss(in, moments).loss[0]);
}

TEST(Kto, AWeightOfZeroSilencesItsClass) {
  RunningMoments moments;
  const UnpairedResult out =
      Make({"kto", {{"undesirable_weight", "0"}}}).loss(Inputs(), moments);
  EXPECT_EQ(out.loss[1], 0);
  EXPECT_EQ(out.d_policy[2], 0);
  EXPECT_GT(out.loss[0], 0);
}

TEST(Bco, ConstantShiftOfRewardsCancels) {
  UnpairedInputs shifted = Inputs();
  shifted.policy += 17.0;
  const UnpairedLoss loss = Make({"bco", {}}).loss;
  RunningMoments one, other;
  const UnpairedResult a = loss(Inputs(), one), b = loss(shifted, other);
  for (Eigen::Index i = 0; i < a.loss.size(); ++i) {
    EXPECT_NEAR(a.loss[i], b.loss[i], 1e-14);
  }
  EXPECT_NEAR(b.reference_point - a.reference_point, 1.7, 1e-14);
}

TEST(Bco, RunningDeltaIsTheMeanOfEverythingSeenAndStateResumes) {
  const UnpairedLossOrError made = Make({"bco", {}});
  EXPECT_TRUE(made.needs.moments);
  UnpairedInputs second = Inputs();
  second.policy += 3.0;
  RunningMoments moments;
  made.loss(Inputs(), moments);
  RunningMoments resumed = moments;
  const UnpairedResult out = made.loss(second, moments);
  const double mean_ratio = (1.0 - 0.5 - 2.0 - 0.25) / 4;
  EXPECT_NEAR(out.reference_point, 0.1 * (mean_ratio + 1.5), 1e-15);
  EXPECT_EQ(moments.count, 8);
  EXPECT_EQ(made.loss(second, resumed).reference_point, out.reference_point);
}

TEST(Bco, DensityRatiosAreClippedAndWeighUndesirableRowsOnly) {
  RunningMoments moments;
  const Setting plain = {"bco", {{"delta", "given"}}};
  const Setting udm = {
      "bco",
      {{"delta", "given"}, {"udm", "true"}, {"max_density_ratio", "2.5"}}};
  const Eigen::ArrayXd a = Make(plain).loss(Inputs(), moments).loss;
  const Eigen::ArrayXd b = Make(udm).loss(Inputs(), moments).loss;
  EXPECT_EQ(b[0], a[0]);
  EXPECT_EQ(b[3], a[3]);
  EXPECT_DOUBLE_EQ(b[1], 0.5 * a[1]);
  EXPECT_DOUBLE_EQ(b[2], 2.5 * a[2]);
}

TEST(RunningMoments, AreThoseOfAllValuesHoweverBatched) {
  const Eigen::ArrayXd all{{1e3, 1e3 + 1, 1e3 - 2, 1e3 + 4, 1e3, 1e3 + 0.5}};
  RunningMoments once, often;
  once.Update(all);
  for (Eigen::Index i = 0; i < all.size(); ++i) often.Update(all.segment(i, 1));
  often.Update(Eigen::ArrayXd());
  const double mean = all.mean();
  EXPECT_NEAR(often.mean, mean, 1e-12);
  EXPECT_NEAR(once.variance, (all - mean).square().mean(), 1e-9);
  EXPECT_NEAR(often.variance, once.variance, 1e-9);
  EXPECT_NEAR(once.StandardDeviation(),
              std::sqrt((all - mean).square().sum() / 5), 1e-9);
  EXPECT_EQ(RunningMoments().StandardDeviation(), 1);
}

TEST(UnpairedRegistry, NeedsFollowTheOptions) {
  EXPECT_TRUE(Make({"kto", {}}).needs.mismatched);
  EXPECT_TRUE(Make({"kto", {}}).needs.coupled);
  EXPECT_FALSE(Make({"kto", {{"kl", "given"}}}).needs.mismatched);
  EXPECT_FALSE(Make({"kto", {{"kl", "given"}}}).needs.coupled);
  EXPECT_FALSE(Make({"apo_zero_unpaired", {}}).needs.coupled);
  EXPECT_TRUE(Make({"bco", {}}).needs.coupled);
  EXPECT_TRUE(Make({"bco", {{"udm", "true"}}}).needs.density_ratio);
  EXPECT_FALSE(Make({"bco", {{"delta", "batch"}}}).needs.moments);
}

TEST(UnpairedRegistry, ErrorsNameNearMissesRangesAndConflicts) {
  const auto error = [](const std::string& name, const OptionValues& values) {
    return MakeUnpairedLoss(name, values).error;
  };
  EXPECT_NE(error("kot", {}).find("did you mean 'kto'"), std::string::npos);
  EXPECT_NE(error("kto", {{"beta", "0"}}).find("(0, inf)"), std::string::npos);
  EXPECT_NE(error("kto", {{"kl", "none"}}).find("mismatched | given"),
            std::string::npos);
  EXPECT_NE(error("bco", {{"min_density_ratio", "11"}})
                .find("expected at most max_density_ratio = 10"),
            std::string::npos);
}

TEST(CheckUnpairedInputs, NamesFieldAndRow) {
  const UnpairedNeeds needs = Make({"kto", {}}).needs;
  EXPECT_EQ(CheckUnpairedInputs(Inputs(), needs), "");
  UnpairedInputs in = Inputs();
  in.policy[2] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(CheckUnpairedInputs(in, needs),
            "policy[2] is not finite; expected a finite value");
  in = Inputs();
  in.reference.conservativeResize(3);
  EXPECT_EQ(CheckUnpairedInputs(in, needs),
            "reference: 3 values; expected 4 as in policy");
  in = Inputs();
  in.mismatched_policy.resize(0);
  EXPECT_NE(CheckUnpairedInputs(in, needs), "");
  in = Inputs();
  in.desirable.conservativeResize(1);
  EXPECT_NE(CheckUnpairedInputs(in, needs), "");
}

}  // namespace
}  // namespace align::losses
