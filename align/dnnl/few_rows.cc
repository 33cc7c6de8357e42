#include "align/dnnl/few_rows.h"

#include <algorithm>
#include <cstring>

#include "align/base/check.h"
#include "align/base/threads.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace align {

namespace {

// Threads share a product by halves of blocks, so that 9 blocks are cut evenly.
constexpr int64_t kHalfCols = ColumnBlocks::kCols / 2;

int64_t Halves(const ColumnBlocks& b) {
  return (b.n + kHalfCols - 1) / kHalfCols;
}

}  // namespace

MemoryStretch FewRowsPart(const ColumnBlocks& b, int64_t parts, int64_t part) {
  const int64_t begin = (Halves(b) * part / parts + 1) / 2;
  const int64_t end = Halves(b) * (part + 1) / parts / 2;
  return {static_cast<const char*>(b.data) + begin * b.block_bytes(),
          std::max<int64_t>(0, end - begin) * b.block_bytes()};
}

#if defined(__AVX512F__)
namespace {

// Rows whose sums stay in registers, beside four vectors of b.
constexpr int64_t kGroupRows = 6;
constexpr int64_t kLanes = 16;
// A step down a block, one row or one pair of rows, is this far.
constexpr int64_t kStepBytes = ColumnBlocks::kCols * 4;

// One in so many halves of a thread's part is left for whoever is done first.
constexpr int64_t kLeftOver = 6;

struct F32Step {
  using Value = float;
  static constexpr int64_t kRows = 1;
  static __m512 Add(const float* a, const char* b, __m512 sum) {
    return _mm512_fmadd_ps(_mm512_set1_ps(*a), _mm512_loadu_ps(b), sum);
  }
};

#if defined(__AVX512BF16__)
struct Bf16Step {
  using Value = Bf16;
  static constexpr int64_t kRows = 2;
  static __m512 Add(const Bf16* a, const char* b, __m512 sum) {
    int32_t pair;
    std::memcpy(&pair, a, sizeof pair);
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32(pair),
                            (__m512bh)_mm512_loadu_si512(b));
  }
};
#endif

// c [R, cols] = a [R, k] times up to C * 16 columns from `b` on. With every
// step down b a line from `ahead` on is asked for, if there is one.
template <class Step, int R, int C>
void Columns(const typename Step::Value* a, int64_t k, int64_t k_block,
             const char* b, int64_t cols, int64_t n, const char* ahead,
             float* c) {
  __m512 total[R][C];
  for (int64_t begin = 0; begin < k; begin += k_block) {
    __m512 sum[R][C];
    for (int i = 0; i < R; ++i) {
      for (int j = 0; j < C; ++j) sum[i][j] = _mm512_setzero_ps();
    }
    const int64_t end = std::min(k, begin + k_block);
    int64_t row = begin;
    for (; row + Step::kRows <= end; row += Step::kRows) {
      const char* at = b + row / Step::kRows * kStepBytes;
      if (ahead != nullptr) {
        _mm_prefetch(ahead + row / Step::kRows * 64, _MM_HINT_T0);
      }
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) {
#pragma GCC unroll 4
        for (int j = 0; j < C; ++j) {
          sum[i][j] = Step::Add(a + i * k + row, at + j * 64, sum[i][j]);
        }
      }
    }
    for (int i = 0; row < end && i < R; ++i) {  // half a pair
      const typename Step::Value pair[2] = {a[i * k + row], {}};
      const char* at = b + row / Step::kRows * kStepBytes;
      for (int j = 0; j < C; ++j) {
        sum[i][j] = Step::Add(pair, at + j * 64, sum[i][j]);
      }
    }
    for (int i = 0; i < R; ++i) {
      for (int j = 0; j < C; ++j) {
        total[i][j] =
            begin == 0 ? sum[i][j] : _mm512_add_ps(total[i][j], sum[i][j]);
      }
    }
  }
  for (int i = 0; i < R; ++i) {
    for (int j = 0; j < C; ++j) {
      const int64_t left = std::clamp<int64_t>(cols - j * kLanes, 0, kLanes);
      _mm512_mask_storeu_ps(c + i * n + j * kLanes,
                            static_cast<__mmask16>((1u << left) - 1),
                            total[i][j]);
    }
  }
}

