#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "align/base/precision.h"
#include "align/base/status.h"

namespace align {

// "f32", "bf16" or "auto", which is bf16 where HasFastBf16 and f32 elsewhere.
// kInvalidArgument names them, or says that bf16 is not to be had here.
absl::StatusOr<Precision> ParsePrecision(const std::string& text);
std::string PrecisionName(Precision precision);

// What a run in `precision` should say once, in sentences; none where all is
// well: that bf16 is slow on this machine, or that products do not give a row
// the same bits in any batch, so that the log-probs of a sampler are those of
// the scorer to rounding only.
std::vector<std::string> PrecisionNotes(Precision precision);

// Whether oneDNN has bf16 products here, which takes AVX-512.
bool HasBf16();

// Whether this CPU multiplies bf16 in hardware (AVX512_BF16 or AMX) and oneDNN
// uses it. With AVX-512 alone bf16 products work, slowly.
bool HasFastBf16();

// A number for the instruction set that oneDNN multiplies with: for keys of
// what depends on the last bit.
int64_t MatmulIsa();

}  // namespace align
