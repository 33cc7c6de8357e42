#include "align/train/sequence_sums.h"

#include "align/base/check.h"

namespace align::train {

std::vector<double> SumBySequence(std::span<const float> values,
                                  const PackedBatch& batch) {
  ALIGN_CHECK(values.size() == batch.scored.size())
      << "[SumBySequence] " << values.size() << " values for "
      << batch.scored.size() << " scored tokens";
  std::vector<double> sums(batch.sequences, 0.0);
  for (size_t i = 0; i < values.size(); ++i) {
    sums[batch.scored[i].sequence] += values[i];
  }
  return sums;
}

void Observe(MetricSums& metrics, const std::string& name, double value,
             double weight) {
  MetricSum& metric = metrics[name];
  metric.sum += value;
  metric.weight += weight;
}

}  // namespace align::train
