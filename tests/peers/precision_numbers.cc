// precision_numbers MODEL_DIR TOKENS: samples replies of up to TOKENS tokens
// after the BOS token and prints, as one line of JSON, their ids and each
// token's log-probability computed in f32 and in bf16. For the script beside
// it, which compares the difference with PyTorch's.
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "align/base/json_writer.h"
#include "align/base/status.h"
#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "samplers/generate.h"

namespace align {
namespace {

constexpr int32_t kBos = 1, kEos = 2;
constexpr int64_t kReplies = 12;

std::vector<double> LogProbs(Model& model, const PackedBatch& batch,
                             Precision precision) {
  const NoGrad no_grad;
  model.params().SetPrecision(precision);
  const TokenScores scores = ScoreTokens(
      model.Hidden(batch.tokens, batch.segments), model.Head(), batch.scored);
  return {scores.log_probs().begin(), scores.log_probs().end()};
}

absl::StatusOr<std::string> Numbers(const std::string& directory,
                                    int64_t tokens) {
  ALIGN_ASSIGN_OR_RETURN(const auto model, LoadModel(directory));
  ALIGN_ASSIGN_OR_RETURN(const auto replies,
                         samplers::Generate(*model, {{{kBos}}}, kReplies,
                                            {.max_new_tokens = tokens,
                                             .temperature = 0.7,
                                             .stop_ids = {kBos, kEos}},
                                            Rng(3)));
  PackedBatch batch;
  JsonWriter json({.indent = 0});
  json.BeginObject();
  json.Key("replies");
  json.BeginArray();
  for (const auto& reply : replies) {
    batch.AppendCompletion(batch.AppendPrompt({{kBos}}), reply.tokens);
    json.BeginArray();
    for (const int32_t id : reply.tokens) json.Value(int64_t{id});
    json.EndArray();
  }
  json.EndArray();
  json.Field("f32", LogProbs(*model, batch, Precision::kF32));
  json.Field("bf16", LogProbs(*model, batch, Precision::kBf16));
  json.EndObject();
  return std::move(json).Finish();
}

}  // namespace
}  // namespace align

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: %s MODEL_DIR TOKENS\n", argv[0]);
    return 2;
  }
  const auto line = align::Numbers(argv[1], std::atoi(argv[2]));
  if (!line.ok()) {
    std::fprintf(stderr, "%s\n", line.status().ToString().c_str());
    return 1;
  }
  std::printf("%s\n", line->c_str());
  return 0;
}
