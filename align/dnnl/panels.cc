#include "align/dnnl/panels.h"

#include <algorithm>
#include <cstring>

#include "align/base/bf16_bits.h"
#include "align/base/threads.h"
#include "align/base/transpose16.h"

namespace align::onednn {
namespace {

using Halves = uint16_t __attribute__((vector_size(64)));  // 32

constexpr int64_t kLanes = 16;
constexpr int64_t kPanel = 64;  // columns
// A block of a panel is 16 lines, in either precision of 256 bytes: a row of
// floats, or two of Bf16.
constexpr int64_t kLines = 16;
constexpr int64_t kLineBytes = 256;
constexpr int64_t kBlockBytes = kLines * kLineBytes;

int64_t Blocks(int64_t count, int64_t size) {
  return (count + size - 1) / size;
}

template <class Vector>
Vector Load(const void* from) {
  Vector v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

// Two rows or two columns of floats: word i holds element i of both.
Words16 Pair(Words16 first, Words16 second) {
  return RoundedBf16Bits(first) | RoundedBf16Bits(second) << 16;
}

// `size` elements of which `count` exist: in place, or followed by zeros.
template <int64_t size, class T>
const T* Padded(const T* from, int64_t count, T* buffer) {
  if (count >= size) return from;
  std::fill(buffer, buffer + size, T{});
  if (count > 0) std::copy_n(from, count, buffer);
  return buffer;
}

// How a line is made of rows, each of kPanel elements, and a word of each line
// of a block of the elements of one column.
struct FloatLines {
  using From = float;
  static constexpr int64_t kRows = 1;  // a line
  static void FromRows(const float* const* rows, char* line) {
    for (int64_t j = 0; j < kPanel; j += kLanes) {
      const auto words = Load<Words16>(rows[0] + j);
      std::memcpy(line + 4 * j, &words, sizeof words);
    }
  }
  static Words16 FromColumn(const float* column) {
    return Load<Words16>(column);
  }
};

struct RoundedLines {
  using From = float;
  static constexpr int64_t kRows = 2;
  static void FromRows(const float* const* rows, char* line) {
    for (int64_t j = 0; j < kPanel; j += kLanes) {
      const Words16 pair =
          Pair(Load<Words16>(rows[0] + j), Load<Words16>(rows[1] + j));
      std::memcpy(line + 4 * j, &pair, sizeof pair);
    }
  }
  static Words16 FromColumn(const float* column) {
    const auto low = Load<Words16>(column);
    const auto high = Load<Words16>(column + kLanes);
    return Pair(__builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14,
                                        16, 18, 20, 22, 24, 26, 28, 30),
                __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15,
                                        17, 19, 21, 23, 25, 27, 29, 31));
  }
};

struct HalfLines {
  using From = Bf16;
  static constexpr int64_t kRows = 2;
  static void FromRows(const Bf16* const* rows, char* line) {
    for (int64_t j = 0; j < kPanel; j += 2 * kLanes) {
      const auto a = Load<Halves>(rows[0] + j), b = Load<Halves>(rows[1] + j);
      const Halves low = __builtin_shufflevector(
          a, b, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40,
          9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);
      const Halves high = __builtin_shufflevector(
          a, b, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
          24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63);
      std::memcpy(line + 4 * j, &low, sizeof low);
      std::memcpy(line + 4 * j + sizeof low, &high, sizeof high);
    }
  }
};

// Reads rows from end to end, for all panels at once.
template <class Lines>
void PackAllRows(const typename Lines::From* b, int64_t stride, int64_t k,
                 int64_t n, void* out) {
  using From = typename Lines::From;
  constexpr int64_t kRows = Lines::kRows;
  const int64_t panels = Blocks(n, kPanel), blocks = Blocks(k, kLines * kRows);
  ParallelFor(blocks, [&](int64_t block) {
    for (int64_t line = 0; line < kLines; ++line) {
      const int64_t i = (block * kLines + line) * kRows;
      char* to =
          static_cast<char*>(out) + block * kBlockBytes + line * kLineBytes;
      for (int64_t panel = 0; panel < panels; ++panel) {
        From buffers[kRows][kPanel];
        const From* rows[kRows];
        for (int64_t r = 0; r < kRows; ++r) {
          const int64_t columns = i + r < k ? n - panel * kPanel : 0;
          rows[r] = Padded<kPanel>(b + (i + r) * stride + panel * kPanel,
                                   columns, buffers[r]);
        }
        Lines::FromRows(rows, to + panel * blocks * kBlockBytes);
      }
    }
  });
}

// Goes down sixteen columns at a time and asks for lines of memory, those that
// are written too, before it needs them: the CPU does not foresee so many.
template <class Lines>
void PackAllColumns(const float* b, int64_t stride, int64_t k, int64_t n,
                    void* out) {
  constexpr int64_t kHeight = kLines * Lines::kRows;
  constexpr int64_t kAhead = 64;  // floats
  const int64_t blocks = Blocks(k, kHeight);
  ParallelFor(Blocks(n, kPanel) * (kPanel / kLanes), [&](int64_t group) {
    const int64_t first = group * kLanes;
    char* to = static_cast<char*>(out) + first / kPanel * blocks * kBlockBytes +
               first % kPanel * 4;
    for (int64_t i = 0; i < k; i += kHeight, to += kBlockBytes) {
      const float* from = b + first * stride + i;
      for (int64_t j = 0; j < kLanes; ++j) {
        for (int64_t ahead = 0; ahead < kHeight; ahead += kLanes) {
          __builtin_prefetch(from + j * stride + kAhead + ahead);
        }
        __builtin_prefetch(to + 2 * kBlockBytes + j * kLineBytes, 1);
      }
      Words16 words[kLanes];
      for (int64_t j = 0; j < kLanes; ++j) {
        float buffer[kHeight];
        words[j] = Lines::FromColumn(Padded<kHeight>(
            from + j * stride, first + j < n ? k - i : 0, buffer));
      }
      Transpose16x16(words);
      for (int64_t line = 0; line < kLines; ++line) {
        std::memcpy(to + line * kLineBytes, &words[line], sizeof words[line]);
      }
    }
  });
}

}  // namespace

int64_t PanelsSize(int64_t k, int64_t n, Precision precision) {
  const int64_t rows = precision == Precision::kBf16 ? 2 : 1;
  return Blocks(k, kLines * rows) * kLines * rows * Blocks(n, kPanel) * kPanel;
}

void PackRows(const float* b, int64_t stride, int64_t k, int64_t n,
              float* out) {
  PackAllRows<FloatLines>(b, stride, k, n, out);
}

void PackRows(const float* b, int64_t stride, int64_t k, int64_t n, Bf16* out) {
  PackAllRows<RoundedLines>(b, stride, k, n, out);
}

void PackRows(const Bf16* b, int64_t stride, int64_t k, int64_t n, Bf16* out) {
  PackAllRows<HalfLines>(b, stride, k, n, out);
}

void PackColumns(const float* b, int64_t stride, int64_t k, int64_t n,
                 float* out) {
  PackAllColumns<FloatLines>(b, stride, k, n, out);
}

void PackColumns(const float* b, int64_t stride, int64_t k, int64_t n,
                 Bf16* out) {
  PackAllColumns<RoundedLines>(b, stride, k, n, out);
}

}  // namespace align::onednn
