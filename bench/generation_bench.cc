// Decoding: tokens a second of 1, 8 and 32 replies to a prompt of 64 tokens,
// with the prompt computed and stored once, or once a reply. Same replies, to
// the bit, either way.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/bench_main.h"
#include "bench/bench_model.h"
#include "samplers/generate.h"

namespace align::bench {
namespace {

constexpr int64_t kPromptTokens = 64;
constexpr int64_t kReplyTokens = 32;

enum class Prefix { kSeparate, kShared };

void Decode(benchmark::State& state, const Model& model, int64_t replies,
            Prefix prefix) {
  const bool shared = prefix == Prefix::kShared;
  const std::vector<std::vector<int32_t>> prompts(
      shared ? 1 : replies,
      RandomTokens(kPromptTokens, model.config().vocab_size, Rng(2)));
  for (auto _ : state) {
    const auto completions = samplers::Generate(
        model, prompts, shared ? replies : 1,
        {.max_new_tokens = kReplyTokens, .max_rows = replies}, Rng(3));
    if (!completions.ok()) {
      return state.SkipWithError(Message(completions.status()).c_str());
    }
  }
  state.SetItemsProcessed(state.iterations() * replies * kReplyTokens);
}

absl::Status Add(const std::string& name) {
  ALIGN_ASSIGN_OR_RETURN(std::shared_ptr<const Model> model, BenchModel(name));
  for (const int64_t replies : {1, 8, 32}) {
    for (const Prefix prefix : {Prefix::kSeparate, Prefix::kShared}) {
      const std::string what =
          prefix == Prefix::kShared ? "shared" : "separate";
      benchmark::RegisterBenchmark(
          ("decode/replies:" + std::to_string(replies) + "/prefix:" + what)
              .c_str(),
          [=](benchmark::State& state) {
            Decode(state, *model, replies, prefix);
          })
          ->Unit(benchmark::kMillisecond)
          ->UseRealTime();
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace align::bench

int main(int argc, char** argv) {
  return align::bench::RunModelBenchmarks({argv, argv + argc},
                                          align::bench::Add);
}
