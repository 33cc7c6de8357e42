#include "tests/oracle/policy_rows.h"

namespace align::oracle {

std::vector<Eigen::Index> RowOffsets(Eigen::Index rows, Eigen::Index length) {
  std::vector<Eigen::Index> offsets;
  for (Eigen::Index i = 0; i <= rows; ++i) offsets.push_back(i * length);
  return offsets;
}

losses::PolicyInputs PolicyRows(Json mask) {
  losses::PolicyInputs in;
  in.mask = Array(mask);
  const auto rows = static_cast<Eigen::Index>(Items(mask).size());
  in.offsets = RowOffsets(rows, in.mask.size() / rows);
  return in;
}

losses::AdvantageInputs AdvantageRows(Json mask) {
  losses::PolicyInputs rows = PolicyRows(mask);
  losses::AdvantageInputs in;
  in.mask = std::move(rows.mask);
  in.offsets = std::move(rows.offsets);
  return in;
}

void NearWithin(const Eigen::ArrayXd& mask, const std::string& what,
                const Eigen::ArrayXd& got, Json wanted, Tolerance tolerance,
                Case& result) {
  const Eigen::ArrayXd golden = Array(wanted);
  result.True(what + " has a value a token",
              golden.size() == mask.size() && got.size() == mask.size());
  if (golden.size() != mask.size() || got.size() != mask.size()) return;
  const Eigen::ArrayXd kept = (mask != 0.0).select(golden, 0.0);
  result.Near(what, Eigen::ArrayXd((mask != 0.0).select(got, 0.0)),
              std::span(kept.data(), static_cast<size_t>(kept.size())),
              tolerance);
}

void CheckMetrics(const losses::PolicyResult& got, Json wanted,
                  std::span<const MetricPair> names, Tolerance tolerance,
                  Case& result) {
  for (const MetricPair& name : names) {
    const auto value = Find(wanted, name.theirs);
    const losses::PolicyMetric* metric = losses::FindMetric(got, name.ours);
    if (!value || metric == nullptr) continue;
    result.Near(name.theirs, metric->value.Mean(), Number(*value), tolerance);
  }
}

void CheckLossAndGradient(const losses::PolicyResult& got, double denominator,
                          Json loss, Json gradient, Tolerance tolerance,
                          Case& result) {
  result.Near("loss", got.loss.sum() / denominator, Number(loss), tolerance);
  result.Near("gradient", Eigen::ArrayXd(got.d_log_prob / denominator),
              Numbers(gradient), tolerance);
}

}  // namespace align::oracle
