#include "losses/jsd.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "losses/distillation_registry.h"
#include "losses/log_softmax.h"

namespace align::losses {
namespace {

using ::testing::HasSubstr;

// log softmax of each row.
Eigen::ArrayXXd LogProbs(const Eigen::ArrayXXd& logits) {
  Eigen::ArrayXXd out(logits.rows(), logits.cols());
  for (Eigen::Index i = 0; i < logits.rows(); ++i) {
    out.row(i) = LogSoftmax(logits.row(i).transpose()).transpose();
  }
  return out;
}

Eigen::ArrayXXd Student() {
  Eigen::ArrayXXd z(2, 4);
  z << 0.3, -1.2, 2.0, 0.1, 1.0, 1.5, -0.5, 0.2;
  return z;
}
Eigen::ArrayXXd Teacher() {
  Eigen::ArrayXXd z(2, 4);
  z << -0.4, 0.8, 1.1, -2.0, 0.9, 1.4, -0.6, 0.1;
  return z;
}

// sum a (log a - log b) by row.
Eigen::ArrayXd Kl(const Eigen::ArrayXXd& log_a, const Eigen::ArrayXXd& log_b) {
  return (log_a.exp() * (log_a - log_b)).rowwise().sum();
}

TEST(GeneralizedJsd, IsEquationOneAndItsTwoEnds) {
  const Eigen::ArrayXXd s = LogProbs(Student()), t = LogProbs(Teacher());
  for (const double beta : {0.1, 0.5, 0.8}) {
    const Eigen::ArrayXXd m = (beta * t.exp() + (1 - beta) * s.exp()).log();
    const Eigen::ArrayXd expected = beta * Kl(t, m) + (1 - beta) * Kl(s, m);
    const Eigen::ArrayXd loss = GeneralizedJsd(s, t, {.beta = beta}).loss;
    EXPECT_LT((loss - expected).abs().maxCoeff(), 1e-15);
  }
  EXPECT_LT(
      (GeneralizedJsd(s, t, {.beta = 0}).loss - Kl(t, s)).abs().maxCoeff(),
      1e-15);
  EXPECT_LT(
      (GeneralizedJsd(s, t, {.beta = 1}).loss - Kl(s, t)).abs().maxCoeff(),
      1e-15);
}

// Eq. 1 over beta tends to the forward KL, over 1 - beta to the reverse one.
TEST(GeneralizedJsd, TendsToTheKlsItIsMadeOf) {
  const Eigen::ArrayXXd s = LogProbs(Student()), t = LogProbs(Teacher());
  const double small = 1e-6;
  EXPECT_LT((GeneralizedJsd(s, t, {.beta = small}).loss / small - Kl(t, s))
                .abs()
                .maxCoeff(),
            1e-5);
  EXPECT_LT((GeneralizedJsd(s, t, {.beta = 1 - small}).loss / small - Kl(s, t))
                .abs()
                .maxCoeff(),
            1e-5);
}

TEST(GeneralizedJsd, SwappingTheTwoIsSwappingTheirWeights) {
  const Eigen::ArrayXXd s = LogProbs(Student()), t = LogProbs(Teacher());
  for (const double beta : {0.0, 0.3, 0.5}) {
    EXPECT_LT((GeneralizedJsd(s, t, {.beta = beta}).loss -
               GeneralizedJsd(t, s, {.beta = 1 - beta}).loss)
                  .abs()
                  .maxCoeff(),
              1e-15);
  }
}

TEST(GeneralizedJsd, IsNothingBetweenEqualsAndLn2BetweenStrangers) {
  const Eigen::ArrayXXd s = LogProbs(Student());
  for (const double beta : {0.0, 0.5, 1.0}) {
    const JsdResult same = GeneralizedJsd(s, s, {.beta = beta});
    EXPECT_LT(same.loss.abs().maxCoeff(), 1e-15);
    EXPECT_LT(same.d_logits.abs().maxCoeff(), 1e-15);
  }
  Eigen::ArrayXXd a(1, 2), b(1, 2);
  a << 1e4, -1e4;
  b << -1e4, 1e4;
  const JsdResult far = GeneralizedJsd(LogProbs(a), LogProbs(b));
  EXPECT_NEAR(far.loss[0], std::log(2.0), 1e-15);
  EXPECT_EQ(GeneralizedJsd(LogProbs(a), LogProbs(b), {.beta = 1}).loss[0], 2e4);
  EXPECT_TRUE(far.d_logits.allFinite());
}

TEST(GeneralizedJsd, GradientsAreFiniteDifferencesOfTheLogits) {
  const Eigen::ArrayXXd t = LogProbs(Teacher());
  for (const double beta : {0.0, 0.3, 1.0}) {
    const JsdOptions options{.beta = beta};
    Eigen::ArrayXXd z = Student();
    const Eigen::ArrayXXd slopes =
        GeneralizedJsd(LogProbs(z), t, options).d_logits;
    constexpr double kStep = 1e-6;
    for (Eigen::Index i = 0; i < z.size(); ++i) {
      const double before = z(i);
      z(i) = before + kStep;
      const double up = GeneralizedJsd(LogProbs(z), t, options).loss.sum();
      z(i) = before - kStep;
      const double down = GeneralizedJsd(LogProbs(z), t, options).loss.sum();
      z(i) = before;
      EXPECT_NEAR(slopes(i), (up - down) / (2 * kStep), 1e-9);
    }
    // A softmax does not move with all logits together.
    EXPECT_LT(slopes.rowwise().sum().abs().maxCoeff(), 1e-15);
  }
}

TEST(MakeDistillationLoss, SaysWhatIsAllowed) {
  const auto error = [](const std::string& name, const OptionValues& values) {
    return MakeDistillationLoss(name, values).error;
  };
  EXPECT_EQ(MakeDistillationLoss("jsd").options.jsd.beta, 0.5);
  EXPECT_EQ(
      MakeDistillationLoss("jsd", {{"temperature", "2"}}).options.temperature,
      2);
  EXPECT_THAT(error("jds", {}), HasSubstr("did you mean 'jsd'"));
  EXPECT_THAT(error("jsd", {{"beta", "1.5"}}),
              HasSubstr("loss jsd: beta = 1.5; expected"));
  EXPECT_THAT(error("jsd", {{"temperature", "0"}}), HasSubstr("temperature"));
}

}  // namespace
}  // namespace align::losses
