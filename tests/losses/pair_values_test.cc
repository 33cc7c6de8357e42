// Closed forms of single losses: at special points and in the limits of their
// parameters.

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "losses/pair_registry.h"
#include "losses/reward_registry.h"
#include "tests/losses/pair_inputs.h"

namespace align::losses {
namespace {

constexpr double kLn2 = std::numbers::ln2;

// The policy still is the reference, and chosen and rejected are alike.
PairInputs AtReference() {
  PairInputs in = SomePairs(4);
  in.policy_rejected = in.policy_chosen;
  in.reference_chosen = in.reference_rejected = in.policy_chosen;
  in.rejected_tokens = in.chosen_tokens;
  in.reward_margin.setZero();
  in.running_mean = 0;
  return in;
}

PairLossResult Loss(const std::string& name, const PairInputs& in,
                    const OptionValues& values = {}) {
  const PairLossOrError made = MakePairLoss(name, values);
  EXPECT_TRUE(made.ok()) << made.error;
  return made.loss(in);
}

TEST(PairValues, AtZeroMargin) {
  const std::vector<std::tuple<std::string, OptionValues, double>> cases = {
      {"sigmoid", {}, kLn2},
      {"sigmoid", {{"label_smoothing", "0.3"}}, kLn2},
      {"sigmoid", {{"f_divergence", "js"}}, kLn2},
      {"robust", {{"label_smoothing", "0.2"}}, kLn2},
      {"hinge", {}, 1},
      {"ipo", {}, 25},
      {"exo_pair", {{"label_smoothing", "0.5"}}, 0},
      {"nca_pair", {}, 2 * kLn2},
      {"bco_pair", {}, 2 * kLn2},
      {"sppo_hard", {}, 50},
      {"aot", {}, kLn2},
      {"aot_unpaired", {}, kLn2},
      {"apo_zero", {}, 1},
      {"apo_down", {}, 1},
      {"discopop", {}, 0.5 * kLn2 + 0.5},
      {"sigmoid_norm", {}, kLn2},
      {"kto_pair", {}, 0.5},
      {"rpo_bwd_kl", {}, 0},
      {"rpo_fwd_kl", {}, 0},
      {"rpo_sq", {}, 0},
      {"rso_sigmoid_norm", {}, kLn2},
      {"xpo", {{"alpha", "0"}}, kLn2},
      {"xpo", {{"alpha", "0"}, {"loss_type", "ipo"}}, 25},
      {"rso_hinge", {}, 1},
      {"rso_hinge_norm", {}, 1},
      {"slic", {{"regularization", "0"}, {"delta", "0.75"}}, 0.75},
      {"cpo", {{"cpo_alpha", "0"}}, kLn2},
      {"simpo", {}, std::log1p(std::numbers::e)},
      {"alphapo", {}, std::log1p(std::numbers::e)}};
  for (const auto& [name, values, wanted] : cases) {
    EXPECT_NEAR(
        (Loss(name, AtReference(), values).loss - wanted).abs().maxCoeff(), 0,
        1e-12)
        << name;
  }
}

TEST(PairValues, NllTermsDivideByWhatTheySay) {
  PairInputs in = SomePairs(3);
  const double nll = -in.policy_chosen.sum();
  in.chosen_nll.resize(0);
  EXPECT_NEAR(Loss("sft", in).loss.mean(), nll / in.chosen_tokens.sum(), 1e-14);
  EXPECT_NEAR(Loss("sft", in, {{"nll_average", "sum"}}).loss.sum(), nll, 1e-13);
  EXPECT_NEAR(Loss("sft", in, {{"nll_average", "sequences"}}).loss.sum(),
              (-in.policy_chosen / in.chosen_tokens).sum(), 1e-14);
  // The same term added to another loss.
  const double with = Loss("sigmoid", in, {{"rpo_alpha", "0.5"}}).loss.mean();
  EXPECT_NEAR(with - Loss("sigmoid", in).loss.mean(),
              0.5 * nll / in.chosen_tokens.sum(), 1e-14);
  // ORPO near odds of 1 : 1, where the odds term is beta ln 2.
  PairInputs even = AtReference();
  even.chosen_nll.resize(0);
  EXPECT_NEAR(Loss("orpo", even).loss.mean(),
              0.1 * kLn2 - even.policy_chosen.sum() / even.chosen_tokens.sum(),
              1e-14);
}

void ExpectSame(const PairLossResult& a, const PairLossResult& b,
                double tolerance) {
  EXPECT_NEAR((a.loss - b.loss).abs().maxCoeff(), 0, tolerance);
  EXPECT_NEAR((a.d_policy_chosen - b.d_policy_chosen).abs().maxCoeff(), 0,
              tolerance);
  EXPECT_NEAR((a.d_policy_rejected - b.d_policy_rejected).abs().maxCoeff(), 0,
              tolerance);
}

TEST(PairValues, LimitsInTheParametersMeetOtherLosses) {
  const PairInputs in = SomePairs(5);
  const OptionValues beta = {{"beta", "0.3"}};
  const PairLossResult dpo = Loss("sigmoid", in, beta);
  ExpectSame(dpo, Loss("robust", in, beta), 1e-15);
  ExpectSame(dpo, Loss("rso_sigmoid_norm", in, {{"gamma", "0.3"}}), 1e-15);
  ExpectSame(Loss("hinge", in, beta),
             Loss("rso_hinge_norm", in, {{"gamma", "0.3"}}), 1e-15);
  ExpectSame(
      dpo,
      Loss("sigmoid", in,
           {{"beta", "0.3"}, {"f_divergence", "alpha"}, {"f_alpha", "1"}}),
      1e-15);
  // alpha -> 0 is forward KL: -exp(-r).
  ExpectSame(Loss("sigmoid", in, {{"f_divergence", "forward_kl"}}),
             Loss("sigmoid", in, {{"f_divergence", "alpha"}, {"f_alpha", "0"}}),
             1e-14);
  // A small alpha is SimPO; expm1 keeps the digits.
  ExpectSame(Loss("simpo", in), Loss("simpo", in, {{"alpha", "1e-9"}}), 1e-7);
  // A huge tau blends half and half, whatever the margin.
  const PairLossResult blend = Loss("discopop", in, {{"tau", "1e12"}});
  const Eigen::ArrayXd x = 0.1 * ((in.policy_chosen - in.reference_chosen) -
                                  (in.policy_rejected - in.reference_rejected));
  EXPECT_NEAR(
      (blend.loss - 0.5 * (-LogSigmoid(x) + (-x).exp())).abs().maxCoeff(), 0,
      1e-10);
}

TEST(PairValues, SwappingAPairReflectsTheLoss) {
  const PairInputs in = SomePairs(5);
  PairInputs swapped = in;
  std::swap(swapped.policy_chosen, swapped.policy_rejected);
  std::swap(swapped.reference_chosen, swapped.reference_rejected);
  // -log sigmoid(x) - (-log sigmoid(-x)) = -x.
  const PairLossResult a = Loss("sigmoid", in), b = Loss("sigmoid", swapped);
  EXPECT_NEAR((a.loss - b.loss + a.chosen_rewards - a.rejected_rewards)
                  .abs()
                  .maxCoeff(),
              0, 1e-14);
  // Labels that are wrong half of the time know no order.
  const OptionValues half = {{"label_smoothing", "0.5"}};
  EXPECT_TRUE(Loss("sigmoid", in, half)
                  .loss.isApprox(Loss("sigmoid", swapped, half).loss, 1e-14));
  EXPECT_TRUE(Loss("exo_pair", in, half)
                  .loss.isApprox(Loss("exo_pair", swapped, half).loss, 1e-12));
}

TEST(PairValues, AotDoesNotCareWhichPairIsWhich) {
  PairInputs in = SomePairs(6);
  PairInputs shuffled = in;
  shuffled.reference_chosen.reverseInPlace();
  shuffled.reference_rejected.reverseInPlace();
  ExpectSame(Loss("aot", in), Loss("aot", shuffled), 1e-15);
  PairInputs rejected = in;
  rejected.policy_rejected.reverseInPlace();
  rejected.reference_rejected.reverseInPlace();
  EXPECT_TRUE(Loss("aot_unpaired", in)
                  .loss.isApprox(Loss("aot_unpaired", rejected).loss, 1e-14));
}

TEST(PairValues, ModifiersWeighTokensAndPairs) {
  const PairInputs in = SomePairs(4);
  // ld_alpha 0: only the heads count.
  PairInputs heads = in;
  heads.policy_chosen = in.policy_chosen_head;
  heads.policy_rejected = in.policy_rejected_head;
  heads.reference_chosen = in.reference_chosen_head;
  heads.reference_rejected = in.reference_rejected_head;
  const PairLossResult ld = Loss("sigmoid", in, {{"ld_alpha", "0"}});
  const PairLossResult cut = Loss("sigmoid", heads);
  EXPECT_TRUE(ld.loss.isApprox(cut.loss, 1e-15));
  EXPECT_TRUE(ld.d_policy_chosen_head.isApprox(cut.d_policy_chosen, 1e-15));
  EXPECT_EQ(ld.d_policy_chosen.abs().maxCoeff(), 0);
  const PairLossResult wpo = Loss("hinge", in, {{"use_weighting", "true"}});
  EXPECT_TRUE(wpo.loss.isApprox(
      Loss("hinge", in).loss *
          (in.chosen_log_weight + in.rejected_log_weight).exp(),
      1e-14));
}

// The bonus is alpha times the log-prob of the reference's sample, whichever of
// the two replies that is.
TEST(Xpo, AddsTheLogProbOfTheReferencesSample) {
  const PairInputs in = SomePairs(4);
  const double alpha = 0.25;
  const PairLossResult with = Loss("xpo", in, {{"alpha", "0.25"}});
  const PairLossResult plain = Loss("sigmoid", in);
  for (Eigen::Index i = 0; i < 4; ++i) {
    const bool won = in.policy_won[i] != 0;
    const double sample = won ? in.policy_rejected[i] : in.policy_chosen[i];
    EXPECT_NEAR(with.loss[i], plain.loss[i] + alpha * sample, 1e-14);
    EXPECT_NEAR(with.d_policy_chosen[i],
                plain.d_policy_chosen[i] + (won ? 0 : alpha), 1e-15);
    EXPECT_NEAR(with.d_policy_rejected[i],
                plain.d_policy_rejected[i] + (won ? alpha : 0), 1e-15);
  }
}

TEST(RunningMean, IsTheMeanOfStepsAndSkipsWhatIsNotFinite) {
  RunningMoments moments;
  PairInputs in = SomePairs(2);
  TakeIntoRunningMean(moments, in);
  const double first = MeanLogRatio(in);
  EXPECT_NEAR(in.running_mean, first, 1e-15);
  in.policy_chosen += 1;
  TakeIntoRunningMean(moments, in);
  EXPECT_NEAR(in.running_mean, first + 0.25, 1e-15);
  in.policy_chosen[0] = std::nan("");
  TakeIntoRunningMean(moments, in);
  EXPECT_NEAR(in.running_mean, first + 0.25, 1e-15);
}

TEST(Numerics, ExpAndExpm1KeepTheirDigits) {
  for (double x = -40; x < 10; x += 0.0371) {
    const ExpPair e = ExpAndExpm1(x);
    EXPECT_NEAR(e.exp / std::exp(x), 1, 1e-15) << x;
    EXPECT_NEAR(e.exp_minus_1 / std::expm1(x), 1, 1e-15) << x;
  }
}

TEST(Numerics, LogisticKeepsTheDigitsOfLog1p) {
  for (double x = -44; x < 700; x += 0.0371) {
    const LogisticValues s = Logistic(x);
    EXPECT_NEAR(s.log_p / LogSigmoid(x), 1, 1e-15) << x;
    EXPECT_NEAR(s.log_q / LogSigmoid(-x), 1, 1e-15) << x;
  }
}

TEST(Numerics, Log1mExpKeepsDigitsOnBothSides) {
  EXPECT_NEAR(Log1mExp(-1e-10) / std::log(1e-10), 1, 1e-11);
  EXPECT_NEAR(Log1mExp(-50) / -std::exp(-50), 1, 1e-14);
  EXPECT_NEAR(Log1mExp(-kLn2), -kLn2, 1e-15);
}

TEST(Numerics, LogisticIsConsistentAndFinite) {
  for (double x : {-1e4, -800.0, -3.0, -1e-9, 0.0, 1e-9, 3.0, 800.0, 1e4}) {
    const LogisticValues s = Logistic(x);
    EXPECT_DOUBLE_EQ(s.p, Sigmoid(x));
    EXPECT_DOUBLE_EQ(s.q, Sigmoid(-x));
    EXPECT_DOUBLE_EQ(s.log_p, LogSigmoid(x));
    EXPECT_NEAR(s.log_q, LogSigmoid(-x), 1e-15 * std::abs(x));
  }
}

TEST(LogExp, EqualsBradleyTerryAndDoesNotOverflow) {
  const Eigen::ArrayXd w{{1.0, -2.0, -1e4}}, l{{0.5, 3.0, 1e4}};
  const auto a = LogExpLoss(w, l), b = BradleyTerryLoss(w, l);
  EXPECT_TRUE(a.loss.isApprox(b.loss, 1e-15));
  EXPECT_TRUE(a.d_chosen.isApprox(b.d_chosen, 1e-15));
  EXPECT_DOUBLE_EQ(a.loss[2], 2e4);
}

TEST(RewardLosses, AreMadeByNameAndSayWhatIsAllowed) {
  const Eigen::ArrayXd w{{1.0, -2.0}}, l{{0.5, 3.0}}, margins{{0.25, 1.0}};
  const RewardLossOrError centred =
      MakeRewardLoss("bradley_terry", {{"center_rewards_coefficient", "0.01"}});
  ASSERT_TRUE(centred.ok()) << centred.error;
  const Eigen::ArrayXd expected =
      BradleyTerryLoss(w, l, margins, {.center_rewards_coefficient = 0.01})
          .loss;
  EXPECT_TRUE((centred.loss(w, l, margins).loss == expected).all());
  const RewardLossOrError log_exp = MakeRewardLoss("log_exp");
  ASSERT_TRUE(log_exp.ok()) << log_exp.error;
  EXPECT_TRUE(
      (log_exp.loss(w, l, margins).loss == LogExpLoss(w, l).loss).all());
  EXPECT_EQ(MakeRewardLoss("logexp").error,
            "loss 'logexp' is unknown; did you mean 'log_exp'? Known: "
            "bradley_terry, log_exp");
  EXPECT_EQ(MakeRewardLoss("log_exp", {{"beta", "1"}}).error,
            "loss log_exp: option 'beta' is unknown; there are none");
}

}  // namespace
}  // namespace align::losses
