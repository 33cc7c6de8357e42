#include "align/train/ppo_targets.h"

#include "align/base/check.h"

namespace align::train {
namespace {

Eigen::ArrayXd Array(const std::vector<double>& values) {
  return Eigen::Map<const Eigen::ArrayXd>(
      values.data(), static_cast<Eigen::Index>(values.size()));
}

std::vector<double> Vector(const Eigen::ArrayXd& values) {
  return {values.begin(), values.end()};
}

// Over all entries: there is no padding to mask.
Eigen::ArrayXd Whiten(const Eigen::ArrayXd& values, bool shift_mean) {
  return losses::MaskedWhiten(values, Eigen::ArrayXd::Ones(values.size()),
                              {.shift_mean = shift_mean});
}

}  // namespace

PpoTargets MakePpoTargets(const PpoScores& scores, double kl_coef,
                          const PpoTargetOptions& options) {
  const Eigen::ArrayXd values = Array(scores.values);
  const Eigen::ArrayXd kl =
      losses::EstimateKl(options.kl_estimator, Array(scores.log_probs),
                         Array(scores.reference_log_probs));
  ALIGN_CHECK(scores.offsets.back() == kl.size() && kl.size() == values.size())
      << "[MakePpoTargets] " << values.size() << " values, " << kl.size()
      << " log-probs for " << scores.offsets.back() << " tokens";
  Eigen::ArrayXd rewards(kl.size()), advantages(kl.size()), returns(kl.size());
  for (int64_t i = 0; i < scores.completions(); ++i) {
    const int64_t begin = scores.offsets[i];
    const int64_t length = scores.offsets[i + 1] - begin;
    rewards.segment(begin, length) = losses::KlShapedRewards(
        kl.segment(begin, length), kl_coef, scores.scores[i], length - 1);
  }
  if (options.whiten_rewards) rewards = Whiten(rewards, false);
  for (int64_t i = 0; i < scores.completions(); ++i) {
    const int64_t begin = scores.offsets[i];
    const int64_t length = scores.offsets[i + 1] - begin;
    const losses::GaeResult gae =
        losses::Gae(rewards.segment(begin, length),
                    values.segment(begin, length), options.gae);
    advantages.segment(begin, length) = gae.advantages;
    returns.segment(begin, length) = gae.returns;
  }
  if (options.whiten_advantages) advantages = Whiten(advantages, true);
  return {.kl = Vector(kl),
          .rewards = Vector(rewards),
          .advantages = Vector(advantages),
          .returns = Vector(returns)};
}

}  // namespace align::train
