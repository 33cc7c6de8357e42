#pragma once

#include <Eigen/Core>
#include <cmath>

namespace align::losses {

// Mean and variance of every value seen so far, taken in a batch at a time by
// the parallel update of Chan, Golub and LeVeque 1979 (STAN-CS-79-773), eq.
// 2.1: the result depends on how values were batched by rounding alone. The
// three fields are the whole state: they go into checkpoints. TRL keeps the
// mean in float32; this one is double.
struct RunningMoments {
  double count = 0;  // values seen
  double mean = 0;
  double variance = 1;  // divided by count; 1 before the first value

  // Takes in `values`; an empty batch changes nothing. The values must be
  // finite: a NaN would stay for good.
  void Update(const Eigen::ArrayXd& values) {
    if (values.size() == 0) return;
    const auto added = static_cast<double>(values.size());
    const double total = count + added;
    const double batch_mean = values.mean();
    const double shift = batch_mean - mean;
    const double squares = variance * count +
                           (values - batch_mean).square().sum() +
                           shift * shift * count * added / total;
    mean += shift * added / total;
    variance = squares / total;
    count = total;
  }

  // With Bessel's correction, as TRL's `std`; 1 below two values.
  double StandardDeviation() const {
    return count < 2 ? 1.0 : std::sqrt(variance * count / (count - 1));
  }
};

}  // namespace align::losses
