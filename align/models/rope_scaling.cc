#include "align/models/rope_scaling.h"

#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace align {
namespace {

constexpr std::pair<std::string_view, RopeKind> kKinds[] = {
    {"default", RopeKind::kPlain},   {"linear", RopeKind::kLinear},
    {"llama3", RopeKind::kLlama3},   {"yarn", RopeKind::kYarn},
    {"dynamic", RopeKind::kDynamic},
};

std::string_view KindName(RopeKind kind) {
  for (const auto& [name, known] : kKinds) {
    if (known == kind) return name;
  }
  return "";
}

absl::Status ReadKind(const ConfigFields& fields, const ConfigFields& parent,
                      const char* key, RopeKind& kind) {
  std::string type = "unnamed";
  ALIGN_RETURN_IF_ERROR(fields.Text("type", type));
  ALIGN_RETURN_IF_ERROR(fields.Text("rope_type", type));
  std::string names;
  for (const auto& [name, known] : kKinds) {
    if (name == type) {
      kind = known;
      return absl::OkStatus();
    }
    names.append(names.empty() ? "" : ", ").append(name);
  }
  return parent.Unsupported(key, "of type " + type, "null or one of " + names);
}

absl::Status ReadScaling(const ConfigFields& parent, const char* key,
                         ModelConfig& config) {
  simdjson::dom::object object;
  if (parent.object()[key].get(object) != simdjson::SUCCESS) {
    return parent.Wrong(key, "null or an object");
  }
  const ConfigFields fields(object, parent.where() + ": " + key);
  RopeScaling scaling;
  ALIGN_RETURN_IF_ERROR(ReadKind(fields, parent, key, scaling.kind));
  ALIGN_RETURN_IF_ERROR(fields.Number("rope_theta", config.rope_theta));
  ALIGN_RETURN_IF_ERROR(
      fields.Number("partial_rotary_factor", config.rotary_share));
  if (scaling.kind != RopeKind::kPlain && !fields.Has("factor")) {
    return fields.Wrong("factor", "a number");
  }
  for (const auto& [name, value] :
       {std::pair{"factor", &scaling.factor},
        {"low_freq_factor", &scaling.low_freq_factor},
        {"high_freq_factor", &scaling.high_freq_factor},
        {"beta_fast", &scaling.beta_fast},
        {"beta_slow", &scaling.beta_slow},
        {"attention_factor", &scaling.attention_factor},
        {"mscale", &scaling.mscale},
        {"mscale_all_dim", &scaling.mscale_all_dim}}) {
    ALIGN_RETURN_IF_ERROR(fields.Number(name, *value));
  }
  ALIGN_RETURN_IF_ERROR(fields.Bool("truncate", scaling.truncate));
  ALIGN_RETURN_IF_ERROR(fields.Int("original_max_position_embeddings",
                                   scaling.original_positions));
  if (scaling.kind == RopeKind::kPlain) scaling = {};
  config.rope_scaling = scaling;
  return absl::OkStatus();
}

int64_t OriginalPositions(const ModelConfig& config) {
  return config.rope_scaling.original_positions > 0
             ? config.rope_scaling.original_positions
             : config.max_position_embeddings;
}

// Low frequencies are divided by the factor, high ones kept, those between
// interpolated by wavelength.
double Llama3Frequency(const RopeScaling& scaling, double positions,
                       double frequency) {
  const double turns = positions * frequency / (2 * std::numbers::pi);
  if (turns < scaling.low_freq_factor) return frequency / scaling.factor;
  if (turns > scaling.high_freq_factor) return frequency;
  const double kept = (turns - scaling.low_freq_factor) /
                      (scaling.high_freq_factor - scaling.low_freq_factor);
  return ((1 - kept) / scaling.factor + kept) * frequency;
}

// The same by index, between those that turn beta_fast and beta_slow times
// over the original positions.
class YarnRamp {
 public:
  YarnRamp(const ModelConfig& config, int64_t dims) {
    const RopeScaling& scaling = config.rope_scaling;
    const auto index = [&](double turns) {
      return static_cast<double>(dims) *
             std::log(static_cast<double>(OriginalPositions(config)) /
                      (turns * 2 * std::numbers::pi)) /
             (2 * std::log(config.rope_theta));
    };
    low_ = index(scaling.beta_fast);
    high_ = index(scaling.beta_slow);
    if (scaling.truncate) {
      low_ = std::floor(low_);
      high_ = std::ceil(high_);
    }
    low_ = std::max(low_, 0.0);
    high_ = std::min(high_, static_cast<double>(dims - 1));
    if (low_ == high_) high_ += 0.001;  // transformers' step for a wall
  }
  double Frequency(double factor, int64_t i, double frequency) const {
    const double divided =
        std::clamp((static_cast<double>(i) - low_) / (high_ - low_), 0.0, 1.0);
    return frequency / factor * divided + frequency * (1 - divided);
  }

