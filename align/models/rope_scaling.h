#pragma once

#include <cstdint>
#include <vector>

#include "align/base/json_writer.h"
#include "align/base/status.h"
#include "align/models/config_fields.h"
#include "align/models/model_config.h"
#include "align/ops/ops.h"

namespace align {

// rope_theta and rope_scaling (newer files nest both in rope_parameters).
// kUnimplemented names a kind that is not supported: computing without it would
// give other numbers in silence.
absl::Status ReadRope(const ConfigFields& fields, ModelConfig& config);

// The same fields inside an open object.
void WriteRope(const ModelConfig& config, JsonWriter& json);

// Whether RoPE over `dims` elements of a head is possible: kInvalidArgument.
absl::Status ValidateRope(const ModelConfig& config, int64_t dims);

// Of each pair of `dims` rotated elements, the angle of one position, radians,
// stretched as config.rope_scaling says.
std::vector<double> RopeFrequencies(const ModelConfig& config, int64_t dims);

// Cosines and sines for max_position_embeddings positions of `dims` rotated
// elements, stretched as config.rope_scaling says: linear (Chen et al. 2023),
// llama3 (Grattafiori et al. 2024), yarn (Peng et al. 2023, sections 3.2-3.4).
RopeTable MakeRopeTable(const ModelConfig& config, int64_t dims);

// YaRN's 0.1 mscale ln(factor) + 1; 1 for factors up to 1.
double YarnMagnitude(double factor, double mscale);

// The number of positions that can be computed, with the reason when that is
// less than max_position_embeddings: dynamic scaling changes the frequencies of
// all positions with the length of the text beyond it.
struct PositionLimit {
  int64_t positions = 0;
  const char* reason = "";
};
PositionLimit LimitOfPositions(const ModelConfig& config);

}  // namespace align
