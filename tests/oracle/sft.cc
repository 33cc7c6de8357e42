// golden/sft: losses on single tokens, from logits to the gradient by logits,
// in double and through the fused f32 operation.

#include "losses/dft.h"
#include "losses/label_smoothing.h"
#include "losses/token_nll.h"
#include "tests/oracle/completions.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

// Logits [R, T, V] and labels [R, T], -100 where nothing is scored: the logits
// at t score the label at t + 1.
Completions TokensOf(Json inputs) {
  Completions out;
  const Eigen::ArrayXXd all = LogitRows(inputs["logits"]);
  const std::vector<Json> rows = Items(inputs["labels"]);
  out.sequences = rows.size();
  out.length = Items(rows.at(0)).size();
  std::vector<Eigen::Index> kept;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<int32_t> labels = Ints(rows[i]);
    for (size_t t = 0; t + 1 < labels.size(); ++t) {
      if (labels[t + 1] < 0) continue;
      kept.push_back(static_cast<Eigen::Index>(i * out.length + t));
      out.rows.labels.push_back(labels[t + 1]);
      out.sequence.push_back(i);
      out.position.push_back(t);
      out.index.push_back(kept.size());
    }
  }
  out.rows.logits = all(kept, Eigen::all);
  return out;
}

// The number that a name ends with: "label_smoother_eps0.1".
double NumberAfter(const std::string& name, const std::string& prefix) {
  return std::stod(name.substr(prefix.size()));
}

absl::Status CheckTokenLoss(const Completions& tokens, bool dft,
                            double denominator, bool fused, Json wanted,
                            Case& result) {
  const Tolerance tolerance = fused ? kFloat : kDouble;
  const RowScores scores = Score(tokens, fused);
  const Eigen::ArrayXd log_probs = Eigen::Map<const Eigen::ArrayXd>(
      scores.log_probs.data(),
      static_cast<Eigen::Index>(scores.log_probs.size()));
  const losses::TokenLossResult got =
      dft ? losses::TokenDft(log_probs) : losses::TokenNll(log_probs);
  const Eigen::ArrayXd seeds = got.d_log_prob / denominator;
  result.Near("loss", got.loss.sum() / denominator, Number(wanted["loss"]),
              tolerance);
  result.Near("gradient by logits",
              GradientByLogits(tokens, {seeds.begin(), seeds.end()}, fused),
              Numbers(wanted["grad_logits"]), tolerance);
  return absl::OkStatus();
}

absl::Status CheckSmoothing(const Completions& tokens, double smoothing,
                            Json wanted, Case& result) {
  const RowScores scores = Score(tokens, false);
  const auto count = static_cast<Eigen::Index>(scores.log_probs.size());
  const Eigen::ArrayXd log_probs =
      Eigen::Map<const Eigen::ArrayXd>(scores.log_probs.data(), count);
  Eigen::ArrayXd means(count);
  for (Eigen::Index k = 0; k < count; ++k) {
    means[k] = losses::MeanLogProb(tokens.rows.logits.row(k));
  }
  const losses::SmoothedNllResult got =
      losses::SmoothedNll(log_probs, means, smoothing);
  const auto tokens_scored = static_cast<double>(count);
  result.Near("loss", got.loss.sum() / tokens_scored, Number(wanted["loss"]),
              kDouble);
  const Eigen::ArrayXd seeds = got.d_log_prob / tokens_scored;
  std::vector<double> gradient =
      GradientByLogits(tokens, {seeds.begin(), seeds.end()}, false);
  const Eigen::Index vocab = tokens.rows.logits.cols();
  for (Eigen::Index k = 0; k < count; ++k) {
    const Eigen::ArrayXd by_mean =
        losses::MeanLogProbGradient(tokens.rows.logits.row(k)) *
        got.d_mean_log_prob[k] / tokens_scored;
    const auto to = static_cast<Eigen::Index>(
        tokens.sequence[k] * tokens.length + tokens.position[k]);
    for (Eigen::Index v = 0; v < vocab; ++v) {
      gradient[to * vocab + v] += by_mean[v];
    }
  }
  result.Near("gradient by logits", gradient, Numbers(wanted["grad_logits"]),
              kDouble);
  return absl::OkStatus();
}

absl::Status CheckNamed(const std::string& name, const Completions& tokens,
                        bool fused, Json wanted, Case& result) {
  const std::string items = "causal_lm_loss_num_items_";
  const std::string smoother = "label_smoother_eps";
  const auto count = static_cast<double>(tokens.sequence.size());
  if (name == "dft_loss" || name == "causal_lm_loss_mean") {
    return CheckTokenLoss(tokens, name == "dft_loss", count, fused, wanted,
                          result);
  }
  if (name.starts_with(items)) {
    return CheckTokenLoss(tokens, false, NumberAfter(name, items), fused,
                          wanted, result);
  }
  if (name.starts_with(smoother)) {
    return CheckSmoothing(tokens, NumberAfter(name, smoother), wanted, result);
  }
  return Unimplemented("loss " + name);
}

}  // namespace

void CheckSftLosses(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const Completions tokens = TokensOf(one["inputs"]);
    const simdjson::dom::object outputs = one["outputs"];
    for (const auto& [key, wanted] : outputs) {
      const std::string name(key);
      // The fused operation has no gradient by the mean over the vocabulary.
      const bool both = !name.starts_with("label_smoother");
      for (bool fused : {false, true}) {
        if (fused && !both) continue;
        const Json value = wanted;
        reporter.Run(fused ? "f32 fused" : "double", name, [&](Case& result) {
          return CheckNamed(name, tokens, fused, value, result);
        });
      }
    }
  }
}

}  // namespace align::oracle
