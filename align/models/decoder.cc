#include "align/models/decoder.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "align/base/check.h"
#include "align/base/team.h"
#include "align/models/recompute.h"
#include "align/tensor/recompute.h"
#include "align/tensor/tape.h"

namespace align {
namespace {

// Rising and each once; empty where that is all of 0..count-1.
std::vector<int32_t> DistinctRows(std::span<const int32_t> rows,
                                  int64_t count) {
  std::vector<int32_t> distinct(rows.begin(), rows.end());
  std::ranges::sort(distinct);
  const auto again = std::ranges::unique(distinct);
  distinct.erase(again.begin(), again.end());
  ALIGN_CHECK(distinct.empty() ||
              (distinct.front() >= 0 && distinct.back() < count))
      << "[Decoder] rows read from " << distinct.front() << " to "
      << distinct.back() << " of " << count;
  if (static_cast<int64_t>(distinct.size()) == count) distinct.clear();
  return distinct;
}

}  // namespace

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

std::vector<Tensor> Decoder::ProjectAll(
    const Tensor& x, const std::string& prefix,
    std::initializer_list<const char*> names) const {
  std::vector<Tensor> outs;
  if (adapters() != nullptr) {
    for (const char* name : names) outs.push_back(Project(x, prefix + name));
    return outs;
  }
  std::vector<LinearLayer> layers;
  for (const char* name : names) {
    const std::string whole = prefix + name;
    layers.push_back({Weight(whole), Bias(whole)});
  }
  return Linears(x, layers);
}

Tensor Decoder::Leaving(const Tensor& x, const Pass& pass) {
  return pass.leaving.empty() ? x : GatherRows(x, pass.leaving);
}

AttentionShape Decoder::AbsorbedShape(int64_t) const {
  ALIGN_CHECK(false) << "[Decoder] " << ArchitectureName(config().architecture)
                     << " has no absorbed attention";
  return {};
}

AttentionShape Decoder::RoundedShape(int64_t layer) const {
  AttentionShape shape = Shape(layer);
  shape.precision = params().precision();
  return shape;
}

Tensor Decoder::Hidden(std::span<const int32_t> tokens,
                       const Segments& segments,
                       std::span<const int32_t> read) const {
  return Walk(tokens, segments, read, nullptr);
}

Tensor Decoder::HiddenAndRouters(std::span<const int32_t> tokens,
                                 const Segments& segments,
                                 std::vector<RouterOutput>& routers) const {
  return Walk(tokens, segments, {}, &routers);
}

Decoder::WalkRows Decoder::RowsOf(std::vector<int32_t> positions,
                                  std::span<const int32_t> read) {
  WalkRows rows;
  rows.positions = std::move(positions);
  rows.read = DistinctRows(read, static_cast<int64_t>(rows.positions.size()));
  for (const int32_t row : rows.read) {
    rows.read_positions.push_back(rows.positions[row]);
  }
  return rows;
}

Pass Decoder::PassThrough(int64_t layer, const WalkRows& rows) const {
  const bool some =
      layer + 1 == config().num_hidden_layers && !rows.read.empty();
  if (!some) return {.leaving_positions = rows.positions};
  return {.leaving = rows.read, .leaving_positions = rows.read_positions};
}

Tensor Decoder::Finish(const Tensor& x, const WalkRows& rows) const {
  const Tensor normed = FinalNorm(x);
  return rows.read.empty()
             ? normed
             : ScatterRows(normed, rows.read,
                           static_cast<int64_t>(rows.positions.size()));
}

Tensor Decoder::Walk(std::span<const int32_t> tokens, const Segments& segments,
                     std::span<const int32_t> read,
                     std::vector<RouterOutput>* routers) const {
  const auto rows = std::make_shared<const PackedRows>(
      PackedRows{RowsOf(segments.Positions(), read), segments});
  const bool again = recompute_activations_ && GradEnabled();
  Tensor x;
  WithTeam([&] {
    x = Embed(tokens, rows->positions);
    for (int64_t layer = 0; layer < config().num_hidden_layers; ++layer) {
      x = again ? RecomputedBlock(layer, x, rows, routers)
                : PackedBlock(layer, x, *rows, routers);
    }
    x = Finish(x, *rows);
  });
  return x;
}

Tensor Decoder::PackedBlock(int64_t layer, const Tensor& x,
                            const PackedRows& rows,
                            std::vector<RouterOutput>* routers) const {
  Pass pass = PassThrough(layer, rows);
  pass.routers = routers;
  pass.attend = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
    return Attention(q, k, v, rows.segments, RoundedShape(layer), pass.leaving);
  };
  return Block(layer, x, rows.positions, pass);
}

Tensor Decoder::RecomputedBlock(int64_t layer, const Tensor& x,
                                const std::shared_ptr<const PackedRows>& rows,
                                std::vector<RouterOutput>* routers) const {
  const auto experts = std::make_shared<std::vector<std::vector<int32_t>>>();
  const bool routed = routers != nullptr;
  const auto block = [=, this](const Tensor& in) {
    std::vector<RouterOutput> said;
    std::vector<Tensor> outputs = {
        PackedBlock(layer, in, *rows, routed ? &said : nullptr)};
    experts->clear();
    for (RouterOutput& router : said) {
      outputs.push_back(router.logits);
      experts->push_back(std::move(router.experts));
    }
    return outputs;
  };
  const std::vector<Tensor> outputs = Recompute(x, block);
  for (size_t i = 1; i < outputs.size(); ++i) {
    routers->push_back(
        {.logits = outputs[i], .experts = std::move(experts->at(i - 1))});
  }
  return outputs[0];
}

Tensor Decoder::HiddenCached(std::span<const int32_t> tokens,
                             std::span<const CachedRows> rows, KvCache& cache,
                             std::span<const int32_t> read) const {
  const NoGrad no_grad;
  const bool absorbed = cache.row().value_dim == 0;
  std::vector<int32_t> positions;
  for (const CachedRows& r : rows) {
    for (int64_t i = 0; i < r.rows; ++i) {
      positions.push_back(static_cast<int32_t>(cache.length(r.sequence) + i));
    }
  }
  const WalkRows walk = RowsOf(std::move(positions), read);
  Tensor x = Embed(tokens, walk.positions);
  for (int64_t layer = 0; layer < config().num_hidden_layers; ++layer) {
    Pass pass = PassThrough(layer, walk);
    pass.absorbed = absorbed;
    pass.attend = [&](const Tensor& q, const Tensor& k, const Tensor& v) {
      ALIGN_CHECK(k.dim(1) == cache.row().key_width() &&
                  (absorbed || (v.dim(1) == cache.row().value_width() &&
                                cache.row().precision == params().precision())))
          << "[Decoder] a cache of another model";
      std::vector<CachedQueries> queries;
      int64_t begin = 0;
      for (const CachedRows& r : rows) {
        queries.push_back({.begin = begin,
                           .rows = r.rows,
                           .spans = cache.Spans(layer, r.sequence, r.rows)});
        begin += r.rows;
      }
      return CachedAttention(
          q, k, v, queries,
          absorbed ? AbsorbedShape(layer) : RoundedShape(layer), pass.leaving);
    };
    x = Block(layer, x, walk.positions, pass);
  }
  for (const CachedRows& r : rows) cache.Advance(r.sequence, r.rows);
  return Finish(x, walk);
}

void SetRecomputeActivations(Model& model, bool on) {
  auto* const decoder = dynamic_cast<Decoder*>(&model);
  ALIGN_CHECK(decoder != nullptr) << "[SetRecomputeActivations] not a decoder";
  decoder->set_recompute_activations(on);
}

}  // namespace align
