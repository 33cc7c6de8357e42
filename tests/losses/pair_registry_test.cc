// Every registered loss on pairs, with every choice of every option: a new
// entry is tested for what all of them must hold without a line here.

#include "losses/pair_registry.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/losses/pair_inputs.h"

namespace align::losses {
namespace {

struct Variant {
  std::string name;
  OptionValues values;
  PairLossOrError made;

  std::string Text() const {
    std::string text = name;
    for (const auto& [option, value] : values) {
      text += " " + option + "=" + value;
    }
    return text;
  }
};

// Values other than the default that an option takes: its choices, or numbers
// inside its range.
std::vector<std::string> Others(const Option& option) {
  std::vector<std::string> values;
  if (option.allowed.starts_with("a number")) {
    values = {"0.25", "0.4"};
  } else {
    std::string rest = option.allowed;
    for (size_t bar; (bar = rest.find(" | ")) != std::string::npos;) {
      values.push_back(rest.substr(0, bar));
      rest = rest.substr(bar + 3);
    }
    values.push_back(rest);
  }
  std::erase(values, option.default_text);
  return values;
}

// The defaults of every loss, and every option set to something else.
std::vector<Variant> Variants() {
  std::vector<Variant> out;
  for (const PairLossEntry& entry : PairLosses()) {
    out.push_back({entry.name, {}, entry.create({})});
    std::vector<Option> options = entry.options();
    for (const Option& option : ListOptions<PairModifiers>()) {
      options.push_back(option);
    }
    for (const Option& option : options) {
      for (const std::string& value : Others(option)) {
        OptionValues values = {{option.name, value}};
        if (option.name.starts_with("f_") && option.name != "f_divergence") {
          values.push_back({"f_divergence", "alpha"});
        }
        if (option.name == "rpo_average" || option.name == "ld_reference") {
          values.push_back({"rpo_alpha", "0.5"});
          values.push_back({"ld_alpha", "0.3"});
        }
        if (option.name == "weighting_cap") {
          values.push_back({"use_weighting", "true"});
        }
        PairLossOrError made = entry.create(values);
        if (made.error.ends_with("single pairs")) continue;
        out.push_back({entry.name, values, std::move(made)});
      }
    }
  }
  return out;
}

bool AllFinite(const PairLossResult& out) {
  for (const Eigen::ArrayXd* field :
       {&out.loss, &out.d_policy_chosen, &out.d_policy_rejected,
        &out.chosen_rewards, &out.rejected_rewards, &out.d_policy_chosen_head,
        &out.d_policy_rejected_head, &out.d_chosen_nll}) {
    if (!field->isFinite().all()) return false;
  }
  return true;
}

TEST(PairRegistry, EveryEntryIsDescribedAndEveryChoiceIsTaken) {
  std::set<std::string> names;
  for (const PairLossEntry& entry : PairLosses()) {
    EXPECT_TRUE(names.insert(entry.name).second) << entry.name;
    EXPECT_NE(entry.paper.find("arXiv"), std::string::npos) << entry.name;
    EXPECT_FALSE(entry.summary.empty()) << entry.name;
    for (const Option& option : entry.options()) {
      EXPECT_FALSE(option.doc.empty()) << entry.name << " " << option.name;
      EXPECT_FALSE(option.default_text.empty()) << entry.name;
    }
  }
  for (const Variant& variant : Variants()) {
    EXPECT_TRUE(variant.made.ok()) << variant.Text() << variant.made.error;
  }
}

// A loss reads what it says it needs and nothing else.
TEST(PairRegistry, NeedsAreEnough) {
  const PairInputs all = SomePairs(5);
  for (const Variant& v : Variants()) {
    SCOPED_TRACE(v.Text());
    const PairInputs in = Only(all, v.made.needs);
    EXPECT_EQ(CheckPairInputs(in, v.made.needs), "");
    const PairLossResult out = v.made.loss(in);
    ASSERT_EQ(out.loss.size(), 5);
    EXPECT_TRUE(AllFinite(out));
  }
}

TEST(PairRegistry, GradientsMatchFiniteDifferences) {
  const double h = 1e-6;
  for (const Variant& v : Variants()) {
    SCOPED_TRACE(v.Text());
    const PairInputs in = Only(SomePairs(4), v.made.needs);
    const PairLossResult at = v.made.loss(in);
    // WPO's weights are constants: they do not change with log-probs here.
    const auto check = [&](Eigen::ArrayXd PairInputs::*field,
                           const Eigen::ArrayXd& gradient, const char* what) {
      if ((in.*field).size() == 0) return;
      for (Eigen::Index i = 0; i < at.loss.size(); ++i) {
        PairInputs up = in, down = in;
        (up.*field)[i] += h;
        (down.*field)[i] -= h;
        const double slope =
            (v.made.loss(up).loss.sum() - v.made.loss(down).loss.sum()) /
            (2 * h);
        const double got = gradient.size() == 0 ? 0.0 : gradient[i];
        EXPECT_NEAR(got, slope, 1e-7 * std::max(1.0, std::abs(slope)))
            << what << " " << i;
      }
    };
    if (v.values == OptionValues{{"detach_kl", "true"}}) continue;
    check(&PairInputs::policy_chosen, at.d_policy_chosen, "chosen");
    check(&PairInputs::policy_rejected, at.d_policy_rejected, "rejected");
    check(&PairInputs::policy_chosen_head, at.d_policy_chosen_head, "head");
    check(&PairInputs::policy_rejected_head, at.d_policy_rejected_head, "head");
    check(&PairInputs::chosen_nll, at.d_chosen_nll, "nll");
  }
}

// A loss that does not say it is coupled gives a pair the same row in any
// batch.
TEST(PairRegistry, UncoupledLossesAreRowByRow) {
  for (const Variant& v : Variants()) {
    SCOPED_TRACE(v.Text());
    const PairLossResult five = v.made.loss(Only(SomePairs(5), v.made.needs));
    const PairLossResult two = v.made.loss(Only(SomePairs(2), v.made.needs));
    const bool same =
        (five.loss.head(2) == two.loss).all() &&
        (five.d_policy_chosen.head(2) == two.d_policy_chosen).all();
    EXPECT_TRUE(same || v.made.needs.coupled);
  }
}

// Log-probs of -1e4, margins of +-1e3, equal pairs, empty replies, one pair.
TEST(PairRegistry, ExtremesAreFinite) {
  std::vector<PairInputs> extremes;
  for (const auto& [policy, reference] : std::vector<std::pair<double, double>>{
           {-1e4, -10}, {-10, -1e4}, {-1e4, -1e4}, {-1010, -10}, {0, 0}}) {
    for (const double tokens : {0.0, 1.0, 400.0}) {
      PairInputs in = SomePairs(1);
      in.policy_chosen[0] = in.policy_chosen_head[0] = policy;
      in.policy_rejected[0] = in.policy_rejected_head[0] = reference;
      in.reference_chosen[0] = in.reference_chosen_head[0] = reference;
      in.reference_rejected[0] = in.reference_rejected_head[0] = policy;
      in.chosen_tokens[0] = in.rejected_tokens[0] = tokens;
      in.chosen_nll[0] = in.chosen_nll_tokens[0] = 0;
      in.reward_margin[0] = 1e3;
      extremes.push_back(in);
      std::swap(in.policy_chosen, in.policy_rejected);
      std::swap(in.reference_chosen, in.reference_rejected);
      in.reward_margin[0] = -1e3;
      extremes.push_back(in);
    }
  }
  PairInputs equal = SomePairs(3);
  equal.policy_rejected = equal.reference_chosen = equal.policy_chosen;
  equal.reference_rejected = equal.policy_chosen;
  extremes.push_back(equal);
  extremes.push_back(SomePairs(0));
  for (const Variant& v : Variants()) {
    SCOPED_TRACE(v.Text());
    for (size_t i = 0; i < extremes.size(); ++i) {
      EXPECT_TRUE(AllFinite(v.made.loss(Only(extremes[i], v.made.needs))))
          << "extreme " << i;
    }
  }
}

// A function of the margin alone sees a swapped pair as the other sign: the sum
// of both gradients is 0, and the two losses differ by the margin for the
// logistic ones.
TEST(PairRegistry, MarginLossesMoveBothRepliesAlike) {
  for (const char* name :
       {"sigmoid", "robust", "hinge", "exo_pair", "discopop", "rpo_bwd_kl",
        "rpo_fwd_kl", "rpo_sq", "rso_sigmoid_norm", "rso_hinge",
        "rso_hinge_norm", "aot"}) {
    SCOPED_TRACE(name);
    const PairLossOrError made = MakePairLoss(name);
    const PairLossResult out = made.loss(SomePairs(6));
    EXPECT_NEAR((out.d_policy_chosen + out.d_policy_rejected).abs().maxCoeff(),
                0, 1e-15);
  }
}

TEST(PairRegistry, ErrorsNameNearMissesAndRanges) {
  const auto has = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  has(MakePairLoss("sigmod").error, "did you mean 'sigmoid'");
  has(MakePairLoss("sigmoid", {{"label_smoothing", "0.7"}}).error, "[0, 0.5]");
  has(MakePairLoss("ipo", {{"reduction", "max"}}).error, "mean | sum");
  has(MakePairLoss("aot", {{"coupling", "all"}}).error, "global | micro");
  has(MakePairLoss("hinge", {{"ld_alhpa", "1"}}).error, "'ld_alpha'");
  has(MakePairLoss("aot_unpaired", {{"use_weighting", "true"}}).error,
      "does not belong to single pairs");
  EXPECT_FALSE(MakePairLoss("ipo", {{"reduction", "sum"}}).needs.lengths);
  EXPECT_FALSE(
      MakePairLoss("sigmoid", {{"reference_free", "true"}}).needs.reference);
}

TEST(CheckPairInputs, NamesTheFieldAndTheRow) {
  PairInputs in = SomePairs(3);
  in.policy_rejected[1] = std::nan("");
  EXPECT_EQ(CheckPairInputs(in, {}),
            "policy_rejected[1] is not finite; expected a finite value");
  in = SomePairs(3);
  in.chosen_tokens[2] = -1;
  EXPECT_EQ(CheckPairInputs(in, {.lengths = true}),
            "chosen_tokens[2] is negative; expected a finite count");
  in = SomePairs(3);
  in.policy_chosen_head.resize(1);
  EXPECT_EQ(CheckPairInputs(in, {.heads = true}),
            "policy_chosen_head: 1 values; expected 3 as in policy_chosen");
}

}  // namespace
}  // namespace align::losses
