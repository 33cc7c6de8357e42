#include "align/models/value_head.h"

#include <cmath>
#include <utility>
#include <vector>

#include "align/models/safetensors.h"
#include "align/models/safetensors_writer.h"
#include "align/ops/ops.h"

namespace align {
namespace {

constexpr char kWeight[] = "v_head.summary.weight";
constexpr char kBias[] = "v_head.summary.bias";

}  // namespace

ValueHead::ValueHead(int64_t width)
    : params_({{.name = kWeight, .shape = {1, width}},
               {.name = kBias, .shape = {1}}}) {}

void ValueHead::Draw(const Rng& rng) {
  const std::span<float> weight = params_.values(0);
  const double deviation =
      1 / std::sqrt(static_cast<double>(weight.size()) + 1);
  Rng stream = rng.Fork(kWeight);
  for (float& v : weight) v = static_cast<float>(deviation * stream.Normal());
  params_.values(1)[0] = 0;
}

Tensor ValueHead::Values(const Tensor& rows) const {
  return Linear(rows, params_.Get(kWeight), params_.Get(kBias));
}

absl::Status LoadValueHead(const std::string& path, ValueHead& head) {
  ALIGN_ASSIGN_OR_RETURN(const SafetensorsFile file,
                         SafetensorsFile::Open(path));
  ParamStore& params = head.params();
  for (size_t p = 0; p < params.specs().size(); ++p) {
    const ParamSpec& spec = params.specs()[p];
    const TensorInfo* info = file.Find(spec.name);
    if (info == nullptr || info->shape != spec.shape) {
      return InvalidArgument(
          path + ": " +
          (info == nullptr
               ? "no tensor " + spec.name
               : spec.name + " has shape " + ShapeText(info->shape)) +
          "; expected " + ShapeText(spec.shape) + ", as wide as the model");
    }
    ALIGN_RETURN_IF_ERROR(Annotate(CopyToFloat(*info, params.values(p)),
                                   path + ": " + spec.name));
  }
  return absl::OkStatus();
}

absl::Status SaveValueHead(const ValueHead& head, const std::string& path) {
  std::vector<TensorToWrite> tensors;
  for (const ParamSpec& spec : head.params().specs()) {
    tensors.push_back({.name = spec.name,
                       .shape = spec.shape,
                       .values = head.params().Get(spec.name).values()});
  }
  return WriteSafetensors(path, std::move(tensors));
}

}  // namespace align
