#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "align/models/model.h"
#include "align/ops/ops.h"

namespace align {

// Attention of a block's queries, keys and values, positions already in them,
// over what holds the earlier keys: the packed batch or a cache.
using Attend =
    std::function<Tensor(const Tensor& q, const Tensor& k, const Tensor& v)>;

// One walk through the blocks, as each of them sees it.
struct Pass {
  Attend attend;
  // The rows that leave the block, where that is not all that come in: keys and
  // values are made of all, queries and the rest of these.
  std::span<const int32_t> leaving;
  std::span<const int32_t> leaving_positions;  // of all where all leave
  bool absorbed = false;  // over latent rows, in place of keys and values
  std::vector<RouterOutput>* routers = nullptr;  // where routers leave theirs
};

// The walk that all decoders share: embedding, blocks in order, final norm;
// packed, or over a key/value cache. What is in a block is the family's.
class Decoder : public Model {
 public:
  using Model::Hidden;
  using Model::HiddenCached;
  Tensor Hidden(std::span<const int32_t> tokens, const Segments& segments,
                std::span<const int32_t> read) const final;
  Tensor HiddenAndRouters(std::span<const int32_t> tokens,
                          const Segments& segments,
                          std::vector<RouterOutput>& routers) const final;
  Tensor HiddenCached(std::span<const int32_t> tokens,
                      std::span<const CachedRows> rows, KvCache& cache,
                      std::span<const int32_t> read) const final;

  void set_recompute_activations(bool on) { recompute_activations_ = on; }

 protected:
  using Model::Model;

  // The attention of one layer. All layers store rows of the same width.
  virtual AttentionShape Shape(int64_t layer) const = 0;
  // The same over an absorbed cache; families that have none abort.
  virtual AttentionShape AbsorbedShape(int64_t layer) const;
  // Rows [N, D] of tokens at `positions`.
  virtual Tensor Embed(std::span<const int32_t> tokens,
                       std::span<const int32_t> positions) const = 0;
  // What leaves a block into which x at `positions` comes.
  virtual Tensor Block(int64_t layer, const Tensor& x,
                       std::span<const int32_t> positions,
                       const Pass& pass) const = 0;
  virtual Tensor FinalNorm(const Tensor& x) const = 0;

  // The parameter NAME.weight, and NAME.bias or an undefined tensor.
  const Tensor& Weight(const std::string& name) const;
  Tensor Bias(const std::string& name) const;
  // x NAME.weight^T, or of [inputs, outputs] x NAME.weight, plus NAME.bias if
  // there is one, and what the adapter on NAME adds.
  Tensor Project(const Tensor& x, const std::string& name,
                 WeightLayout layout = WeightLayout::kOutIn) const;
  // The rows of x that leave the block.
  static Tensor Leaving(const Tensor& x, const Pass& pass);
  // Project of x with each PREFIXname.
  std::vector<Tensor> ProjectAll(
      const Tensor& x, const std::string& prefix,
      std::initializer_list<const char*> names) const;

 private:
  // Shape(layer) in the precision of the model's products.
  AttentionShape RoundedShape(int64_t layer) const;
  // The rows that a walk goes over.
  struct WalkRows {
    std::vector<int32_t> positions;  // [N]
    // Rising: what leaves the last block; none: all.
    std::vector<int32_t> read, read_positions;
  };
  struct PackedRows : WalkRows {
    Segments segments;
  };
  static WalkRows RowsOf(std::vector<int32_t> positions,
                         std::span<const int32_t> read);
  // A pass through the layer's block, but for what attends.
  Pass PassThrough(int64_t layer, const WalkRows& rows) const;
  // What the last block gives, normed and with zero rows where none is read.
  Tensor Finish(const Tensor& x, const WalkRows& rows) const;
  Tensor Walk(std::span<const int32_t> tokens, const Segments& segments,
              std::span<const int32_t> read,
              std::vector<RouterOutput>* routers) const;
  Tensor PackedBlock(int64_t layer, const Tensor& x, const PackedRows& rows,
                     std::vector<RouterOutput>* routers) const;
  // The same, computed again on the way back.
  Tensor RecomputedBlock(int64_t layer, const Tensor& x,
                         const std::shared_ptr<const PackedRows>& rows,
                         std::vector<RouterOutput>* routers) const;

  bool recompute_activations_ = false;
};

}  // namespace align
