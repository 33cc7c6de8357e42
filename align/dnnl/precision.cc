#include "align/dnnl/precision.h"

#include <oneapi/dnnl/dnnl.hpp>

namespace align {

absl::StatusOr<Precision> ParsePrecision(const std::string& text) {
  if (text == "f32") return Precision::kF32;
  if (text == "bf16") return Precision::kBf16;
  if (text == "auto") {
    return HasFastBf16() ? Precision::kBf16 : Precision::kF32;
  }
  return InvalidArgument("precision '" + text +
                         "' is unknown; expected auto, f32 or bf16");
}

std::string PrecisionName(Precision precision) {
  return precision == Precision::kBf16 ? "bf16" : "f32";
}

bool HasFastBf16() {
  switch (dnnl::get_effective_cpu_isa()) {
    case dnnl::cpu_isa::avx512_core_bf16:
    case dnnl::cpu_isa::avx512_core_amx:
      return true;
    default:
      return false;
  }
}

int64_t MatmulIsa() {
  return static_cast<int64_t>(dnnl::get_effective_cpu_isa());
}

}  // namespace align
