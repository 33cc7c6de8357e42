// The DPO loss in somebody else's program: losses/ needs Eigen alone. The model
// is a table of logits, one row a prompt and one column a reply; its softmax
// and the gradient of that are written out here.

#include <Eigen/Core>
#include <cmath>
#include <cstdio>

#include "losses/sigmoid.h"

namespace {

constexpr int kPrompts = 6, kReplies = 5;
using Table = Eigen::Array<double, kPrompts, kReplies, Eigen::RowMajor>;

Table LogSoftmax(const Table& logits) {
  const Eigen::ArrayXd highest = logits.rowwise().maxCoeff();
  const Table shifted = logits.colwise() - highest;
  const Eigen::ArrayXd log_sums = shifted.exp().rowwise().sum().log();
  return shifted.colwise() - log_sums;
}

}  // namespace

int main() {
  // Of reply p % 5 to prompt p and the one after it, the first is preferred.
  Table logits;
  for (int p = 0; p < kPrompts; ++p) {
    for (int r = 0; r < kReplies; ++r) logits(p, r) = std::sin(3.0 * p + r);
  }
  const Table reference = LogSoftmax(logits);
  const auto chosen = [](int p) { return p % kReplies; };
  const auto rejected = [](int p) { return (p + 1) % kReplies; };

  align::losses::PairInputs in;
  for (Eigen::ArrayXd* field : {&in.policy_chosen, &in.policy_rejected,
                                &in.reference_chosen, &in.reference_rejected}) {
    field->resize(kPrompts);
  }
  double first = 0, last = 0;
  for (int step = 0; step < 200; ++step) {
    const Table policy = LogSoftmax(logits);
    for (int p = 0; p < kPrompts; ++p) {
      in.policy_chosen[p] = policy(p, chosen(p));
      in.policy_rejected[p] = policy(p, rejected(p));
      in.reference_chosen[p] = reference(p, chosen(p));
      in.reference_rejected[p] = reference(p, rejected(p));
    }
    const auto out = align::losses::SigmoidPairLoss(in, {.beta = 0.5});
    last = out.loss.mean();
    if (step == 0) first = last;
    // d log softmax_r / d logit_k = [r = k] - softmax_k.
    Table gradient = -policy.exp();
    gradient.colwise() *= out.d_policy_chosen + out.d_policy_rejected;
    for (int p = 0; p < kPrompts; ++p) {
      gradient(p, chosen(p)) += out.d_policy_chosen[p];
      gradient(p, rejected(p)) += out.d_policy_rejected[p];
    }
    logits -= gradient;
  }
  std::printf("loss %.6f at first (ln 2 is %.6f), then %.6f\n", first,
              std::log(2.0), last);
  return std::abs(first - std::log(2.0)) < 1e-15 && last < 0.1 ? 0 : 1;
}
