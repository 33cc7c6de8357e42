#include "tests/oracle/completions.h"

#include <algorithm>

namespace align::oracle {

Completions CompletionsOf(Json logits, Json ids, Json mask) {
  Completions out;
  const Eigen::ArrayXXd all = LogitRows(logits);
  const std::vector<Json> id_rows = Items(ids), mask_rows = Items(mask);
  out.sequences = id_rows.size();
  out.length = Items(id_rows.at(0)).size();
  std::vector<Eigen::Index> kept;
  for (size_t i = 0; i < id_rows.size(); ++i) {
    const std::vector<int32_t> tokens = Ints(id_rows[i]);
    const std::vector<int32_t> scored = Ints(mask_rows.at(i));
    size_t index = 0;
    for (size_t t = 0; t + 1 < tokens.size(); ++t) {
      if (scored.at(t + 1) == 0) continue;
      kept.push_back(static_cast<Eigen::Index>(i * out.length + t));
      out.rows.labels.push_back(tokens[t + 1]);
      out.sequence.push_back(i);
      out.position.push_back(t);
      out.index.push_back(index++);
    }
  }
  out.rows.logits = all(kept, Eigen::all);
  return out;
}

RowScores Score(const Completions& completions, bool fused) {
  return fused ? ScoreFused(completions.rows) : ScoreInDouble(completions.rows);
}

Eigen::ArrayXd SumBySequence(const Completions& completions,
                             std::span<const double> values) {
  Eigen::ArrayXd sums =
      Eigen::ArrayXd::Zero(static_cast<Eigen::Index>(completions.sequences));
  for (size_t k = 0; k < values.size(); ++k) {
    sums[completions.sequence[k]] += values[k];
  }
  return sums;
}

Eigen::ArrayXd TokenCounts(const Completions& completions) {
  return SumBySequence(completions,
                       std::vector<double>(completions.sequence.size(), 1.0));
}

double MeanOverTokens(const Completions& completions,
                      std::span<const double> values, size_t begin,
                      size_t end) {
  const auto first = static_cast<Eigen::Index>(begin);
  const auto count = static_cast<Eigen::Index>(end - begin);
  return SumBySequence(completions, values).segment(first, count).sum() /
         TokenCounts(completions).segment(first, count).sum();
}

std::vector<double> GradientByLogits(const Completions& completions,
                                     const std::vector<double>& seeds,
                                     bool fused) {
  const std::vector<double> none(seeds.size(), 0.0);
  const std::vector<double> scored =
      fused ? GradientFused(completions.rows, seeds, none)
            : GradientInDouble(completions.rows, seeds, none);
  const auto vocab = static_cast<size_t>(completions.rows.logits.cols());
  std::vector<double> all(completions.sequences * completions.length * vocab);
  for (size_t k = 0; k < seeds.size(); ++k) {
    const size_t to =
        completions.sequence[k] * completions.length + completions.position[k];
    std::copy_n(scored.begin() + static_cast<std::ptrdiff_t>(k * vocab), vocab,
                all.begin() + static_cast<std::ptrdiff_t>(to * vocab));
  }
  return all;
}

}  // namespace align::oracle
