#pragma once

// Differentiable operations on packed rows. N rows, D width, H query heads,
// K key/value heads, V vocabulary, R scored tokens; all tensors f32. Each is
// recorded on the tape when an input requires a gradient. Shapes that do not
// fit abort: they are the caller's mistake.

#include <cstdint>
#include <span>
#include <vector>

#include "align/base/precision.h"
#include "align/kernels/activations.h"
#include "align/ops/segments.h"
#include "align/tensor/tensor.h"

namespace align {

// Rows of `table` [V, D] by id -> [N, D]. Ids must be in [0, V).
Tensor Embedding(const Tensor& table, std::span<const int32_t> ids);

// How a weight lies in memory: rows of outputs, as almost everywhere, or rows
// of inputs (GPT-2's Conv1D).
enum class WeightLayout { kOutIn, kInOut };

// x [N, in] times weight^T [out, in], or weight [in, out], plus bias [out] when
// defined -> [N, out]. A row's bits depend on that row of x alone
// (align/dnnl/matmul.h).
Tensor Linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              WeightLayout layout = WeightLayout::kOutIn);

// A weight [out, in] and a bias [out] or none.
struct LinearLayer {
  Tensor weight, bias;
};

// Linear of x with each layer in turn. Without gradients few rows are
// multiplied by all weights at once.
std::vector<Tensor> Linears(const Tensor& x,
                            std::span<const LinearLayer> layers);

// (weight_offset + weight) * x / sqrt(mean(x^2) + epsilon) over each D elements
// of x [N, k D], weight [D] (Zhang and Sennrich 2019, eq. 4); Gemma stores its
// weights relative to 1.
Tensor RmsNorm(const Tensor& x, const Tensor& weight, float epsilon,
               float weight_offset = 0);

// weight * (x - mean) / sqrt(variance + epsilon) + bias by row, x [N, D],
// weight and bias [D] (Ba et al. 2016).
Tensor LayerNorm(const Tensor& x, const Tensor& weight, const Tensor& bias,
                 float epsilon);

using kernels::Activation;

// activation(gate) * up, both [N, F] (Shazeer 2020), and it with SiLU.
Tensor GatedActivation(const Tensor& gate, const Tensor& up,
                       Activation activation);
Tensor SwiGlu(const Tensor& gate, const Tensor& up);

// activation(x), element by element.
Tensor Activate(const Tensor& x, Activation activation);

// factor * x.
Tensor Scale(const Tensor& x, float factor);

// a + b, equal shapes.
Tensor Add(const Tensor& a, const Tensor& b);

// Rows of x [N, D] by index -> [rows, D]. Rows may repeat.
Tensor GatherRows(const Tensor& x, std::span<const int32_t> rows);

// x [rows, D] at the given rows, each another, of [count, D]; the rest is 0.
Tensor ScatterRows(const Tensor& x, std::span<const int32_t> rows,
                   int64_t count);

// Columns [offset, offset + width) of each of `heads` equal parts of x
// [N, heads * d] -> [N, heads * width].
Tensor SliceHeads(const Tensor& x, int64_t heads, int64_t offset,
                  int64_t width);

// Behind each head of a [N, heads * A] the row of b [N, B], the same for all
// heads -> [N, heads * (A + B)].
Tensor ConcatHeads(const Tensor& a, const Tensor& b, int64_t heads);

// Cosines and sines of rotary embeddings (Su et al. 2021, eq. 34).
struct RopeTable {
  RopeTable() = default;
  // Frequencies theta^(-2i / head_dim).
  RopeTable(int64_t max_positions, int64_t head_dim, double theta);
  // Frequencies in radians a position; cosines and sines times `scale`.
  RopeTable(int64_t max_positions, std::span<const double> frequencies,
            double scale);
  int64_t half = 0;        // pairs of elements
  std::vector<float> cos;  // [max_positions, half]
  std::vector<float> sin;
};

// Which elements of a head rotate: 2 half of them from `offset` on. Element i
// is paired with i + half, the layout of Hugging Face, or with its neighbour.
struct RopeLayout {
  int64_t head_dim = 0;  // 0: 2 half
  int64_t offset = 0;
  bool interleaved = false;
};

// Rotates every head of x [N, heads * head_dim] by its row's position; elements
// outside the layout pass. `positions` has N entries below the table's length;
// `table` must outlive the tape.
Tensor Rope(const Tensor& x, const RopeTable& table,
            std::span<const int32_t> positions, const RopeLayout& layout = {});

struct AttentionShape {
  int64_t heads = 0;
  int64_t kv_heads = 0;   // divides heads
  int64_t head_dim = 0;   // of queries and keys
  int64_t value_dim = 0;  // of values; 0: head_dim
  double scale = 0;       // of scores; 0: 1 / sqrt(head_dim)
  int64_t window = 0;     // positions a row sees, its own the last; 0: all
  double soft_cap = 0;    // score -> cap tanh(score / cap); 0: none (Gemma 2)
  // kBf16: v and the exponentials of scores are rounded to bf16 where they are
  // multiplied, on the way back all but what scores are made of; sums are f32.
  Precision precision = Precision::kF32;

  int64_t ValueDim() const { return value_dim > 0 ? value_dim : head_dim; }
};

// Causal grouped-query attention, softmax(scale q k^T) v, where a row sees its
// own segment up to itself and all of its prefixes (Ainslie et al. 2023), as
// far back as its window reaches (Beltagy et al. 2020). q [N, H*Dh],
// k [N, K*Dh], v [N, K*Dv] -> [N, H*Dv]. Scores exist for one block of queries
// at a time. A row's bits depend on its query and on the keys and values that
// it sees by position, not on how segments store or share them.
// Where not all of the N rows ask, `asking` lists those that do, M in order,
// each once, and q and the result have M rows.
Tensor Attention(const Tensor& q, const Tensor& k, const Tensor& v,
                 const Segments& segments, const AttentionShape& shape,
                 std::span<const int32_t> asking = {});

}  // namespace align
