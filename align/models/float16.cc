#include "align/models/float16.h"

#include <bit>
#include <cmath>

namespace align {

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1F;
  const uint32_t fraction = half & 0x3FF;
  if (exponent == 0) {
    const float value = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -value : value;
  }
  const uint32_t wide = exponent == 31 ? 255 : exponent + (127 - 15);
  return std::bit_cast<float>(sign | wide << 23 | fraction << 13);
}

float BfloatToFloat(uint16_t bfloat) {
  return std::bit_cast<float>(static_cast<uint32_t>(bfloat) << 16);
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (std::isnan(value)) {
    // A payload in the low bits alone would leave infinity.
    const uint32_t fraction = magnitude >> 13 & 0x3FF;
    return static_cast<uint16_t>(sign | 0x7C00 |
                                 (fraction != 0 ? fraction : 0x200));
  }
  if (magnitude >= 0x477FF000) return sign | 0x7C00;  // 65520 rounds up
  if (magnitude < 0x38800000) {  // below 2^-14: in steps of 2^-24
    const float steps = std::bit_cast<float>(magnitude) * 0x1p24f;
    return static_cast<uint16_t>(sign |
                                 static_cast<uint16_t>(std::nearbyint(steps)));
  }
  const uint32_t even = magnitude >> 13 & 1;
  const uint32_t rounded = magnitude + 0xFFF + even;
  return static_cast<uint16_t>(sign | ((rounded >> 13) - ((127 - 15) << 10)));
}

uint16_t FloatToBfloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) {
    // A payload in the low bits alone would leave infinity.
    const uint32_t quiet = (bits & 0x7F0000) == 0 ? 0x40 : 0;
    return static_cast<uint16_t>(bits >> 16 | quiet);
  }
  const uint32_t even = (bits >> 16) & 1;
  return static_cast<uint16_t>((bits + 0x7FFF + even) >> 16);
}

}  // namespace align
