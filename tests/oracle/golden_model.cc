#include "tests/oracle/golden_model.h"

#include <utility>

#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"

namespace align::oracle {

absl::StatusOr<GoldenModel> LoadGoldenModel(const std::string& directory) {
  GoldenModel loaded;
  loaded.parser = std::make_unique<simdjson::dom::parser>();
  loaded.golden = loaded.parser->load(directory + "/golden.json");
  ALIGN_ASSIGN_OR_RETURN(loaded.model, LoadModel(directory));
  return loaded;
}

PackedBatch PackRows(Json golden) {
  PackedBatch packed;
  const std::vector<int32_t> lengths = Ints(golden["lengths"]);
  const std::vector<Json> rows = Items(golden["input_ids"]);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<int32_t> ids = Ints(rows[i]);
    const std::span<const int32_t> row(ids.data(), lengths[i]);
    packed.AppendCompletion(packed.AppendPrompt(row.first(1)), row.subspan(1));
  }
  return packed;
}

std::vector<double> GoldenLogits(Json golden) {
  std::vector<double> logits;
  const std::vector<int32_t> lengths = Ints(golden["lengths"]);
  const std::vector<Json> rows = Items(golden["logits_f64"]);
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<Json> positions = Items(rows[i]);
    for (int32_t t = 0; t < lengths[i]; ++t) {
      const std::vector<double> row = Numbers(positions[t]);
      logits.insert(logits.end(), row.begin(), row.end());
    }
  }
  return logits;
}

absl::StatusOr<std::vector<double>> LogitsOf(const Model& model, Json golden) {
  const NoGrad no_grad;
  const PackedBatch packed = PackRows(golden);
  ALIGN_RETURN_IF_ERROR(model.CheckTokens(packed.tokens, packed.segments));
  const HeadLogits head = ComputeHeadLogits(
      model.Hidden(packed.tokens, packed.segments), model.Head(), 1);
  const std::span<const float> all = head.logits.values();
  return std::vector<double>(all.begin(), all.end());
}

}  // namespace align::oracle
