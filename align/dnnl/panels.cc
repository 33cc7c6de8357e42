#include "align/dnnl/panels.h"

#include <algorithm>
#include <cstring>

#include "align/base/bf16_bits.h"
#include "align/base/threads.h"

namespace align::onednn {
namespace {

using Words = uint32_t __attribute__((vector_size(64)));   // 16
using Halves = uint16_t __attribute__((vector_size(64)));  // 32

constexpr int64_t kLanes = 16;
constexpr int64_t kPanel = 64;  // columns
constexpr int64_t kBlock = 32;  // rows
constexpr int64_t kBlockSize = kPanel * kBlock;

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
Words Pair(Words first, Words second) {
  return RoundedBf16Bits(first) | RoundedBf16Bits(second) << 16;
}

// One pair of rows of a panel.
void PackPair(const float* first, const float* second, Bf16* out) {
  for (int64_t j = 0; j < kPanel; j += kLanes) {
    const Words pair = Pair(Load<Words>(first + j), Load<Words>(second + j));
    std::memcpy(out + 2 * j, &pair, sizeof pair);
  }
}

void PackPair(const Bf16* first, const Bf16* second, Bf16* out) {
  for (int64_t j = 0; j < kPanel; j += 2 * kLanes) {
    const Halves a = Load<Halves>(first + j), b = Load<Halves>(second + j);
    const Halves low = __builtin_shufflevector(
        a, b, 0, 32, 1, 33, 2, 34, 3, 35, 4, 36, 5, 37, 6, 38, 7, 39, 8, 40, 9,
        41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47);
    const Halves high = __builtin_shufflevector(
        a, b, 16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
        24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63);
    std::memcpy(out + 2 * j, &low, sizeof low);
    std::memcpy(out + 2 * j + 2 * kLanes, &high, sizeof high);
  }
}

// `size` elements of which `count` exist: in place, or followed by zeros.
template <int64_t size, class T>
const T* Padded(const T* from, int64_t count, T* buffer) {
  if (count >= size) return from;
  std::fill(buffer, buffer + size, T{});
  if (count > 0) std::copy_n(from, count, buffer);
  return buffer;
}

template <class T>
void PackAllRows(const T* b, int64_t stride, int64_t k, int64_t n, Bf16* out) {
  const int64_t panels = Blocks(n, kPanel), blocks = Blocks(k, kBlock);
  ParallelFor(blocks, [&](int64_t block) {
    for (int64_t panel = 0; panel < panels; ++panel) {
      Bf16* to = out + (panel * blocks + block) * kBlockSize;
      const T* from = b + panel * kPanel;
      const int64_t columns = n - panel * kPanel;
      for (int64_t i = block * kBlock; i < (block + 1) * kBlock; i += 2) {
        T first[kPanel], second[kPanel];
        PackPair(Padded<kPanel>(from + i * stride, i < k ? columns : 0, first),
                 Padded<kPanel>(from + (i + 1) * stride,
                                i + 1 < k ? columns : 0, second),
                 to);
        to += 2 * kPanel;
      }
    }
  });
}

// Lanes of the lower or upper halves of a and b in turn.
Words InterleaveLow(Words a, Words b) {
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21,
                                 6, 22, 7, 23);
}
Words InterleaveHigh(Words a, Words b) {
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                 29, 14, 30, 15, 31);
}

// Four perfect shuffles of 256 words transpose them.
void Transpose16x16(Words* m) {
  for (int round = 0; round < 4; ++round) {
    Words next[kLanes];
    for (int64_t i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = InterleaveLow(m[i], m[i + kLanes / 2]);
      next[2 * i + 1] = InterleaveHigh(m[i], m[i + kLanes / 2]);
    }
    std::copy_n(next, kLanes, m);
  }
}

// The pairs of one column of a block, from its 32 floats.
Words PairsOf(const float* column) {
  const Words low = Load<Words>(column), high = Load<Words>(column + kLanes);
  return Pair(__builtin_shufflevector(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16,
                                      18, 20, 22, 24, 26, 28, 30),
              __builtin_shufflevector(low, high, 1, 3, 5, 7, 9, 11, 13, 15, 17,
                                      19, 21, 23, 25, 27, 29, 31));
}

}  // namespace

int64_t PanelsSize(int64_t k, int64_t n) {
  return Blocks(k, kBlock) * Blocks(n, kPanel) * kBlockSize;
}

void PackRows(const float* b, int64_t stride, int64_t k, int64_t n, Bf16* out) {
  PackAllRows(b, stride, k, n, out);
}

void PackRows(const Bf16* b, int64_t stride, int64_t k, int64_t n, Bf16* out) {
  PackAllRows(b, stride, k, n, out);
}

void PackColumns(const float* b, int64_t stride, int64_t k, int64_t n,
                 Bf16* out) {
  const int64_t blocks = Blocks(k, kBlock);
  ParallelFor(Blocks(n, kPanel), [&](int64_t panel) {
    for (int64_t block = 0; block < blocks; ++block) {
      Bf16* to = out + (panel * blocks + block) * kBlockSize;
      for (int64_t j0 = 0; j0 < kPanel; j0 += kLanes) {
        Words pairs[kLanes];
        for (int64_t j = 0; j < kLanes; ++j) {
          const int64_t column = panel * kPanel + j0 + j;
          float buffer[kBlock];
          pairs[j] = PairsOf(
              Padded<kBlock>(b + column * stride + block * kBlock,
                             column < n ? k - block * kBlock : 0, buffer));
        }
        Transpose16x16(pairs);
        for (int64_t i = 0; i < kLanes; ++i) {
          std::memcpy(to + i * 2 * kPanel + 2 * j0, &pairs[i], sizeof pairs[i]);
        }
      }
    }
  });
}

}  // namespace align::onednn
