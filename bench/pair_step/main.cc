// pair_step: training steps on preference pairs, as a peer's stack would take
// them: DPO (policy and reference forward, backward, clip, AdamW) or SFT on the
// same sequences, on a new Llama of given shape. Prints one JSON line: seconds
// of each step, useful work, what oneDNN alone takes for that work in the same
// run, and peak memory.

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/base/json_document.h"
#include "align/base/json_writer.h"
#include "align/base/profile.h"
#include "align/base/storage.h"
#include "align/base/threads.h"
#include "align/cli/command.h"
#include "align/dnnl/machine_rates.h"
#include "align/dnnl/matmul.h"
#include "align/dnnl/precision.h"
#include "align/models/recompute.h"
#include "align/train/optimizer.h"
#include "align/train/preference_objective.h"
#include "align/train/reference.h"
#include "align/train/run_loop.h"
#include "align/train/sft_objective.h"
#include "align/train/workspace.h"
#include "bench/bench_model.h"
#include "bench/settings_program.h"
#include "losses/options.h"

namespace align::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Whole numbers, kept as the numbers that OptionList knows. The defaults are
// the shape of a model with 75 million parameters.
struct Settings {
  double hidden = 512, layers = 8, heads = 8, kv_heads = 4, ffn = 1408;
  double vocab = 50257, max_length = 512;
  double pairs = 8;  // a step
  double steps = 6;
  double least_product_share = 0;

  void Describe(losses::OptionList& list) {
    const losses::Range count = {.low = 1, .high = 1e6};
    list.Number("hidden", &hidden, count, "width");
    list.Number("layers", &layers, count, "blocks");
    list.Number("heads", &heads, count, "of attention");
    list.Number("kv_heads", &kv_heads, count, "of keys and values");
    list.Number("ffn", &ffn, count, "width of the MLP");
    list.Number("vocab", &vocab, count, "token ids");
    list.Number("max_length", &max_length, count, "longer pairs are left out");
    list.Number("pairs", &pairs, count, "a step");
    list.Number("steps", &steps, count, "the first is not counted");
    list.Number("least_product_share", &least_product_share,
                {.low = 0, .high = 10},
                "of oneDNN's rate, that products reach in a step or it fails");
  }
};

struct Pair {
  std::vector<int32_t> prompt, chosen, rejected;
};

absl::StatusOr<std::vector<int32_t>> ReadTokens(
    const simdjson::dom::element& pair, const char* key, int64_t vocab) {
  std::vector<int32_t> tokens;
  simdjson::dom::array ids;
  if (pair[key].get(ids) != simdjson::SUCCESS) {
    return InvalidArgument(std::string("a pair without a list '") + key + "'");
  }
  for (const simdjson::dom::element id : ids) {
    int64_t value = -1;
    if (id.get(value) != simdjson::SUCCESS || value < 0 || value >= vocab) {
      return InvalidArgument(std::string(key) + ": expected token ids below " +
                             std::to_string(vocab));
    }
    tokens.push_back(static_cast<int32_t>(value));
  }
  return tokens;
}

// A JSON list of {"prompt": [ids], "chosen": [ids], "rejected": [ids]}.
absl::StatusOr<std::vector<Pair>> ReadPairs(const std::string& path,
                                            const Settings& s) {
  ALIGN_ASSIGN_OR_RETURN(const std::string text,
                         ReadFile(path, int64_t{1} << 30));
  simdjson::dom::parser parser;
  simdjson::dom::array list;
  if (parser.parse(text).get(list) != simdjson::SUCCESS) {
    return InvalidArgument(path + ": expected a JSON list of pairs");
  }
  const auto vocab = static_cast<int64_t>(s.vocab);
  std::vector<Pair> pairs;
  for (const simdjson::dom::element element : list) {
    Pair pair;
    for (const auto& [key, ids] :
         {std::pair{"prompt", &pair.prompt}, std::pair{"chosen", &pair.chosen},
          std::pair{"rejected", &pair.rejected}}) {
      ALIGN_ASSIGN_OR_RETURN(*ids, ReadTokens(element, key, vocab));
    }
    const size_t longest = std::max(pair.chosen.size(), pair.rejected.size());
    if (pair.prompt.empty() ||
        pair.prompt.size() + longest > static_cast<size_t>(s.max_length)) {
      continue;
    }
    pairs.push_back(std::move(pair));
  }
  if (pairs.empty()) {
    return InvalidArgument(path + ": no pair within max_length");
  }
  return pairs;
}

