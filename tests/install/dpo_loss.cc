#include <cmath>
#include <cstdio>

#include "losses/sigmoid.h"

int main() {
  // Two pairs whose policy still is the reference: the loss is ln 2.
  align::losses::PairInputs in;
  in.policy_chosen = in.reference_chosen = Eigen::Array2d(-31.5, -8.25);
  in.policy_rejected = in.reference_rejected = Eigen::Array2d(-40.0, -7.5);
  const auto out = align::losses::SigmoidPairLoss(in, {.beta = 0.1});
  std::printf("loss %.6f, seed of chosen %.3f, of rejected %.3f\n",
              out.loss.mean(), out.d_policy_chosen[0],
              out.d_policy_rejected[0]);
  return std::abs(out.loss.mean() - std::log(2.0)) < 1e-15 ? 0 : 1;
}
