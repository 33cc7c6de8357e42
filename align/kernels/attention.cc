#include "align/kernels/attention.h"

#include <algorithm>
#include <limits>

#include "align/kernels/attention_lanes.h"
#include "align/kernels/bf16_pairs.h"
#include "align/kernels/lanes.h"
#include "align/kernels/transpose8.h"

namespace align::kernels {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Minus infinity in lanes outside [first, visible); lane 0 is position `at`.
Wide Mask(Wide scores, int64_t at, int64_t first, int64_t visible) {
  if (at >= first && at + kTile <= visible) return scores;
  const WideInt lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const auto low =
      static_cast<int32_t>(std::clamp(first - at, int64_t{0}, kTile));
  const auto high =
      static_cast<int32_t>(std::clamp(visible - at, int64_t{0}, kTile));
  const WideInt seen = (lanes >= low) & (lanes < high);
  return seen ? scores : BroadcastWide(kMinusInfinity);
}

// Masked scores of the block from its first visible tile on, with the slopes
// of their cap, and each query's maximum.
template <int64_t kQueries>
void MaskedScores(const QueryBlock& block, const Pointers& key_tiles,
                  const HeadRule& rule, AttentionScratch& scratch,
                  float maximum[kQueryBlock]) {
  const int64_t stride = ScoreStride(block);
  const float* q[kQueryBlock];
  for (int64_t i = 0; i < kQueryBlock; ++i) {
    q[i] = block.q[i < block.count ? i : 0];
  }
  const Wide scale = BroadcastWide(rule.scale);
  const Wide cap = BroadcastWide(rule.soft_cap);
  Wide best[kQueryBlock];
  std::fill_n(best, kQueryBlock, BroadcastWide(kMinusInfinity));
  ForTileProducts<F32Product, kQueries>(
      q, key_tiles, rule.dim, LeastFirst(block) / kTile, stride / kTile,
      [&](int64_t t, const Wide* products) {
        for (int64_t i = 0; i < block.count; ++i) {
          const int64_t at = i * stride + t * kTile;
          Wide score = products[i] * scale;
          if (rule.soft_cap > 0) {
            const Wide bent = TanhWide(score / cap);
            StoreWide(scratch.slopes.data() + at,
                      BroadcastWide(1.0f) - bent * bent);
            score = cap * bent;
          }
          score = Mask(score, t * kTile, block.first[i], block.visible[i]);
          StoreWide(scratch.probabilities.data() + at, score);
          best[i] = MaxWide(score, best[i]);
        }
      });
  for (int64_t i = 0; i < block.count; ++i) maximum[i] = MaxLane(best[i]);
}

// Scores of one query become exponentials, in bf16 rounded and in words, too;
// returns their sum.
float Exponentials(float maximum, int64_t begin, int64_t stride, float* scores,
                   float* words) {
  const Wide most = BroadcastWide(maximum);
  Wide total{};
  std::fill_n(scores, begin, 0.0f);
  if (words != nullptr) std::fill_n(words, begin / 2, 0.0f);
  for (int64_t t = begin; t < stride; t += kTile) {
    Wide e = ExpWide(LoadWide(scores + t) - most);
    if (words != nullptr) {
      e = RoundedWide(e);
      StoreNeighbours(e, kTile, words + t / 2);
    }
    StoreWide(scores + t, e);
    total += e;
  }
  return TreeSum(total);
}

}  // namespace

void TurnIntoTile(const float* const* vectors, int64_t count, int64_t lane,
                  int64_t words, float* tile) {
  // Eight vectors by eight words at a time, what is left one by one.
  const int64_t whole = count / 8 * 8, whole_words = words / 8 * 8;
  for (int64_t j = 0; j < whole; j += 8) {
    for (int64_t w = 0; w < whole_words; w += 8) {
      Transpose8x8<Float8>([&](int64_t k) { return vectors[j + k] + w; },
                           tile + w * kTile + lane + j, kTile);
    }
  }
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t w = j < whole ? whole_words : 0; w < words; ++w) {
      std::memcpy(tile + w * kTile + lane + j, vectors[j] + w, sizeof(float));
    }
  }
}

void StoreInPairs(const float* vector, int64_t dim, bool second, float* pairs) {
  for (int64_t d = 0; d < dim; d += kLanes) {
    const int64_t lanes = std::min(kLanes, dim - d);
    const Wide x = LoadUpToWide(vector + d, lanes);
    const Wide first =
        second ? LowHalves(LoadUpToWide(pairs + d, lanes)) : Wide{};
    StoreUpToWide(pairs + d, second ? PairWide(first, x) : PairWide(x, first),
                  lanes);
  }
}