// Pairs with the lengths of a chat, when no file is given.
std::vector<Pair> RandomPairs(const Settings& s) {
  std::vector<Pair> pairs;
  const auto count = static_cast<uint64_t>(s.pairs * s.steps);
  const auto length = static_cast<int64_t>(s.max_length);
  for (uint64_t i = 0; i < count; ++i) {
    const auto draw = [&](uint64_t part) {
      return RandomTokens(std::max<int64_t>(1, length / 6),
                          static_cast<int64_t>(s.vocab),
                          Rng(1).Fork(i).Fork(part));
    };
    pairs.push_back({draw(0), draw(1), draw(2)});
  }
  return pairs;
}

// Pairs [step * pairs, ...) in turn. A pair's prompt stands once.
PreferenceBatch MakeBatch(const std::vector<Pair>& pairs, const Settings& s,
                          int64_t step) {
  PreferenceBatch batch;
  const auto count = static_cast<int64_t>(s.pairs);
  for (int64_t i = 0; i < count; ++i) {
    const Pair& pair = pairs[(step * count + i) % pairs.size()];
    const int32_t prompt = batch.packed.AppendPrompt(pair.prompt);
    batch.packed.AppendCompletion(prompt, pair.chosen);
    batch.packed.AppendCompletion(prompt, pair.rejected);
    batch.margins.push_back(0);
  }
  return batch;
}

double Seconds(Clock::time_point since) {
  return std::chrono::duration<double>(Clock::now() - since).count();
}

// Operations, and the seconds that they take.
struct Work {
  double flops = 0;
  double seconds = 0;
};

double WorkRate(const Work& work) {
  return work.flops / std::max(work.seconds, 1e-12);
}

// All products of weights and of the head so far.
Work Products(const Profile& profile) {
  Work work;
  for (const auto& [key, entry] : profile.entries()) {
    if (key.op != "product") continue;
    work.flops += entry.flops;
    work.seconds += entry.seconds;
  }
  return work;
}

// Seconds of oneDNN's matmul for a block's products, keys and values of all
// rows and the rest of those that leave it.
double BlockSeconds(const ModelConfig& c, int64_t rows, int64_t leaving,
                    Precision precision) {
  const int64_t d = c.hidden_size, inner = c.intermediate_size;
  const int64_t q = c.num_attention_heads * c.head_dim;
  const int64_t kv = c.num_key_value_heads * c.head_dim;
  return PackedProductSeconds(leaving, d, q, precision) +
         PackedProductSeconds(leaving, q, d, precision) +
         2 * PackedProductSeconds(rows, d, kv, precision) +
         2 * PackedProductSeconds(leaving, d, inner, precision) +
         PackedProductSeconds(leaving, inner, d, precision);
}

// Useful work of one step, and the seconds that oneDNN's matmul takes for it.
Work MeasureFloor(const ModelConfig& c, const PackedBatch& batch, double passes,
                  Precision precision) {
  const int64_t n = batch.rows(), d = c.hidden_size;
  const double blocks = static_cast<double>(c.num_hidden_layers - 1) *
                            BlockSeconds(c, n, n, precision) +
                        BlockSeconds(c, n, RowsRead(batch), precision);
  // The head in vocabulary chunks, the rate of which is the best there is.
  constexpr int64_t kChunk = 4096;
  const auto scored = static_cast<int64_t>(batch.scored.size());
  const double head =
      PackedProductSeconds(scored, d, std::min(kChunk, c.vocab_size),
                           precision) *
      static_cast<double>(c.vocab_size) /
      static_cast<double>(std::min(kChunk, c.vocab_size));
  return {.flops = passes * ForwardFlops(c, batch),
          .seconds = passes * (blocks + head)};
}

// What is measured.
struct Kind {
  bool dpo = true;         // else SFT
  bool recompute = false;  // Model::recompute_activations
  Precision precision = Precision::kF32;
};

struct Run {
  std::vector<double> seconds;       // of each step
  std::vector<int64_t> allocations;  // of memory from the system, in each
  Work floor;                        // of all steps but the first
  // Operations a second, of the step where they are highest: what else runs on
  // the machine has to disturb every step to change them.
  double product_rate = 0, floor_rate = 0;
  double loss = 0;
  int64_t tokens = 0;  // distinct ones through the policy
};

