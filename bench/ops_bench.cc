// Every op of align/ops at the shapes of a model, forward and forward with
// backward, and below them the matmuls that they stand on, ours and oneDNN's
// own single call on the same shapes. Elementwise ops say bytes, each input and
// output counted once; products say FLOP, a multiply-add counted as two. The
// backward pass counts as two forward ones.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "align/dnnl/matmul.h"
#include "align/nn/param_store.h"
#include "align/ops/ops.h"
#include "align/ops/token_divergence.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "bench/bench_main.h"
#include "bench/bench_model.h"

namespace align::bench {
namespace {

// An op on named inputs; `run` gives its output.
struct OpCase {
  std::string name;
  std::vector<ParamSpec> inputs;
  std::function<Tensor(const ParamStore&)> run;
  double flops = 0;  // of a forward pass
  double bytes = 0;
};

void Fill(std::span<float> values) {
  Rng rng(7);
  for (float& value : values) value = static_cast<float>(rng.Normal());
}

void SetCounters(const OpCase& op, double passes, benchmark::State& state) {
  if (op.flops > 0) state.counters["FLOP"] = Rate(passes * op.flops);
  if (op.bytes > 0) state.counters["bytes"] = Rate(passes * op.bytes);
}

void Forward(benchmark::State& state, const OpCase& op) {
  ParamStore store(op.inputs);
  Fill(store.values());
  const NoGrad no_grad;
  for (auto _ : state) benchmark::DoNotOptimize(op.run(store).data());
  SetCounters(op, 1, state);
}

void ForwardBackward(benchmark::State& state, const OpCase& op) {
  ParamStore store(op.inputs);
  Fill(store.values());
  store.EnableGradients();
  std::vector<float> seed(op.run(store).size());
  Fill(seed);
  for (auto _ : state) {
    Backward(op.run(store), seed);
    benchmark::ClobberMemory();
  }
  SetCounters(op, 3, state);
}

// Four prompts of 64 tokens with a reply of 64 tokens each.
PackedBatch Packed(const ModelConfig& config) {
  return RandomBatch({.prompts = 4}, config.vocab_size);
}

std::vector<OpCase> RowCases(const ModelConfig& c) {
  const auto packed = std::make_shared<PackedBatch>(Packed(c));
  const int64_t n = packed->rows(), d = c.hidden_size, f = c.intermediate_size;
  const auto bytes = [](int64_t floats) { return 4.0 * floats; };
  const auto rope = std::make_shared<RopeTable>(c.max_position_embeddings,
                                                c.head_dim, c.rope_theta);
  const int64_t heads = c.num_attention_heads * c.head_dim;
  return {
      {"Embedding",
       {{"table", {c.vocab_size, d}}},
       [=](const ParamStore& in) {
         return Embedding(in.Get("table"), packed->tokens);
       },
       0,
       bytes(2 * n * d)},
      {"RmsNorm",
       {{"x", {n, d}}, {"weight", {d}}},
       [](const ParamStore& in) {
         return RmsNorm(in.Get("x"), in.Get("weight"), 1e-5f);
       },
       0,
       bytes(2 * n * d)},
      {"Rope",
       {{"x", {n, heads}}},
       [=](const ParamStore& in) {
         return Rope(in.Get("x"), *rope, packed->segments.Positions());
       },
       0,
       bytes(2 * n * heads)},
      {"SwiGlu",
       {{"gate", {n, f}}, {"up", {n, f}}},
       [](const ParamStore& in) {
         return SwiGlu(in.Get("gate"), in.Get("up"));
       },
       0,
       bytes(3 * n * f)},
      {"Add",
       {{"a", {n, d}}, {"b", {n, d}}},
       [](const ParamStore& in) { return Add(in.Get("a"), in.Get("b")); },
       0,
       bytes(3 * n * d)},
      {"GatherRows",
       {{"x", {n, d}}},
       [=](const ParamStore& in) {
         return GatherRows(in.Get("x"), packed->last_rows);
       },
       0,
       bytes(2 * packed->sequences * d)},
  };
}

// Query-key pairs that causal attention looks at.
double VisiblePairs(const Segments& segments) {
  double pairs = 0;
  for (const int32_t position : segments.Positions()) pairs += position + 1;
  return pairs;
}

std::vector<OpCase> ProductCases(const ModelConfig& c) {
  const auto packed = std::make_shared<PackedBatch>(Packed(c));
  const int64_t n = packed->rows(), d = c.hidden_size, f = c.intermediate_size;
  const int64_t q = c.num_attention_heads * c.head_dim;
  const int64_t kv = c.num_key_value_heads * c.head_dim;
  const AttentionShape shape = {c.num_attention_heads, c.num_key_value_heads,
                                c.head_dim};
  const auto linear = [](const ParamStore& in) {
    return Linear(in.Get("x"), in.Get("weight"));
  };
  const auto scores = [packed](bool entropy) {
    return [packed, entropy](const ParamStore& in) {
      return ScoreTokens(in.Get("hidden"), in.Get("head"), packed->scored,
                         {.entropy = entropy})
          .values;
    };
  };
  const std::vector<ParamSpec> head = {{"hidden", {n, d}},
                                       {"head", {c.vocab_size, d}}};
  // A teacher of the student's size, which is a constant.
  std::vector<ParamSpec> heads = head;
  heads.push_back({"teacher_hidden", {n, d}});
  heads.push_back({"teacher_head", {c.vocab_size, d}});
  const auto divergence = [packed](const ParamStore& in) {
    return TokenDivergence(
        {in.Get("hidden"), in.Get("head")},
        {in.Get("teacher_hidden").Detach(), in.Get("teacher_head").Detach()},
        packed->scored);
  };
  const double scored = static_cast<double>(packed->scored.size());
  const double head_flops = 2 * scored * static_cast<double>(d * c.vocab_size);
  return {
      {"Linear/up",
       {{"x", {n, d}}, {"weight", {f, d}}},
       linear,
       2.0 * n * d * f},
      {"Linear/down",
       {{"x", {n, f}}, {"weight", {d, f}}},
       linear,
       2.0 * n * d * f},
      {"Attention",
       {{"q", {n, q}}, {"k", {n, kv}}, {"v", {n, kv}}},
       [=](const ParamStore& in) {
         return Attention(in.Get("q"), in.Get("k"), in.Get("v"),
                          packed->segments, shape);
       },
       4.0 * VisiblePairs(packed->segments) * q},
      {"ScoreTokens", head, scores(false), head_flops},
      {"ScoreTokens/entropy", head, scores(true), head_flops},
      {"TokenDivergence", heads, divergence},
  };
}

// A [m, k] B [n, k]^T, as a forward pass has it, or its two gradients.
struct MatmulCase {
  std::string name;
  int64_t m = 0, k = 0, n = 0;
};
using Product = void (*)(const MatrixView&, const MatrixView&, float*, int64_t);

enum class Transposes { kForward, kInputGradient, kWeightGradient };

void RunMatmul(benchmark::State& state, const MatmulCase& shape,
               Transposes transposes, Product product) {
  std::vector<float> x(shape.m * shape.k), w(shape.n * shape.k),
      y(shape.m * shape.n);
  for (auto* values : {&x, &w, &y}) Fill(*values);
  const MatrixView xv = RowMajor(x.data(), shape.m, shape.k);
  const MatrixView wv = RowMajor(w.data(), shape.n, shape.k);
  const MatrixView yv = RowMajor(y.data(), shape.m, shape.n);
  for (auto _ : state) {
    switch (transposes) {
      case Transposes::kForward:
        product(xv, Transposed(wv), y.data(), shape.n);
        break;
      case Transposes::kInputGradient:
        product(yv, wv, x.data(), shape.k);
        break;
      case Transposes::kWeightGradient:
        product(Transposed(yv), xv, w.data(), shape.k);
        break;
    }
    benchmark::ClobberMemory();
  }
  state.counters["FLOP"] =
      Rate(2.0 * static_cast<double>(shape.m * shape.k * shape.n));
}

void AddMatmuls(const ModelConfig& c) {
  const PackedBatch packed = Packed(c);
  const MatmulCase shapes[] = {
      {"up", packed.rows(), c.hidden_size, c.intermediate_size},
      {"down", packed.rows(), c.intermediate_size, c.hidden_size},
      {"head", std::ssize(packed.scored), c.hidden_size, c.vocab_size},
      {"decode8", 8, c.hidden_size, c.intermediate_size}};
  const std::pair<const char*, Transposes> all[] = {
      {"forward", Transposes::kForward},
      {"dx", Transposes::kInputGradient},
      {"dw", Transposes::kWeightGradient}};
  const std::pair<const char*, Product> products[] = {
      {"align", [](const MatrixView& a, const MatrixView& b, float* out,
                   int64_t stride) { Matmul(a, b, out, stride); }},
      {"onednn", MatmulInOneCall}};
  for (const MatmulCase& shape : shapes) {
    for (const auto& [transposes_name, transposes] : all) {
      for (const auto& [product_name, product] : products) {
        benchmark::RegisterBenchmark(("matmul/" + shape.name + "/" +
                                      transposes_name + "/" + product_name)
                                         .c_str(),
                                     RunMatmul, shape, transposes, product)
            ->Unit(benchmark::kMicrosecond)
            ->UseRealTime();
      }
    }
  }
}

absl::Status AddAll(const std::string& name) {
  ALIGN_ASSIGN_OR_RETURN(const ModelConfig config, BenchConfig(name));
  std::vector<OpCase> cases = RowCases(config);
  for (OpCase& op : ProductCases(config)) cases.push_back(std::move(op));
  for (const OpCase& op : cases) {
    for (const bool backward : {false, true}) {
      benchmark::RegisterBenchmark(
          (op.name + (backward ? "/forward_backward" : "/forward")).c_str(),
          backward ? ForwardBackward : Forward, op)
          ->Unit(benchmark::kMicrosecond)
          ->UseRealTime();
    }
  }
  AddMatmuls(config);
  return absl::OkStatus();
}

}  // namespace
}  // namespace align::bench

int main(int argc, char** argv) {
  return align::bench::RunModelBenchmarks({argv, argv + argc},
                                          align::bench::AddAll);
}
