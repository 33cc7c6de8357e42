#pragma once

#include <span>
#include <string>
#include <vector>

#include "align/ops/packed_batch.h"
#include "align/train/run_loop.h"

namespace align::train {

// Sums over each sequence's scored tokens of `values`, one a token [R], in
// double -> [sequences].
std::vector<double> SumBySequence(std::span<const float> values,
                                  const PackedBatch& batch);

// Adds `value`, of that weight, to the mean that `name` reports.
void Observe(MetricSums& metrics, const std::string& name, double value,
             double weight = 1);

}  // namespace align::train
