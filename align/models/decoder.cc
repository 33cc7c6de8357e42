#include "align/models/decoder.h"

#include <algorithm>
#include <vector>

#include "align/base/check.h"
#include "align/tensor/tape.h"

namespace align {

const Tensor& Decoder::Weight(const std::string& name) const {
  return params().Get(name + ".weight");
}

Tensor Decoder::Bias(const std::string& name) const {
  const std::string bias = name + ".bias";
  return params().Has(bias) ? params().Get(bias) : Tensor();
}

Tensor Decoder::Project(const Tensor& x, const std::string& name,
                        WeightLayout layout) const {
  if (adapters() != nullptr && adapters()->Has(name)) {
    return adapters()->Project(x, name, Weight(name), Bias(name));
  }
  return Linear(x, Weight(name), Bias(name), layout);
}

AttentionShape Decoder::AbsorbedShape(int64_t) const {
  ALIGN_CHECK(false) << "[Decoder] " << ArchitectureName(config().architecture)
                     << " has no absorbed attention";
  return {};
}

Tensor Decoder::Hidden(std::span<const int32_t> tokens,
                       const Segments& segments) const {
  return Walk(tokens, segments, nullptr);
}

Tensor Decoder::HiddenAndRouters(std::span<const int32_t> tokens,
                                 const Segments& segments,
                                 std::vector<RouterOutput>& routers) const {
  return Walk(tokens, segments, &routers);
}

Tensor Decoder::Walk(std::span<const int32_t> tokens, const Segments& segments,
                     std::vector<RouterOutput>* routers) const {
  const std::vector<int32_t> positions = segments.Positions();
  Tensor x = Embed(tokens, positions);
  for (int64_t layer = 0; layer < config().num_hidden_layers; ++layer) {
    const auto attend = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
      return Attention(q, k, v, segments, Shape(layer));
    };
    x = Block(layer, x, positions, {.attend = attend, .routers = routers});
  }
  return FinalNorm(x);
}

Tensor Decoder::HiddenCached(std::span<const int32_t> tokens,
                             std::span<const CachedRows> rows,
                             KvCache& cache) const {
  const NoGrad no_grad;
  const bool absorbed = cache.value_width() == 0;
  std::vector<int32_t> positions;
  for (const CachedRows& r : rows) {
    for (int64_t i = 0; i < r.rows; ++i) {
      positions.push_back(static_cast<int32_t>(cache.length(r.sequence) + i));
    }
  }
  Tensor x = Embed(tokens, positions);
  for (int64_t layer = 0; layer < config().num_hidden_layers; ++layer) {
    const auto attend = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
      ALIGN_CHECK(k.dim(1) == cache.key_width() &&
                  (absorbed || v.dim(1) == cache.value_width()))
          << "[Decoder] a cache of another model";
      std::vector<CachedQueries> queries;
      int64_t begin = 0;
      for (const CachedRows& r : rows) {
        std::copy_n(k.data() + begin * k.dim(1), r.rows * k.dim(1),
                    cache.NewKeys(layer, r.sequence));
        if (!absorbed) {
          std::copy_n(v.data() + begin * v.dim(1), r.rows * v.dim(1),
                      cache.NewValues(layer, r.sequence));
        }
        queries.push_back({.begin = begin,
                           .rows = r.rows,
                           .spans = cache.Spans(layer, r.sequence, r.rows)});
        begin += r.rows;
      }
      return CachedAttention(q, queries,
                             absorbed ? AbsorbedShape(layer) : Shape(layer));
    };
    x = Block(layer, x, positions, {.attend = attend, .absorbed = absorbed});
  }
  for (const CachedRows& r : rows) cache.Advance(r.sequence, r.rows);
  return FinalNorm(x);
}

}  // namespace align
