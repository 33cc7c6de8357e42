// models/*/golden.json: a Hugging Face directory through LoadModel, forward,
// fused scores and backward.

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "align/train/optimizer.h"
#include "tests/oracle/golden_model.h"
#include "tests/oracle/handlers.h"

namespace align::oracle {
namespace {

constexpr Tolerance kLogits = {.absolute = 2e-5};
// Of sums of up to a dozen log-probs.
constexpr Tolerance kLogps = {.absolute = 2e-5, .relative = 1e-6};
constexpr Tolerance kGradient = {.absolute = 1e-6, .relative = 1e-4};

absl::Status CheckLogits(Json root, const Model& model, Case& result) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<double> logits,
                         LogitsOf(model, root));
  result.Near("logits", logits, GoldenLogits(root), kLogits);
  return absl::OkStatus();
}

absl::Status CheckScores(Json root, const Model& model, Case& result) {
  const NoGrad no_grad;
  const PackedBatch packed = PackRows(root);
  const TokenScores scores =
      ScoreTokens(model.Hidden(packed.tokens, packed.segments), model.Head(),
                  packed.scored);
  const std::vector<Json> rows = Items(root["token_logps_f64"]);
  const std::vector<double> sums = Numbers(root["sequence_logps_f64"]);
  const std::vector<int64_t> offsets = packed.ScoredOffsets();
  for (size_t i = 0; i < rows.size(); ++i) {
    std::vector<double> wanted = Numbers(rows[i]);
    const auto count = static_cast<size_t>(offsets[i + 1] - offsets[i]);
    wanted.resize(std::min(count, wanted.size()));
    const std::span<const float> got =
        scores.log_probs().subspan(offsets[i], count);
    const std::vector<double> log_probs(got.begin(), got.end());
    result.Near("token log-probs of row " + std::to_string(i), log_probs,
                wanted, kLogps);
    double sum = 0;
    for (double log_prob : log_probs) sum += log_prob;
    result.Near("log-prob of row " + std::to_string(i), sum, sums[i], kLogps);
  }
  return absl::OkStatus();
}

absl::Status CheckGradients(Json root, Model& model, Case& result) {
  const PackedBatch packed = PackRows(root);
  ParamStore& params = model.params();
  params.EnableGradients();
  const TokenScores scores =
      ScoreTokens(model.Hidden(packed.tokens, packed.segments), model.Head(),
                  packed.scored);
  const auto count = static_cast<double>(packed.scored.size());
  double loss = 0;
  for (float log_prob : scores.log_probs()) loss -= log_prob / count;
  result.Near("loss", loss, Number(root["loss_f64"]), kFloat);
  Backward(scores.values, std::vector<float>(packed.scored.size(),
                                             static_cast<float>(-1 / count)));
  result.Near("total gradient norm", train::GradientNorm({&params}),
              Number(root["grad_total_norm_f64"]), kGradient);
  for (size_t p = 0; p < params.specs().size(); ++p) {
    const std::string& name = params.specs()[p].name;
    const auto golden = Find(root["grads"], name);
    const std::span<const float> grads = params.grads(p);
    if (!golden) {
      // Nothing flowed there: an expert without a token, a router's bias.
      result.True("a gradient of " + name + " in the file",
                  std::all_of(grads.begin(), grads.end(),
                              [](float g) { return g == 0; }));
      continue;
    }
    double squares = 0;
    std::vector<double> first, last, strided;
    for (size_t i = 0; i < grads.size(); ++i) {
      squares += static_cast<double>(grads[i]) * grads[i];
      if (i < 8) first.push_back(grads[i]);
      if (i + 8 >= grads.size()) last.push_back(grads[i]);
      if (i % 97 == 0 && strided.size() < 16) strided.push_back(grads[i]);
    }
    result.Near(name + " norm", std::sqrt(squares), Number((*golden)["norm"]),
                kGradient);
    result.Near(name, first, Numbers((*golden)["first8_flat"]), kGradient);
    result.Near(name, last, Numbers((*golden)["last8_flat"]), kGradient);
    result.Near(name, strided, Numbers((*golden)["every_97th_flat_first16"]),
                kGradient);
  }
  return absl::OkStatus();
}

}  // namespace

void CheckModel(const OracleFile& file, Reporter& reporter) {
  const std::string directory =
      std::filesystem::path(file.path).parent_path().string();
  const auto run = [&](const char* name, auto check) {
    reporter.Run("f32", name, [&](Case& result) -> absl::Status {
      ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                             LoadModel(directory));
      return check(file.root, *model, result);
    });
  };
  const absl::Status supported = ReadModelConfig(directory).status();
  if (supported.code() == absl::StatusCode::kUnimplemented) {
    const std::string message = Message(supported);
    reporter.Skip(message.substr(message.find(": ") + 2), 3);
    return;
  }
  run("logits", CheckLogits);
  run("log-probs", CheckScores);
  run("gradients", CheckGradients);
}

}  // namespace align::oracle
