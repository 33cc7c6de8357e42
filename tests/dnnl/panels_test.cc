#include "align/dnnl/panels.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "align/base/bf16_bits.h"
#include "align/base/rng.h"

namespace align::onednn {
namespace {

// A matrix [k, n] with what rounding may get wrong: ties, NaN, infinities.
std::vector<float> Values(int64_t k, int64_t n) {
  Rng rng(static_cast<uint64_t>(k * 1000 + n));
  std::vector<float> values(k * n);
  for (float& v : values) v = static_cast<float>(rng.Normal());
  const float special[] = {
      std::numeric_limits<float>::infinity(), std::bit_cast<float>(0x7F800001u),
      std::bit_cast<float>(0x3F808000u),      std::bit_cast<float>(0x3F818000u),
      std::numeric_limits<float>::max(),      -0.0f};
  for (size_t i = 0; i < values.size(); i += 7) {
    values[i] = special[i / 7 % std::size(special)];
  }
  return values;
}

uint16_t Rounded(float v) {
  return static_cast<uint16_t>(RoundedBf16Bits(std::bit_cast<uint32_t>(v)));
}

// The layouts by their definition, one element at a time.
std::vector<float> ExpectedFloats(const std::vector<float>& b, int64_t k,
                                  int64_t n) {
  std::vector<float> out(PanelsSize(k, n, Precision::kF32), 0.0f);
  const int64_t blocks = (k + 15) / 16;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const int64_t block = j / 64 * blocks + i / 16;
      out[(block * 16 + i % 16) * 64 + j % 64] = b[i * n + j];
    }
  }
  return out;
}

std::vector<uint16_t> Expected(const std::vector<float>& b, int64_t k,
                               int64_t n) {
  std::vector<uint16_t> out(PanelsSize(k, n, Precision::kBf16), 0);
  const int64_t blocks = (k + 31) / 32;
  for (int64_t i = 0; i < k; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const int64_t block = j / 64 * blocks + i / 32;
      out[((block * 16 + i % 32 / 2) * 64 + j % 64) * 2 + i % 2] =
          Rounded(b[i * n + j]);
    }
  }
  return out;
}

template <class T, class U>
void ExpectPanels(const std::vector<T>& out, const std::vector<U>& expected) {
  static_assert(sizeof(T) == sizeof(U));
  ASSERT_EQ(out.size(), expected.size());
  EXPECT_EQ(std::memcmp(out.data(), expected.data(), sizeof(T) * out.size()),
            0);
}

TEST(Panels, RowsAndColumnsLandWhereTheLayoutSays) {
  for (const auto& [k, n] : {std::pair<int64_t, int64_t>{64, 128},
                             {1, 1},
                             {33, 70},
                             {31, 64},
                             {130, 63},
                             {96, 17}}) {
    SCOPED_TRACE(testing::Message() << k << " " << n);
    const std::vector<float> b = Values(k, n);
    const std::vector<uint16_t> expected = Expected(b, k, n);
    // What was there before must not show through as padding.
    const std::vector<Bf16> dirty(expected.size(), Bf16{0x1234});

    std::vector<Bf16> out = dirty;
    PackRows(b.data(), n, k, n, out.data());
    ExpectPanels(out, expected);

    std::vector<float> columns(b.size());
    std::vector<Bf16> halves(b.size());
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < n; ++j) {
        columns[j * k + i] = b[i * n + j];
        halves[i * n + j] = {Rounded(b[i * n + j])};
      }
    }
    out = dirty;
    PackColumns(columns.data(), k, k, n, out.data());
    ExpectPanels(out, expected);

    out = dirty;
    PackRows(halves.data(), n, k, n, out.data());
    ExpectPanels(out, expected);

    const std::vector<float> floats = ExpectedFloats(b, k, n);
    std::vector<float> unrounded(floats.size(), 5.0f);
    PackRows(b.data(), n, k, n, unrounded.data());
    ExpectPanels(unrounded, floats);
    unrounded.assign(floats.size(), 5.0f);
    PackColumns(columns.data(), k, k, n, unrounded.data());
    ExpectPanels(unrounded, floats);
  }
}

}  // namespace
}  // namespace align::onednn
