#include "align/dnnl/precision.h"

#include <oneapi/dnnl/dnnl.hpp>

#include "align/dnnl/matmul.h"
#include "align/dnnl/onednn.h"
#include "align/dnnl/packed_matrix.h"

namespace align {

absl::StatusOr<Precision> ParsePrecision(const std::string& text) {
  if (text == "f32") return Precision::kF32;
  if (text == "bf16") {
    if (HasBf16()) return Precision::kBf16;
    return InvalidArgument(
        "precision 'bf16': oneDNN multiplies bf16 on CPUs with AVX-512, which "
        "this one has not; expected f32, or auto, which is f32 here");
  }
  if (text == "auto") {
    return HasFastBf16() ? Precision::kBf16 : Precision::kF32;
  }
  return InvalidArgument("precision '" + text +
                         "' is unknown; expected auto, f32 or bf16");
}

std::string PrecisionName(Precision precision) {
  return precision == Precision::kBf16 ? "bf16" : "f32";
}

std::vector<std::string> PrecisionNotes(Precision precision) {
  std::vector<std::string> notes;
  const bool bf16 = precision == Precision::kBf16;
  const std::string name = PrecisionName(precision);
  if (bf16 && !HasFastBf16()) {
    notes.push_back(
        "precision bf16: this CPU has neither AVX512_BF16 nor AMX, so that "
        "products are slower than in f32; auto would be f32 here");
  }
  if (bf16 ? !PackedRowsExact(precision)
           : GetMatmulMode() == MatmulMode::kTolerance) {
    notes.push_back("precision " + name +
                    ": products of this CPU depend on how many rows they have, "
                    "so that a sampler's log-probs are the scorer's to "
                    "rounding only");
  }
  return notes;
}

bool HasBf16() {
  static const bool has = [] {
    constexpr auto kBf16 = dnnl::memory::data_type::bf16;
    const auto square = onednn::Dense(64, 64, kBf16);
    try {
      onednn::DescribeProduct(
          square, square, onednn::Dense(64, 64, dnnl::memory::data_type::f32),
          /*accumulate=*/false);
    } catch (const dnnl::error&) {
      return false;
    }
    return true;
  }();
  return has;
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
