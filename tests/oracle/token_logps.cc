#include "tests/oracle/token_logps.h"

#include <cmath>
#include <memory>
#include <span>
#include <utility>

#include "align/nn/param_store.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "losses/log_softmax.h"

namespace align::oracle {
namespace {

// The scores with the logits as parameters, so that they get gradients.
struct FusedScores {
  explicit FusedScores(Shape shape)
      : hidden({{.name = "hidden", .shape = std::move(shape)}}) {}
  ParamStore hidden;
  TokenScores scores;
};

std::unique_ptr<FusedScores> RunFused(const LabelledLogits& rows) {
  const int64_t count = rows.logits.rows(), vocab = rows.logits.cols();
  auto out = std::make_unique<FusedScores>(Shape{count, vocab});
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t v = 0; v < vocab; ++v) {
      out->hidden.values(0)[i * vocab + v] =
          static_cast<float>(rows.logits(i, v));
    }
  }
  out->hidden.EnableGradients();
  Tensor head = Tensor::Zeros({vocab, vocab});
  for (int64_t v = 0; v < vocab; ++v) head.data()[v * vocab + v] = 1;
  std::vector<ScoredToken> tokens;
  for (int64_t i = 0; i < count; ++i) {
    tokens.push_back({.row = static_cast<int32_t>(i), .label = rows.labels[i]});
  }
  out->scores = ScoreTokens(out->hidden.Get("hidden"), head, tokens,
                            {.entropy = true, .statistics = true});
  return out;
}

std::vector<double> ToDouble(std::span<const float> values) {
  return {values.begin(), values.end()};
}

}  // namespace

Eigen::ArrayXXd LogitRows(Json value) {
  Json inner = value;
  while (inner.at(0).is_array()) inner = inner.at(0);
  const auto vocab = static_cast<Eigen::Index>(Items(inner).size());
  const std::vector<double> numbers = Numbers(value);
  using RowMajor =
      Eigen::Array<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  return Eigen::Map<const RowMajor>(
      numbers.data(), static_cast<Eigen::Index>(numbers.size()) / vocab, vocab);
}

RowScores ScoreInDouble(const LabelledLogits& rows) {
  RowScores out;
  for (Eigen::Index i = 0; i < rows.logits.rows(); ++i) {
    const losses::TokenScore score =
        losses::ScoreToken(rows.logits.row(i), rows.labels[i]);
    out.log_probs.push_back(score.log_prob);
    out.entropies.push_back(score.entropy);
    out.log_sum_squares.push_back(score.log_sum_squares);
    out.mean_logits.push_back(rows.logits.row(i).mean());
    Eigen::Index best = 0;
    rows.logits.row(i).maxCoeff(&best);
    out.label_is_argmax.push_back(best == rows.labels[i] ? 1 : 0);
  }
  return out;
}

std::vector<double> GradientInDouble(const LabelledLogits& rows,
                                     const std::vector<double>& log_prob_seeds,
                                     const std::vector<double>& entropy_seeds) {
  std::vector<double> out;
  for (Eigen::Index i = 0; i < rows.logits.rows(); ++i) {
    const Eigen::ArrayXd gradient =
        losses::ScoreTokenGradient(rows.logits.row(i), rows.labels[i],
                                   log_prob_seeds[i], entropy_seeds[i]);
    out.insert(out.end(), gradient.begin(), gradient.end());
  }
  return out;
}

RowScores ScoreFused(const LabelledLogits& rows) {
  const auto fused = RunFused(rows);
  const TokenStatistics& statistics = fused->scores.statistics;
  RowScores out = {.log_probs = ToDouble(fused->scores.log_probs()),
                   .entropies = ToDouble(fused->scores.entropies()),
                   .mean_logits = ToDouble(statistics.mean_logit)};
  for (float sum : statistics.sum_squares) {
    out.log_sum_squares.push_back(std::log(static_cast<double>(sum)));
  }
  for (uint8_t is_argmax : statistics.label_is_argmax) {
    out.label_is_argmax.push_back(is_argmax);
  }
  return out;
}

std::vector<double> GradientFused(const LabelledLogits& rows,
                                  const std::vector<double>& log_prob_seeds,
                                  const std::vector<double>& entropy_seeds) {
  const auto fused = RunFused(rows);
  std::vector<float> seeds(log_prob_seeds.begin(), log_prob_seeds.end());
  seeds.insert(seeds.end(), entropy_seeds.begin(), entropy_seeds.end());
  Backward(fused->scores.values, seeds);
  return ToDouble(fused->hidden.grads(0));
}

}  // namespace align::oracle
