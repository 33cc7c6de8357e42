// What must hold of a loss whatever its numbers: symmetry under swapping the
// pair, limits in the parameters, and sense at the extremes.

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "losses/hinge.h"
#include "losses/ipo.h"
#include "losses/ppo.h"
#include "losses/registry.h"
#include "losses/reward.h"
#include "losses/sigmoid.h"
#include "tests/losses/pair_inputs.h"

namespace align::losses {
namespace {

using Eigen::ArrayXd;

// Pairs whose margins of log-ratios are `margins`, all log-probs near `level`,
// of one token each: the first tokens are the whole reply.
PairInputs Margins(const ArrayXd& margins, double level = -40) {
  const ArrayXd flat = ArrayXd::Constant(margins.size(), level);
  const ArrayXd tokens = ArrayXd::Ones(margins.size());
  const ArrayXd chosen = flat + margins / 2, rejected = flat - margins / 2;
  return {.policy_chosen = chosen,
          .policy_rejected = rejected,
          .reference_chosen = flat,
          .reference_rejected = flat,
          .chosen_tokens = tokens,
          .rejected_tokens = tokens,
          .policy_chosen_head = chosen,
          .policy_rejected_head = rejected,
          .reference_chosen_head = flat,
          .reference_rejected_head = flat,
          .chosen_log_weight = chosen,
          .rejected_log_weight = rejected,
          .reward_margin = margins,
          .policy_won = tokens,
          .chosen_nll = -chosen,
          .chosen_nll_tokens = tokens};
}

PairInputs Swapped(PairInputs in) {
  std::swap(in.policy_chosen, in.policy_rejected);
  std::swap(in.reference_chosen, in.reference_rejected);
  std::swap(in.chosen_tokens, in.rejected_tokens);
  std::swap(in.policy_chosen_head, in.policy_rejected_head);
  std::swap(in.reference_chosen_head, in.reference_rejected_head);
  std::swap(in.chosen_log_weight, in.rejected_log_weight);
  in.reward_margin = -in.reward_margin;
  in.policy_won = 1 - in.policy_won;
  if (in.chosen_nll.size() > 0) in.chosen_nll = -in.policy_chosen;
  return in;
}

// Margins are differences of log-probs near -40, which round at 1e-14.
constexpr double kRounding = 1e-13;

const ArrayXd kMargins{{-3.0, -0.5, 0.0, 0.25, 8.0}};

void ExpectNear(const ArrayXd& got, const ArrayXd& wanted, double tolerance) {
  ASSERT_EQ(got.size(), wanted.size());
  for (Eigen::Index i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i], wanted[i], tolerance) << "element " << i;
  }
}

TEST(SwappingThePair, ExchangesTheRewardsOfEveryLoss) {
  for (const PairLossEntry& entry : PairLosses()) {
    SCOPED_TRACE(entry.name);
    const PairLossOrError loss = MakePairLoss(entry.name);
    const PairInputs in = Only(Margins(kMargins), loss.needs);
    const PairLossResult a = loss.loss(in);
    const PairLossResult b = loss.loss(Swapped(in));
    ExpectNear(a.chosen_rewards, b.rejected_rewards, 0);
    ExpectNear(a.rejected_rewards, b.chosen_rewards, 0);
  }
}

// log sigmoid(x) - log sigmoid(-x) = x.
TEST(SwappingThePair, ChangesTheLogisticLossByTheScaledMargin) {
  const SigmoidOptions options{.beta = 0.7};
  const PairInputs in = Margins(kMargins);
  ExpectNear(SigmoidPairLoss(Swapped(in), options).loss -
                 SigmoidPairLoss(in, options).loss,
             0.7 * kMargins, kRounding);
}

TEST(SwappingThePair, EqualsTurningTheSmoothingAround) {
  const PairInputs in = Margins(kMargins);
  const PairLossResult swapped =
      SigmoidPairLoss(Swapped(in), {.beta = 0.7, .label_smoothing = 0.2});
  const PairLossResult turned =
      SigmoidPairLoss(in, {.beta = 0.7, .label_smoothing = 0.8});
  ExpectNear(swapped.loss, turned.loss, kRounding);
  ExpectNear(swapped.d_policy_chosen, turned.d_policy_rejected, kRounding);
}