absl::StatusOr<Run> Train(const Settings& s, const Kind& kind,
                          const ModelConfig& config,
                          const std::vector<Pair>& pairs, Profile& profile) {
  ALIGN_ASSIGN_OR_RETURN(const auto policy, CreateModel(config, Rng(1)));
  std::unique_ptr<Model> reference;
  if (kind.dpo) reference = CloneModel(*policy);
  policy->params().SetPrecision(kind.precision);
  if (kind.dpo) reference->params().SetPrecision(kind.precision);
  policy->params().EnableGradients();
  SetRecomputeActivations(*policy, kind.recompute);
  const std::vector<ParamStore*> stores = {&policy->params()};
  train::Optimizer optimizer({.learning_rate = 1e-5}, {}, stores);
  ALIGN_ASSIGN_OR_RETURN(const train::NamedPairLoss loss,
                         train::MakePairLoss("sigmoid"));
  train::Objective<PreferenceBatch> objective;
  if (kind.dpo) {
    objective = train::PerMicroBatch(train::PreferenceObjective(
        *policy, train::FrozenReference(*reference), loss));
  } else {
    objective =
        [sft = train::SftObjective(*policy)](const PreferenceBatch& batch) {
          return sft(SftBatch{.packed = batch.packed, .ids = {}});
        };
  }
  Run run;
  std::optional<ProfileRun> profiled;
  // Rows of the blocks and of the logits, which take about as much memory.
  const auto size = [](const PreferenceBatch& batch) {
    return batch.packed.rows() +
           static_cast<int64_t>(batch.packed.scored.size());
  };
  int64_t largest = 0;
  for (int64_t step = 0; step < static_cast<int64_t>(s.steps); ++step) {
    largest = std::max(largest, size(MakeBatch(pairs, s, step)));
  }
  train::LargestBatchReserve reserve(largest);
  for (int64_t step = 0; step < static_cast<int64_t>(s.steps); ++step) {
    const PreferenceBatch batch = MakeBatch(pairs, s, step);
    if (step == 1) profiled.emplace(profile);
    const Work before = Products(profile);
    const int64_t allocations = GetStorageStats().system_allocations;
    const Clock::time_point start = Clock::now();
    int64_t given = 0;
    const train::MicroSteps once =
        [&]() -> absl::StatusOr<std::optional<train::MicroStep>> {
      if (given++ > 0) return std::optional<train::MicroStep>();
      ALIGN_ASSIGN_OR_RETURN(train::MicroStep micro, objective(batch));
      run.loss = micro.loss_sum / micro.weight;
      return std::optional<train::MicroStep>(std::move(micro));
    };
    ALIGN_RETURN_IF_ERROR(
        train::RunLoop({.max_steps = 1}, once, stores, optimizer, {}).status());
    reserve.AfterBatch(size(batch));
    run.seconds.push_back(Seconds(start));
    run.allocations.push_back(GetStorageStats().system_allocations -
                              allocations);
    run.tokens += batch.packed.rows();
    // Between the steps, so that a machine that slows down slows both.
    if (step > 0) {
      const Work floor =
          MeasureFloor(config, batch.packed, kind.dpo ? 4 : 3, kind.precision);
      run.floor.flops += floor.flops;
      run.floor.seconds += floor.seconds;
      const Work after = Products(profile);
      run.floor_rate = std::max(run.floor_rate, WorkRate(floor));
      run.product_rate =
          std::max(run.product_rate,
                   WorkRate({.flops = after.flops - before.flops,
                             .seconds = after.seconds - before.seconds}));
    }
  }
  return run;
}

// How much of oneDNN's rate the step's own calls of it reach.
double ProductShare(const Run& run) {
  return run.floor_rate > 0 ? run.product_rate / run.floor_rate : 0;
}

