#pragma once

// Differentiable operations on packed rows. N rows, D width, H query heads,
// K key/value heads, V vocabulary, R scored tokens; all tensors f32. Each is
// recorded on the tape when an input requires a gradient. Shapes that do not
// fit abort: they are the caller's mistake.

#include <cstdint>
#include <span>
#include <vector>

#include "align/ops/segments.h"
#include "align/tensor/tensor.h"

namespace align {

// Rows of `table` [V, D] by id -> [N, D]. Ids must be in [0, V).
Tensor Embedding(const Tensor& table, std::span<const int32_t> ids);

// x [N, in] times weight^T [out, in], plus bias [out] when defined -> [N, out].
// A row's bits depend on that row of x alone (align/dnnl/matmul.h).
Tensor Linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// weight * x / sqrt(mean(x^2) + epsilon) by row, x [N, D], weight [D] (Zhang
// and Sennrich 2019, eq. 4).
Tensor RmsNorm(const Tensor& x, const Tensor& weight, float epsilon);

// SiLU(gate) * up, both [N, F] (Shazeer 2020).
Tensor SwiGlu(const Tensor& gate, const Tensor& up);

// a + b, equal shapes.
Tensor Add(const Tensor& a, const Tensor& b);

// Rows of x [N, D] by index -> [rows, D]. Rows may repeat.
Tensor GatherRows(const Tensor& x, std::span<const int32_t> rows);

// Cosines and sines of rotary embeddings (Su et al. 2021, eq. 34), in the
// half-split layout of Hugging Face: element i is paired with i + head_dim/2.
struct RopeTable {
  RopeTable() = default;
  RopeTable(int64_t max_positions, int64_t head_dim, double theta);
  int64_t half = 0;        // head_dim / 2
  std::vector<float> cos;  // [max_positions, half]
  std::vector<float> sin;
};

// Rotates every head of x [N, heads * head_dim] by its row's position.
// `positions` has N entries below the table's length; `table` must outlive the
// tape.
Tensor Rope(const Tensor& x, const RopeTable& table,
            std::span<const int32_t> positions);

struct AttentionShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;  // divides heads
  int64_t head_dim = 0;
};

// Causal grouped-query attention, softmax(q k^T / sqrt(head_dim)) v, where a
// row sees its own segment up to itself and all of its prefixes (Ainslie et al.
// 2023). q [N, H*Dh], k and v [N, K*Dh] -> [N, H*Dh]. Scores exist for one
// block of queries at a time. A row's bits depend on its query and on the keys
// and values before it by position, not on how segments store or share them.
Tensor Attention(const Tensor& q, const Tensor& k, const Tensor& v,
                 const Segments& segments, const AttentionShape& shape);

}  // namespace align