// (m - t)^2 - (-m - t)^2 = -4 m t with t = 1 / (2 beta).
TEST(SwappingThePair, ChangesIpoByTheMarginTimesTheTarget) {
  const IpoOptions options{.beta = 0.5};
  const PairInputs in = Margins(kMargins);
  ExpectNear(
      IpoPairLoss(Swapped(in), options).loss - IpoPairLoss(in, options).loss,
      4 * kMargins, 1e-12);
}

// Inside the hinge, 1 - x against 1 + x.
TEST(SwappingThePair, ChangesTheHingeByTwiceTheScaledMargin) {
  const ArrayXd inside{{-0.9, -0.2, 0.0, 0.6}};
  const HingeOptions options{.beta = 1};
  const PairInputs in = Margins(inside);
  ExpectNear(HingePairLoss(Swapped(in), options).loss -
                 HingePairLoss(in, options).loss,
             2 * inside, kRounding);
}

TEST(SwappingThePair, LeavesTheCentringOfRewardsAlone) {
  const ArrayXd w{{1.5, -2.0}}, l{{0.5, 3.0}};
  const BradleyTerryOptions centred{.center_rewards_coefficient = 0.3};
  ExpectNear(
      BradleyTerryLoss(w, l, {}, centred).loss - BradleyTerryLoss(w, l).loss,
      BradleyTerryLoss(l, w, {}, centred).loss - BradleyTerryLoss(l, w).loss,
      1e-13);
  ExpectNear(BradleyTerryLoss(l, w).loss - BradleyTerryLoss(w, l).loss, w - l,
             kRounding);
}

TEST(Limits, WithoutBetaTheLogisticLossIsLnTwoAndItsSlopeHalfOfBeta) {
  const double beta = 1e-9;
  const PairLossResult out = SigmoidPairLoss(Margins(kMargins), {.beta = beta});
  ExpectNear(out.loss, ArrayXd::Constant(kMargins.size(), std::log(2.0)), 1e-8);
  ExpectNear(out.d_policy_chosen / beta,
             ArrayXd::Constant(kMargins.size(), -0.5), 1e-8);
}

// Both become max(0, -margin) times beta.
TEST(Limits, ForLargeBetaLogisticAndHingeArePerceptrons) {
  const double beta = 1e6;
  const ArrayXd wanted = (-kMargins).max(0.0);
  ExpectNear(SigmoidPairLoss(Margins(kMargins), {.beta = beta}).loss / beta,
             wanted, 1e-6);
  ExpectNear(HingePairLoss(Margins(kMargins), {.beta = beta}).loss / beta,
             wanted, 1.1e-6);
}

TEST(Limits, HalfSmoothingPullsEveryMarginToZero) {
  const PairLossResult out =
      SigmoidPairLoss(Margins(kMargins), {.beta = 1, .label_smoothing = 0.5});
  EXPECT_EQ(out.d_policy_chosen[2], 0);
  EXPECT_LT(out.d_policy_chosen[0], 0);
  EXPECT_GT(out.d_policy_chosen[4], 0);
}

TEST(Limits, ForLargeBetaIpoIsTheSquaredMarginAndItsMinimumIsTheTarget) {
  ExpectNear(IpoPairLoss(Margins(kMargins), {.beta = 1e9}).loss,
             kMargins.square(), 1e-7);
  const PairLossResult at_target =
      IpoPairLoss(Margins(ArrayXd{{5.0}}), {.beta = 0.1});
  EXPECT_NEAR(at_target.loss[0], 0, 1e-20);
  EXPECT_NEAR(at_target.d_policy_chosen[0], 0, 1e-12);
}

TEST(Limits, WithoutClippingPpoIsMinusAdvantageTimesRatio) {
  const ArrayXd now{{-1.0, -3.0, -0.1}}, old{{-2.0, -1.0, -0.1}};
  const ArrayXd a{{1.0, -2.0, 0.5}};
  const PpoPolicyResult out =
      PpoPolicyLoss(now, old, a, {.clip_low = 1, .clip_high = 1e9});
  ExpectNear(out.loss, -a * (now - old).exp(), 0);
  ExpectNear(out.d_log_prob, out.loss, 0);
  EXPECT_EQ(out.clipped.sum(), 0);
  const PpoValueResult value = PpoValueLoss(now, old, a, {.clip = 1e9});
  ExpectNear(value.loss, 0.5 * (now - a).square(), 0);
  ExpectNear(value.d_value, now - a, 0);
}