template <class Step, int C>
constexpr decltype(&Columns<Step, 1, C>) kByRows[kGroupRows] = {
    Columns<Step, 1, C>, Columns<Step, 2, C>, Columns<Step, 3, C>,
    Columns<Step, 4, C>, Columns<Step, 5, C>, Columns<Step, 6, C>};

// Halves [begin, end) of the blocks of b, each for all m rows, a group after
// the other: the first reads it from memory, the others from the cache, and
// they ask for what comes after it, a quarter of it each.
template <class Step>
void MultiplyHalves(const void* a, int64_t m, const ColumnBlocks& b,
                    int64_t k_block, int64_t begin, int64_t end, float* c) {
  const auto* rows = static_cast<const typename Step::Value*>(a);
  const int64_t groups = (m + kGroupRows - 1) / kGroupRows;
  for (int64_t half = begin; half < end;) {
    const bool whole = half % 2 == 0 && half + 1 < end;
    const char* block = static_cast<const char*>(b.data) +
                        half / 2 * b.block_bytes() + half % 2 * kHalfCols * 4;
    const int64_t col = half * kHalfCols;
    const int64_t cols = std::min(b.n - col, whole ? 2 * kHalfCols : kHalfCols);
    half += whole ? 2 : 1;
    const bool more = half < end;
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t first = m * group / groups;
      const int64_t count = m * (group + 1) / groups - first;
      const char* ahead = nullptr;
      if (more && group > 0 && group <= 4) {
        ahead = block + b.block_bytes() + (group - 1) * b.block_bytes() / 4;
      }
      const auto columns =
          (whole ? kByRows<Step, 4> : kByRows<Step, 2>)[count - 1];
      columns(rows + first * b.k, b.k, k_block, block, cols, b.n, ahead,
              c + first * b.n + col);
    }
  }
}

}  // namespace

int64_t MaxFewRows(Precision precision) {
#if defined(__AVX512BF16__)
  constexpr bool kHasBf16 = true;
#else
  constexpr bool kHasBf16 = false;
#endif
  // As many rows as stay in the L2 cache beside a block of b.
  if (precision == Precision::kF32) return 64;
  return kHasBf16 ? 128 : 0;
}

void MultiplyFewRows(const void* a, int64_t m, const ColumnBlocks& b,
                     int64_t k_block, float* c) {
  ALIGN_CHECK(m >= 1 && m <= MaxFewRows(b.precision) && k_block > 0)
      << "[MultiplyFewRows] " << m << " rows, blocks of " << k_block;
  const int64_t halves = Halves(b);
  const int64_t threads = std::min<int64_t>(Threads(), halves);
  // A part a thread, and of each part what is left at its end, which whoever
  // was faster takes: one thread may have had something else to do, or a start
  // (see TeamReadsAhead).
  const int64_t units = threads == 1 ? 1 : 2 * threads;
  ParallelFor(units, [&](int64_t unit) {
    const int64_t part = unit % threads;
    int64_t begin = halves * part / threads;
    int64_t end = halves * (part + 1) / threads;
    const int64_t left = units == 1 ? 0 : (end - begin) / kLeftOver;
    (unit < threads ? end : begin) = end - left;
    if (b.precision == Precision::kF32) {
      return MultiplyHalves<F32Step>(a, m, b, k_block, begin, end, c);
    }
#if defined(__AVX512BF16__)
    MultiplyHalves<Bf16Step>(a, m, b, k_block, begin, end, c);
#endif
  });
}

#else  // no kernel

int64_t MaxFewRows(Precision) { return 0; }

void MultiplyFewRows(const void*, int64_t m, const ColumnBlocks&, int64_t,
                     float*) {
  ALIGN_CHECK(false) << "[MultiplyFewRows] " << m << " rows without a kernel";
}

#endif

}  // namespace align
