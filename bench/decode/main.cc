// decode: sampling with a new Llama of given shape beside what the machine can
// do, all in one run and in turn: one reply at a time as a share of streaming
// bandwidth, many as a share of oneDNN's matmul rate on the same layers, and
// the samples of one prompt with the prompt computed once or once each. Prints
// one JSON object, and a table to stderr.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "align/base/json_writer.h"
#include "align/base/profile.h"
#include "align/base/storage.h"
#include "align/base/threads.h"
#include "align/cli/command.h"
#include "align/dnnl/packed_matrix.h"
#include "align/dnnl/precision.h"
#include "align/kernels/bf16.h"
#include "bench/bench_model.h"
#include "bench/settings_program.h"
#include "losses/options.h"
#include "samplers/generate.h"

namespace align::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Whole numbers, kept as the numbers that OptionList knows. The defaults are
// the shape of a model with 135 million parameters.
struct Settings {
  double hidden = 576, layers = 30, heads = 9, kv_heads = 3, ffn = 1536;
  double vocab = 49152;
  double replies = 32;  // together
  double prompt_tokens = 16, new_tokens = 32;
  double samples = 8, shared_tokens = 512;  // of one prompt
  double rounds = 3;
  double stream_mb = 1024;

  void Describe(losses::OptionList& list) {
    const losses::Range count = {.low = 1, .high = 1e6};
    const losses::Range steps = {.low = 2, .high = 1e6};
    list.Number("hidden", &hidden, count, "width");
    list.Number("layers", &layers, count, "blocks");
    list.Number("heads", &heads, count, "of attention");
    list.Number("kv_heads", &kv_heads, count, "of keys and values");
    list.Number("ffn", &ffn, count, "width of the MLP");
    list.Number("vocab", &vocab, count, "token ids");
    list.Number("replies", &replies, count, "decoded together");
    list.Number("prompt_tokens", &prompt_tokens, count, "of these");
    list.Number("new_tokens", &new_tokens, steps, "of every reply");
    list.Number("samples", &samples, count, "of the prompt that is shared");
    list.Number("shared_tokens", &shared_tokens, count, "of that prompt");
    list.Number("rounds", &rounds, count, "medians of these are printed");
    list.Number("stream_mb", &stream_mb, count,
                "read for the bandwidth; far more than the caches hold");
  }
};

int64_t Whole(double value) { return static_cast<int64_t>(value); }