TEST(Limits, GaeWithLambdaZeroIsTheOneStepError) {
  const ArrayXd r{{1.0, 0.0, -1.0}}, v{{0.5, 2.0, 4.0}};
  ExpectNear(Gae(r, v, {.gamma = 0.9, .lambda = 0}).advantages,
             ArrayXd{{1.0 + 0.9 * 2.0 - 0.5, 0.9 * 4.0 - 2.0, -5.0}},
             kRounding);
  ExpectNear(Gae(r, v, {.gamma = 0, .lambda = 0.7}).advantages, r - v, 0);
}

// A log-prob of -1e4 is a thousand unlikely tokens.
TEST(Extremes, EveryPairLossStaysFiniteWithFiniteSlopes) {
  for (const PairLossEntry& entry : PairLosses()) {
    SCOPED_TRACE(entry.name);
    // The scale of margins, whatever a paper calls it, is the first option.
    const PairLossOrError made =
        entry.create({{entry.options().front().name, "1"}});
    ASSERT_TRUE(made.ok()) << made.error;
    ASSERT_EQ(made.beta, 1);
    for (const double margin : {-1e3, 0.0, 1e3}) {
      const PairLossResult out =
          made.loss(Only(Margins(ArrayXd{{margin}}, -1e4), made.needs));
      for (const ArrayXd& values :
           {out.loss, out.d_policy_chosen, out.d_policy_rejected,
            out.chosen_rewards, out.rejected_rewards, out.d_chosen_nll}) {
        EXPECT_TRUE(values.isFinite().all()) << "margin " << margin;
      }
    }
  }
}

TEST(Extremes, LogisticLossesAreLinearWhenWrongAndZeroWhenRight) {
  const ArrayXd margins{{-1e3, 1e3}};
  const PairLossResult dpo = SigmoidPairLoss(Margins(margins), {.beta = 1});
  ExpectNear(dpo.loss, ArrayXd{{1e3, 0.0}}, 0);
  ExpectNear(dpo.d_policy_chosen, ArrayXd{{-1.0, 0.0}}, 0);
  const BradleyTerryResult reward = BradleyTerryLoss(margins / 2, -margins / 2);
  ExpectNear(reward.loss, ArrayXd{{1e3, 0.0}}, 0);
  ExpectNear(reward.d_chosen, ArrayXd{{-1.0, 0.0}}, 0);
  ExpectNear(reward.d_rejected, ArrayXd{{1.0, 0.0}}, 0);
  const PairLossResult hinge = HingePairLoss(Margins(margins), {.beta = 1});
  ExpectNear(hinge.loss, ArrayXd{{1001.0, 0.0}}, 0);
  ExpectNear(hinge.d_policy_chosen, ArrayXd{{-1.0, 0.0}}, 0);
}

TEST(Extremes, IpoKeepsItsSquareAtLargeMargins) {
  const PairLossResult out =
      IpoPairLoss(Margins(ArrayXd{{-1e3, 1e3}}), {.beta = 0.5});
  ExpectNear(out.loss, ArrayXd{{1001.0 * 1001.0, 999.0 * 999.0}}, 0);
  ExpectNear(out.d_policy_chosen, ArrayXd{{-2002.0, 1998.0}}, 0);
}

// Two unlikely tokens have ratio 1; one that became a thousand nats less
// likely has ratio 0, which clipping holds only where it was praised.
TEST(Extremes, PpoTokensOfHugeSurpriseHaveFiniteLosses) {
  const ArrayXd now{{-1e4, -1e3, -1e3}}, old{{-1e4, 0.0, 0.0}};
  const PpoPolicyResult out =
      PpoPolicyLoss(now, old, ArrayXd{{2.0, 1.0, -1.0}});
  ExpectNear(out.ratio, ArrayXd{{1.0, 0.0, 0.0}}, 0);
  ExpectNear(out.loss, ArrayXd{{-2.0, 0.0, 0.8}}, 1e-15);
  ExpectNear(out.d_log_prob, ArrayXd{{-2.0, 0.0, 0.0}}, 0);
  const PpoValueResult value = PpoValueLoss(ArrayXd{{1e3}}, ArrayXd{{0.0}},
                                            ArrayXd{{-1e3}}, {.clip = 0.2});
  ExpectNear(value.loss, ArrayXd{{2e6}}, 0);
  ExpectNear(value.d_value, ArrayXd{{2e3}}, 0);
}

}  // namespace
}  // namespace align::losses