void Print(const Kind& kind, const Run& run) {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const StorageStats storage = GetStorageStats();
  double counted = 0;
  for (size_t i = 1; i < run.seconds.size(); ++i) counted += run.seconds[i];
  std::vector<double> sorted(run.seconds.begin() + 1, run.seconds.end());
  std::sort(sorted.begin(), sorted.end());
  JsonWriter json;
  json.BeginObject();
  json.Field("peer", "align, " + DescribeMatmul());
  json.Field("mode", kind.dpo ? "dpo" : "sft");
  json.Field("dtype", PrecisionName(kind.precision));
  json.Field("recompute", kind.recompute);
  json.Field("threads", static_cast<int64_t>(Threads()));
  json.Key("step_s");
  json.BeginArray();
  for (const double seconds : run.seconds) json.Value(seconds);
  json.EndArray();
  json.Key("allocations");
  json.BeginArray();
  for (const int64_t count : run.allocations) json.Value(count);
  json.EndArray();
  json.Field("total_s", counted);  // all steps but the first
  json.Field("median_s", sorted.empty() ? 0 : sorted[sorted.size() / 2]);
  json.Field("tokens", run.tokens);
  json.Field("gflop", run.floor.flops / 1e9);
  json.Field("floor_s", run.floor.seconds);
  json.Field("utilisation", counted > 0 ? run.floor.seconds / counted : 0);
  json.Field("product_share", ProductShare(run));
  json.Field("peak_rss_gb", static_cast<double>(usage.ru_maxrss) / 1e6);
  json.Field("peak_tensor_gb", static_cast<double>(storage.peak_bytes) / 1e9);
  json.Field("loss", run.loss);
  json.EndObject();
  const absl::StatusOr<std::string> line = std::move(json).Finish();
  std::printf("%s\n", line.ok() ? line->c_str() : "not finite");
}

absl::Status Measure(const Settings& s, const cli::Arguments& arguments) {
  const std::string mode = arguments.Get("mode", "dpo");
  if (mode != "dpo" && mode != "sft") {
    return InvalidArgument("--mode " + mode + ": expected dpo or sft");
  }
  Kind kind = {.dpo = mode == "dpo", .recompute = arguments.Has("recompute")};
  ALIGN_ASSIGN_OR_RETURN(kind.precision,
                         ParsePrecision(arguments.Get("precision", "f32")));
  std::vector<Pair> pairs = RandomPairs(s);
  if (arguments.Has("pairs_file")) {
    ALIGN_ASSIGN_OR_RETURN(pairs,
                           ReadPairs(arguments.Get("pairs_file", ""), s));
  }
  const auto whole = [](double value) { return static_cast<int64_t>(value); };
  const ModelConfig config = {.vocab_size = whole(s.vocab),
                              .hidden_size = whole(s.hidden),
                              .intermediate_size = whole(s.ffn),
                              .num_hidden_layers = whole(s.layers),
                              .num_attention_heads = whole(s.heads),
                              .num_key_value_heads = whole(s.kv_heads),
                              .head_dim = whole(s.hidden / s.heads),
                              .max_position_embeddings = whole(s.max_length)};
  Profile profile(/*keep_events=*/arguments.Has("trace"));
  ALIGN_ASSIGN_OR_RETURN(const Run run, Train(s, kind, config, pairs, profile));
  Print(kind, run);
  if (arguments.Has("profile")) {
    std::fputs(profile.Table(MeasureBestRates(kind.precision)).c_str(), stderr);
  }
  if (arguments.Has("trace")) {
    ALIGN_RETURN_IF_ERROR(
        WriteFileAtomically(arguments.Get("trace", ""), profile.ChromeTrace()));
  }
  if (ProductShare(run) >= s.least_product_share) return absl::OkStatus();
  return FailedPrecondition(
      "products of a step reach " + std::to_string(ProductShare(run)) +
      " of oneDNN's rate on their shapes; expected at least " +
      std::to_string(s.least_product_share));
}

}  // namespace
}  // namespace align::bench

int main(int argc, char** argv) {
  align::bench::Settings settings;
  align::losses::OptionList numbers;
  settings.Describe(numbers);
  return align::bench::RunSettingsProgram(
      argc, argv,
      {.name = "pair_step",
       .usage = "pair_step [--mode dpo] [--pairs_file FILE] ...",
       .summary = "Seconds and memory of training steps on pairs.",
       .flags = {{"mode", "MODE", "dpo or sft (dpo)"},
                 {"precision", "TYPE", "auto, f32 or bf16 (f32)"},
                 {"recompute", "", "blocks are computed again on the way back"},
                 {"profile", "", "prints where the time goes"},
                 {"trace", "FILE", "writes it as a trace for Chrome"},
                 {"pairs_file", "FILE",
                  "JSON list of pairs of token ids (random ones)"}},
       .run = nullptr},
      numbers, [&](const align::cli::Arguments& arguments) {
        return align::bench::Measure(settings, arguments);
      });
}