 private:
  double low_, high_;
};

// Section 3.4: attention's temperature, folded into cosines and sines.
double YarnScale(const RopeScaling& scaling) {
  if (scaling.attention_factor > 0) return scaling.attention_factor;
  if (scaling.mscale > 0 && scaling.mscale_all_dim > 0) {
    return YarnMagnitude(scaling.factor, scaling.mscale) /
           YarnMagnitude(scaling.factor, scaling.mscale_all_dim);
  }
  return YarnMagnitude(scaling.factor, 1);
}

absl::Status Bad(const char* field, double value, const char* expected) {
  return InvalidArgument(std::string("rope_scaling: ") + field + " is " +
                         std::to_string(value) + "; " + expected + " expected");
}

absl::Status ValidateScaling(const RopeScaling& scaling) {
  for (const auto& [name, value] :
       {std::pair{"factor", scaling.factor},
        {"low_freq_factor", scaling.low_freq_factor},
        {"beta_fast", scaling.beta_fast},
        {"beta_slow", scaling.beta_slow}}) {
    if (!(value > 0) || !std::isfinite(value)) {
      return Bad(name, value, "a positive number");
    }
  }
  if (!(scaling.high_freq_factor > scaling.low_freq_factor) ||
      !std::isfinite(scaling.high_freq_factor)) {
    return Bad("high_freq_factor", scaling.high_freq_factor,
               "more than low_freq_factor");
  }
  for (const auto& [name, value] :
       {std::pair{"attention_factor", scaling.attention_factor},
        {"mscale", scaling.mscale},
        {"mscale_all_dim", scaling.mscale_all_dim}}) {
    if (!(value >= 0) || !std::isfinite(value)) {
      return Bad(name, value, "a number of at least 0");
    }
  }
  if (scaling.original_positions < 0) {
    return Bad("original_max_position_embeddings",
               static_cast<double>(scaling.original_positions),
               "a positive number");
  }
  return absl::OkStatus();
}

void Written(JsonWriter& json, const RopeScaling& scaling) {
  json.Field("rope_type", KindName(scaling.kind));
  json.Field("factor", scaling.factor);
  if (scaling.original_positions > 0) {
    json.Field("original_max_position_embeddings", scaling.original_positions);
  }
  if (scaling.kind == RopeKind::kLlama3) {
    json.Field("low_freq_factor", scaling.low_freq_factor);
    json.Field("high_freq_factor", scaling.high_freq_factor);
  }
  if (scaling.kind != RopeKind::kYarn) return;
  json.Field("beta_fast", scaling.beta_fast);
  json.Field("beta_slow", scaling.beta_slow);
  json.Field("truncate", scaling.truncate);
  for (const auto& [name, value] :
       {std::pair{"attention_factor", scaling.attention_factor},
        {"mscale", scaling.mscale},
        {"mscale_all_dim", scaling.mscale_all_dim}}) {
    if (value > 0) json.Field(name, value);
  }
}

}  // namespace

double YarnMagnitude(double factor, double mscale) {
  return factor <= 1 ? 1 : 0.1 * mscale * std::log(factor) + 1;
}

absl::Status ReadRope(const ConfigFields& fields, ModelConfig& config) {
  ALIGN_RETURN_IF_ERROR(fields.Number("rope_theta", config.rope_theta));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (fields.Has(key)) {
      ALIGN_RETURN_IF_ERROR(ReadScaling(fields, key, config));
    }
  }
  return absl::OkStatus();
}

void WriteRope(const ModelConfig& config, JsonWriter& json) {
  json.Key("rope_scaling");
  if (config.rope_scaling.kind == RopeKind::kPlain) {
    json.Null();
  } else {
    json.BeginObject();
    Written(json, config.rope_scaling);
    json.EndObject();
  }
  json.Field("rope_theta", config.rope_theta);
}

absl::Status ValidateRope(const ModelConfig& config, int64_t dims) {
  if (dims < 2 || dims % 2 != 0 || dims > config.head_dim) {
    return InvalidArgument("head_dim is " + std::to_string(config.head_dim) +
                           ", of which " + std::to_string(dims) +
                           " elements rotate; an even number expected");
  }
  if (!(config.rope_theta > 0) || !std::isfinite(config.rope_theta)) {
    return InvalidArgument("rope_theta is " +
                           std::to_string(config.rope_theta) +
                           "; a positive number expected");
  }
  // 512 MiB of cosines and as much of sines: a million positions of 128.
  constexpr int64_t kMaxAngles = int64_t{1} << 27;
  if (config.max_position_embeddings > kMaxAngles / (dims / 2)) {
    return InvalidArgument(
        "max_position_embeddings is " +
        std::to_string(config.max_position_embeddings) + "; at most " +
        std::to_string(kMaxAngles / (dims / 2)) + " expected for " +
        std::to_string(dims) + " rotated elements");
  }
  return ValidateScaling(config.rope_scaling);
}

std::vector<double> RopeFrequencies(const ModelConfig& config, int64_t dims) {
  const RopeScaling& scaling = config.rope_scaling;
  const YarnRamp ramp(config, dims);
  std::vector<double> frequencies;
  for (int64_t i = 0; i < dims / 2; ++i) {
    double frequency =
        std::pow(config.rope_theta,
                 -2.0 * static_cast<double>(i) / static_cast<double>(dims));
    switch (scaling.kind) {
      case RopeKind::kLinear:
        frequency /= scaling.factor;
        break;
      case RopeKind::kLlama3:
        frequency = Llama3Frequency(
            scaling, static_cast<double>(OriginalPositions(config)), frequency);
        break;
      case RopeKind::kYarn:
        frequency = ramp.Frequency(scaling.factor, i, frequency);
        break;
      case RopeKind::kPlain:
      case RopeKind::kDynamic:
        break;
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

RopeTable MakeRopeTable(const ModelConfig& config, int64_t dims) {
  const RopeScaling& scaling = config.rope_scaling;
  const double scale = scaling.kind == RopeKind::kYarn ? YarnScale(scaling) : 1;
  return RopeTable(config.max_position_embeddings,
                   RopeFrequencies(config, dims), scale);
}

PositionLimit LimitOfPositions(const ModelConfig& config) {
  const int64_t original = OriginalPositions(config);
  if (config.rope_scaling.kind == RopeKind::kDynamic &&
      original < config.max_position_embeddings) {
    return {.positions = original,
            .reason =
                " before its dynamic RoPE scaling, which would move every "
                "position with the length of the text"};
  }
  return {.positions = config.max_position_embeddings};
}

}  // namespace align