void TurnedTiles::Assign(const Pointers& vectors, int64_t dim,
                         Precision precision) {
  const int64_t count = static_cast<int64_t>(vectors.size());
  const int64_t tiles = VisibleTiles(count), words = Words(dim, precision);
  const Pointers* from = &vectors;
  if (precision == Precision::kBf16) {
    rounded_.resize(count * words);
    words_.resize(count);
    for (int64_t j = 0; j < count; ++j) {
      RoundNeighbours(vectors[j], dim, rounded_.data() + j * words);
      words_[j] = rounded_.data() + j * words;
    }
    from = &words_;
  }
  data_.resize(tiles * words * kTile);
  pointers_.clear();
  for (int64_t t = 0; t < tiles; ++t) {
    float* tile = data_.data() + t * words * kTile;
    const int64_t filled = std::min(kTile, count - t * kTile);
    if (filled < kTile) std::fill_n(tile, words * kTile, 0.0f);
    TurnIntoTile(from->data() + t * kTile, filled, 0, words, tile);
    pointers_.push_back(tile);
  }
}

void ProductVectors::Assign(const Pointers& vectors, int64_t dim,
                            Precision precision) {
  if (precision == Precision::kF32) {
    pointers_ = vectors;
    return;
  }
  const int64_t count = static_cast<int64_t>(vectors.size());
  pairs_.resize((count + 1) / 2 * dim);
  pointers_.clear();
  for (int64_t j = 0; j < count; j += 2) {
    float* pairs = pairs_.data() + j / 2 * dim;
    if (j + 1 < count) {
      RoundPairs(vectors[j], vectors[j + 1], dim, pairs);
    } else {
      StoreInPairs(vectors[j], dim, /*second=*/false, pairs);
    }
    pointers_.push_back(pairs);
  }
}

void ScoreBlock(const QueryBlock& block, const Pointers& key_tiles,
                const HeadRule& rule, AttentionScratch& scratch,
                float sum[kQueryBlock]) {
  const int64_t stride = ScoreStride(block);
  const int64_t begin = LeastFirst(block) / kTile * kTile;
  const bool bf16 = rule.precision == Precision::kBf16;
  scratch.probabilities.resize(kQueryBlock * stride);
  if (rule.soft_cap > 0) scratch.slopes.resize(kQueryBlock * stride);
  if (bf16) scratch.probability_words.resize(kQueryBlock * stride / 2);
  float maximum[kQueryBlock];
  ForQueries(block.count, [&](auto queries) {
    MaskedScores<queries()>(block, key_tiles, rule, scratch, maximum);
  });
  for (int64_t i = 0; i < block.count; ++i) {
    sum[i] = Exponentials(
        maximum[i], begin, stride, scratch.probabilities.data() + i * stride,
        bf16 ? scratch.probability_words.data() + i * stride / 2 : nullptr);
  }
}

void MixValues(const QueryBlock& block, const Pointers& values,
               const HeadRule& rule, const AttentionScratch& scratch,
               const float sum[kQueryBlock], float* const out[kQueryBlock]) {
  const int64_t first = LeastFirst(block), most = MostVisible(block);
  // Outside what a query sees its exponentials are exactly zero.
  const auto mix = [&](auto product, auto queries, auto vectors, auto full,
                       int64_t d, int64_t lanes, const float* const* weights) {
    using Product = decltype(product);
    constexpr int64_t kPer = Product::kPerWord;
    Wide mixed[vectors()][queries()] = {};
    MixRows<Product, queries(), vectors(), full()>(values, first / kPer,
                                                   (most + kPer - 1) / kPer, d,
                                                   lanes, weights, mixed);
    for (int64_t i = 0; i < block.count; ++i) {
      for (int64_t n = 0; n < vectors(); ++n) {
        StoreLanes<full()>(out[i] + d + n * kLanes,
                           mixed[n][i] / BroadcastWide(sum[i]), lanes);
      }
    }
  };
  WithProduct(rule.precision, [&](auto product) {
    constexpr int64_t kPer = decltype(product)::kPerWord;
    const float* weights[kQueryBlock];
    WeightRows(kPer == 2 ? scratch.probability_words : scratch.probabilities,
               block.count, ScoreStride(block) / kPer, weights);
    ForQueries(block.count, [&](auto queries) {
      ForElements<VectorsAtOnce(queries())>(
          rule.value_dim,
          [&](auto vectors, auto full, int64_t d, int64_t lanes) {
            mix(product, queries, vectors, full, d, lanes, weights);
          });
    });
  });
}

}  // namespace align::kernels