template <class Body>
double Seconds(const Body& body) {
  const Clock::time_point start = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Memory that every thread reads its own part of from one end to the other.
class Stream {
 public:
  explicit Stream(int64_t bytes)
      : count_(bytes / int64_t{sizeof(float)}),
        data_(AllocateStorage(count_)),
        sums_(kParts) {
    std::fill_n(data_.get(), count_, 1.0f);
  }

  double BytesPerSecond() {
    const int64_t parts = std::min<int64_t>(kParts, Threads());
    const double seconds = Seconds([&] {
      ParallelFor(parts, [&](int64_t part) {
        const auto* words = reinterpret_cast<const uint32_t*>(data_.get());
        const auto begin = words + count_ / parts * part;
        sums_[part] = std::accumulate(begin, begin + count_ / parts, 0u);
      });
    });
    return static_cast<double>(count_ / parts * parts) * sizeof(float) /
           seconds;
  }

 private:
  static constexpr int64_t kParts = 256;
  int64_t count_;
  Storage data_;
  std::vector<uint32_t> sums_;
};

// Every product of one step with a matrix of its own, as large as the model:
// oneDNN's time for them in turn.
class Products {
 public:
  Products(const ModelConfig& c, int64_t rows, Precision precision)
      : rows_(rows), precision_(precision) {
    const int64_t d = c.hidden_size, f = c.intermediate_size;
    const int64_t q = c.num_attention_heads * c.head_dim;
    const int64_t kv = c.num_key_value_heads * c.head_dim;
    for (int64_t layer = 0; layer < c.num_hidden_layers; ++layer) {
      for (const auto& [k, n] : {std::pair{d, q},
                                 {d, kv},
                                 {d, kv},
                                 {q, d},
                                 {d, f},
                                 {d, f},
                                 {f, d}}) {
        Add(k, n);
      }
    }
    // The head in the chunks of ComputeHeadLogits.
    for (int64_t begin = 0; begin < c.vocab_size; begin += kChunk) {
      Add(d, std::min(kChunk, c.vocab_size - begin));
    }
    a_.assign(rows * widest_, 0.5f);
    rounded_.resize(a_.size());
    kernels::RoundToBf16(a_.data(), rows * widest_, rounded_.data());
    c_.resize(rows * widest_);
  }

  int64_t bytes() const { return bytes_; }
  double flops() const { return flops_; }

  double RunSeconds() {
    return Seconds([&] {
      for (const PackedMatrix& b : matrices_) {
        if (precision_ == Precision::kBf16) {
          b.MultiplyInOneCall(rounded_.data(), rows_, c_.data());
        } else {
          b.MultiplyInOneCall(a_.data(), rows_, c_.data());
        }
      }
    });
  }

 private:
  static constexpr int64_t kChunk = 4096;

  void Add(int64_t k, int64_t n) {
    const std::vector<float> b(k * n, 0.5f);
    matrices_.emplace_back(RowMajor(b.data(), k, n), precision_);
    widest_ = std::max({widest_, k, n});
    bytes_ += k * n * (precision_ == Precision::kBf16 ? 2 : 4);
    flops_ += 2.0 * static_cast<double>(rows_ * k * n);
  }

  int64_t rows_;
  Precision precision_;
  std::vector<PackedMatrix> matrices_;
  int64_t widest_ = 0, bytes_ = 0;
  double flops_ = 0;
  std::vector<float> a_, c_;
  std::vector<Bf16> rounded_;
};

// Seconds of `samples` replies of `new_tokens` to each of `prompts` copies of
// one prompt.
absl::StatusOr<double> SampleSeconds(const Model& model, int64_t prompts,
                                     int64_t samples, int64_t prompt_tokens,
                                     int64_t new_tokens) {
  const std::vector<std::vector<int32_t>> ids(
      prompts, RandomTokens(prompt_tokens, model.config().vocab_size, Rng(2)));
  absl::Status status;
  const double seconds = Seconds([&] {
    status = samplers::Generate(
                 model, ids, samples,
                 {.max_new_tokens = new_tokens, .max_rows = prompts * samples},
                 Rng(3))
                 .status();
  });
  ALIGN_RETURN_IF_ERROR(status);
  return seconds;
}

// What the rounds gave, one number each.
struct Rounds {
  std::vector<double> bandwidth;         // bytes a second
  std::vector<double> step1, step;       // seconds, of 1 and of many replies
  std::vector<double> products;          // seconds of oneDNN for the latter
  std::vector<double> shared, separate;  // seconds
  std::vector<double> stream_share, product_share, sharing;  // of each round
};

// One step of `replies`: what more tokens take than one, since that one comes
// out of the prompt's forward.
absl::StatusOr<double> StepSeconds(const Model& model, const Settings& s,
                                   int64_t replies) {
  const int64_t prompt = Whole(s.prompt_tokens), tokens = Whole(s.new_tokens);
  ALIGN_ASSIGN_OR_RETURN(const double all,
                         SampleSeconds(model, replies, 1, prompt, tokens));
  ALIGN_ASSIGN_OR_RETURN(const double first,
                         SampleSeconds(model, replies, 1, prompt, 1));
  return std::max(all - first, 1e-9) / static_cast<double>(tokens - 1);
}

// Of one reply's step: every weight once, and the mean of the cache.
double StepBytes(const Model& model, const Settings& s,
                 const Products& products) {
  const double length = s.prompt_tokens + s.new_tokens / 2;
  return static_cast<double>(products.bytes()) +
         length * static_cast<double>(model.MakeCache().bytes_per_token());
}

// `profile` takes in the steps of many replies.
absl::StatusOr<Rounds> MeasureRounds(const Model& model, const Settings& s,
                                     Products& products, Profile& profile) {
  Rounds r;
  Stream stream(Whole(s.stream_mb) << 20);
  const double bytes = StepBytes(model, s, products);
  const int64_t samples = Whole(s.samples), length = Whole(s.shared_tokens);
  const int64_t tokens = Whole(s.new_tokens);
  // The first round packs weights and is not counted.
  for (int64_t round = 0; round <= Whole(s.rounds); ++round) {
    // A machine that others use, too, gives other bandwidths from one moment to
    // the next: the mean of before and after.
    const double before = stream.BytesPerSecond();
    ALIGN_ASSIGN_OR_RETURN(const double step1, StepSeconds(model, s, 1));
    const double bandwidth = (before + stream.BytesPerSecond()) / 2;
    const double multiplied = products.RunSeconds();
    std::optional<ProfileRun> profiled;
    if (round > 0) profiled.emplace(profile);
    ALIGN_ASSIGN_OR_RETURN(const double step,
                           StepSeconds(model, s, Whole(s.replies)));
    profiled.reset();
    ALIGN_ASSIGN_OR_RETURN(const double shared,
                           SampleSeconds(model, 1, samples, length, tokens));
    ALIGN_ASSIGN_OR_RETURN(const double separate,
                           SampleSeconds(model, samples, 1, length, tokens));
    if (round == 0) continue;
    r.bandwidth.push_back(bandwidth);
    r.step1.push_back(step1);
    r.step.push_back(step);
    r.products.push_back(multiplied);
    r.shared.push_back(shared);
    r.separate.push_back(separate);
    r.stream_share.push_back(bytes / step1 / bandwidth);
    r.product_share.push_back(multiplied / step);
    r.sharing.push_back(separate / shared);
  }
  return r;
}

void PrintTable(const Settings& s, const Rounds& r, double bytes,
                double flops) {
  const double step1 = Median(r.step1), step = Median(r.step);
  const double products = Median(r.products);
  std::fprintf(stderr, "%-34s %9.1f GB/s\n", "streaming read",
               Median(r.bandwidth) / 1e9);
  std::fprintf(stderr,
               "%-34s %9.1f tokens/s, %.3f GB a token, %.1f GB/s: %.2f of it\n",
               "1 reply", 1 / step1, bytes / 1e9, bytes / step1 / 1e9,
               Median(r.stream_share));
  const std::string many = std::to_string(Whole(s.replies)) + " replies";
  std::fprintf(stderr, "%-34s %9.1f GFLOP/s\n",
               ("oneDNN, rows of " + many).c_str(), flops / products / 1e9);
  std::fprintf(stderr, "%-34s %9.1f tokens/s, %.1f GFLOP/s: %.2f of it\n",
               many.c_str(), s.replies / step, flops / step / 1e9,
               Median(r.product_share));
  const std::string samples =
      std::to_string(Whole(s.samples)) + " samples of " +
      std::to_string(Whole(s.shared_tokens)) + " tokens";
  std::fprintf(stderr, "%-34s %9.2f s shared, %.2f s separate: %.2f times\n",
               samples.c_str(), Median(r.shared), Median(r.separate),
               Median(r.sharing));
}

void PrintJson(const Settings& s, Precision precision, const Rounds& r,
               double bytes, double flops) {
  JsonWriter json;
  json.BeginObject();
  json.Field("peer", "align, " + DescribeMatmul());
  json.Field("dtype", PrecisionName(precision));
  json.Field("threads", static_cast<int64_t>(Threads()));
  json.Field("replies", Whole(s.replies));
  json.Field("stream_gb_s", Median(r.bandwidth) / 1e9);
  json.Field("token_gb", bytes / 1e9);
  json.Field("tokens_s_1", 1 / Median(r.step1));
  json.Field("stream_share", Median(r.stream_share));
  json.Field("tokens_s", s.replies / Median(r.step));
  json.Field("onednn_gflop_s", flops / Median(r.products) / 1e9);
  json.Field("onednn_share", Median(r.product_share));
  json.Field("shared_s", Median(r.shared));
  json.Field("separate_s", Median(r.separate));
  json.Field("sharing_times", Median(r.sharing));
  json.EndObject();
  const absl::StatusOr<std::string> line = std::move(json).Finish();
  std::printf("%s\n", line.ok() ? line->c_str() : "not finite");
}

absl::Status Measure(const Settings& s, const cli::Arguments& arguments) {
  ALIGN_ASSIGN_OR_RETURN(const Precision precision,
                         ParsePrecision(arguments.Get("precision", "f32")));
  const double longest = std::max(s.prompt_tokens, s.shared_tokens);
  const ModelConfig config = {
      .vocab_size = Whole(s.vocab),
      .hidden_size = Whole(s.hidden),
      .intermediate_size = Whole(s.ffn),
      .num_hidden_layers = Whole(s.layers),
      .num_attention_heads = Whole(s.heads),
      .num_key_value_heads = Whole(s.kv_heads),
      .head_dim = Whole(s.hidden / s.heads),
      .max_position_embeddings = Whole(longest + s.new_tokens),
      .tie_word_embeddings = true};
  ALIGN_ASSIGN_OR_RETURN(const auto model, CreateModel(config, Rng(1)));
  model->params().SetPrecision(precision);
  Products products(config, Whole(s.replies), precision);
  Profile profile;
  ALIGN_ASSIGN_OR_RETURN(const Rounds rounds,
                         MeasureRounds(*model, s, products, profile));
  if (arguments.Has("profile")) std::fputs(profile.Table().c_str(), stderr);
  const double bytes = StepBytes(*model, s, products);
  PrintTable(s, rounds, bytes, products.flops());
  PrintJson(s, precision, rounds, bytes, products.flops());
  return absl::OkStatus();
}

}  // namespace
}  // namespace align::bench

int main(int argc, char** argv) {
  align::bench::Settings settings;
  align::losses::OptionList numbers;
  settings.Describe(numbers);
  return align::bench::RunSettingsProgram(
      argc, argv,
      {.name = "decode",
       .usage = "decode [--precision f32] [--replies 32] ...",
       .summary = "Tokens a second beside what the machine can do.",
       .flags = {{"precision", "TYPE", "auto, f32 or bf16 (f32)"},
                 {"profile", "", "prints where the time of many goes"}},
       .run = nullptr},
      numbers, [&](const align::cli::Arguments& arguments) {
        return align::bench::Measure(settings, arguments);
      });
}
