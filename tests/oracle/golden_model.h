#pragma once

#include <memory>
#include <string>
#include <vector>

#include "align/base/status.h"
#include "align/models/model.h"
#include "align/ops/packed_batch.h"
#include "tests/oracle/json_values.h"

namespace align::oracle {

// A folder models/NAME: its weights and what upstream makes of them.
struct GoldenModel {
  std::unique_ptr<simdjson::dom::parser> parser;
  Json golden;
  std::unique_ptr<Model> model;
};
absl::StatusOr<GoldenModel> LoadGoldenModel(const std::string& directory);

// The rows of a golden.json without their padding, each on its first token as
// the prompt.
PackedBatch PackRows(Json golden);

// The logits at every token of those rows, one row after the other: upstream's
// in double, and the model's; kInvalidArgument for ids that it does not have.
std::vector<double> GoldenLogits(Json golden);
absl::StatusOr<std::vector<double>> LogitsOf(const Model& model, Json golden);

}  // namespace align::oracle
