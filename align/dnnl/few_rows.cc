#include "align/dnnl/few_rows.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "align/base/check.h"
#include "align/base/threads.h"

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace align {

namespace {

// Threads share a product by halves of blocks, so that 9 blocks are cut evenly.
// The last may have no columns.
constexpr int64_t kHalfCols = ColumnBlocks::kCols / 2;

int64_t Halves(const ColumnBlocks& b) { return 2 * b.count(); }

// Halves [begin, end) of one or of several matrices.
struct HalfRange {
  int64_t begin = 0, end = 0;
};

}  // namespace

void AppendFewRowsPart(std::span<const ColumnBlocks> b, int64_t parts,
                       int64_t part, std::vector<MemoryStretch>& stretches) {
  int64_t halves = 0, before = 0;
  for (const ColumnBlocks& one : b) halves += Halves(one);
  for (const ColumnBlocks& one : b) {
    const int64_t count = Halves(one);
    const int64_t first = std::max(halves * part / parts - before, int64_t{0});
    const int64_t last = std::min(halves * (part + 1) / parts - before, count);
    before += count;
    const int64_t begin = (first + 1) / 2, end = last / 2;
    if (begin >= end) continue;
    stretches.push_back(
        {static_cast<const char*>(one.data) + begin * one.block_bytes(),
         (end - begin) * one.block_bytes()});
  }
}

#if defined(__AVX512F__)
namespace {

// Rows whose sums stay in registers, beside four vectors of b.
constexpr int64_t kGroupRows = 6;
constexpr int64_t kLanes = 16;
// A step down a block, one row or one pair of rows, is this far.
constexpr int64_t kStepBytes = ColumnBlocks::kCols * 4;

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

// Up to a block of b, for all m rows, a group after the other: the first reads
// it from memory, the others from the cache, and they ask for what comes after
// it, a quarter of it each, if somebody is to read that.
template <class Step>
void MultiplyBlock(const void* a, int64_t m, const FewRowsProduct& product,
                   HalfRange part, bool more) {
  const ColumnBlocks& b = product.b;
  const bool whole = part.end - part.begin == 2;
  const int64_t col = part.begin * kHalfCols;
  const int64_t cols = std::min(b.n - col, whole ? 2 * kHalfCols : kHalfCols);
  if (cols <= 0) return;
  const char* block = static_cast<const char*>(b.data) +
                      part.begin / 2 * b.block_bytes() +
                      part.begin % 2 * kHalfCols * 4;
  const auto* rows = static_cast<const typename Step::Value*>(a);
  const int64_t groups = (m + kGroupRows - 1) / kGroupRows;
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t first = m * group / groups;
    const int64_t count = m * (group + 1) / groups - first;
    const char* ahead = nullptr;
    if (more && group > 0 && group <= 4) {
      ahead = block + b.block_bytes() + (group - 1) * b.block_bytes() / 4;
    }
    const auto columns =
        (whole ? kByRows<Step, 4> : kByRows<Step, 2>)[count - 1];
    columns(rows + first * b.k, b.k, product.k_block, block, cols, b.n, ahead,
            product.c + first * b.n + col);
  }
}

// `part` of the halves of all products: of one block.
void MultiplyPart(const void* a, int64_t m,
                  std::span<const FewRowsProduct> products, HalfRange part) {
  for (const FewRowsProduct& product : products) {
    const int64_t count = Halves(product.b);
    if (part.begin < count) {
      const bool more = part.end < count;
      if (product.b.precision == Precision::kF32) {
        return MultiplyBlock<F32Step>(a, m, product, part, more);
      }
#if defined(__AVX512BF16__)
      return MultiplyBlock<Bf16Step>(a, m, product, part, more);
#endif
    }
    part.begin -= count;
    part.end -= count;
  }
}

// What of a thread's part nobody has taken yet. The thread takes it from the
// front, so that it reads one stream of memory; others, who are done with
// theirs, from the back.
class Untaken {
 public:
  void Set(int64_t begin, int64_t end) {
    range_.store(Word(begin, end), std::memory_order_relaxed);
  }
  // A block, or a half where no more of it is left; empty when nothing is.
  HalfRange TakeFirst() {
    return Take([](int64_t begin, int64_t end) {
      const int64_t size = begin % 2 == 0 && end - begin >= 2 ? 2 : 1;
      return HalfRange{begin, begin + size};
    });
  }
  // The same, a half where little is left.
  HalfRange TakeLast() {
    return Take([](int64_t begin, int64_t end) {
      const int64_t size = end % 2 == 0 && end - begin >= 4 ? 2 : 1;
      return HalfRange{end - size, end};
    });
  }

 private:
  static uint64_t Word(int64_t begin, int64_t end) {
    return static_cast<uint64_t>(begin) << 32 | static_cast<uint64_t>(end);
  }
  // choose(begin, end) takes something from either end of what is left.
  template <class Choose>
  HalfRange Take(const Choose& choose) {
    uint64_t word = range_.load(std::memory_order_relaxed);
    while (true) {
      const auto begin = static_cast<int64_t>(word >> 32);
      const auto end = static_cast<int64_t>(word & 0xFFFFFFFFu);
      if (begin == end) return {};
      const HalfRange taken = choose(begin, end);
      const uint64_t rest = taken.begin == begin ? Word(taken.end, end)
                                                 : Word(begin, taken.begin);
      if (range_.compare_exchange_weak(word, rest, std::memory_order_relaxed)) {
        return taken;
      }
    }
  }

  alignas(64) std::atomic<uint64_t> range_ = 0;
};

// More threads find nothing to do.
constexpr int64_t kMostParts = 64;

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

void MultiplyFewRows(const void* a, int64_t m,
                     std::span<const FewRowsProduct> products) {
  int64_t halves = 0;
  for (const FewRowsProduct& product : products) {
    const ColumnBlocks& b = product.b;
    const ColumnBlocks& first = products[0].b;
    ALIGN_CHECK(m >= 1 && m <= MaxFewRows(b.precision) && product.k_block > 0 &&
                b.k == first.k && b.precision == first.precision)
        << "[MultiplyFewRows] " << m << " rows of " << first.k << " and " << b.k
        << ", blocks of " << product.k_block;
    halves += Halves(b);
  }
  const int64_t parts =
      std::min({static_cast<int64_t>(Threads()), halves, kMostParts});
  std::array<Untaken, kMostParts> untaken;
  for (int64_t part = 0; part < parts; ++part) {
    untaken[part].Set(halves * part / parts, halves * (part + 1) / parts);
  }
  // One thread may have had something else to do, or a start (see
  // TeamReadsAhead): whoever is done first helps.
  ParallelFor(parts, [&](int64_t part) {
    for (int64_t i = 0; i < parts; ++i) {
      Untaken& from = untaken[(part + i) % parts];
      while (true) {
        const HalfRange taken = i == 0 ? from.TakeFirst() : from.TakeLast();
        if (taken.begin == taken.end) break;
        MultiplyPart(a, m, products, taken);
      }
    }
  });
}

#else  // no kernel

int64_t MaxFewRows(Precision) { return 0; }

void MultiplyFewRows(const void*, int64_t m, std::span<const FewRowsProduct>) {
  ALIGN_CHECK(false) << "[MultiplyFewRows] " << m << " rows without a kernel";
}

#endif

}  // namespace align
