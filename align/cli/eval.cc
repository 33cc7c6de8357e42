// `align eval`: what a model scores on a record file.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <numbers>

#include "align/base/log.h"
#include "align/cli/inspect.h"
#include "align/data/loader.h"
#include "align/data/records.h"
#include "align/models/model.h"
#include "align/models/peft.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "align/text/tokenizer.h"
#include "align/train/reward_objective.h"
#include "proto/records.pb.h"

namespace align::cli {
namespace {

constexpr int64_t kBatchRows = 16;

// What an evaluation works with.
struct Subject {
  const Model& model;
  const Tokenizer& tokenizer;
  const std::vector<pb::Record>& records;
  const TokenizeOptions& options;
  bool each = false;  // print the reward of every text
};

// A line of progress every few seconds, and the answer to Ctrl-C.
class Progress {
 public:
  explicit Progress(size_t total) : total_(total) {}

  absl::Status Advance(int64_t examples) {
    done_ += examples;
    if (StopRequested()) return Cancelled("stopped");
    const auto now = std::chrono::steady_clock::now();
    if (now - last_ < std::chrono::seconds(5)) return absl::OkStatus();
    last_ = now;
    LogInfo("eval " + std::to_string(done_) + "/" + std::to_string(total_));
    return absl::OkStatus();
  }

 private:
  size_t total_;
  int64_t done_ = 0;
  std::chrono::steady_clock::time_point last_ =
      std::chrono::steady_clock::now();
};

constexpr LoaderOptions kInOrder = {
    .batch_size = kBatchRows, .epochs = 1, .shuffle = false};

// Bytes of text that the scored tokens of all examples stand for.
int64_t ScoredBytes(const std::vector<SftExample>& examples,
                    const Tokenizer& tokenizer) {
  int64_t bytes = 0;
  for (const SftExample& example : examples) {
    for (size_t i = 0; i < example.completion.size(); ++i) {
      if (!example.mask.empty() && example.mask[i] == 0) continue;
      bytes += static_cast<int64_t>(
          tokenizer.DecodePiece(example.completion[i]).size());
    }
  }
  return bytes;
}

absl::Status EvalLanguageModel(const Subject& subject) {
  const auto& [model, tokenizer, records, options, each] = subject;
  ALIGN_ASSIGN_OR_RETURN(Tokenized<SftExample> tokenized,
                         records[0].has_text()
                             ? TokenizeTextBlocks(records, tokenizer, options)
                             : TokenizeSft(records, tokenizer, options));
  const int64_t bytes = ScoredBytes(tokenized.examples, tokenizer);
  Progress progress(tokenized.examples.size());
  ALIGN_ASSIGN_OR_RETURN(
      SftLoader loader,
      SftLoader::Create(std::move(tokenized.examples), kInOrder));
  const NoGrad no_grad;
  double nll = 0;
  int64_t tokens = 0, right = 0;
  while (const std::optional<SftBatch> batch = loader.Next()) {
    const PackedBatch& packed = batch->packed;
    ALIGN_RETURN_IF_ERROR(model.CheckTokens(packed.tokens, packed.segments));
    const TokenScores scores = ScoreTokens(
        model.Hidden(packed.tokens, packed.segments, RowsOf(packed.scored)),
        model.Head(), packed.scored, {.statistics = true});
    for (float x : scores.log_probs()) nll -= x;
    for (uint8_t x : scores.statistics.label_is_argmax) right += x;
    tokens += static_cast<int64_t>(packed.scored.size());
    ALIGN_RETURN_IF_ERROR(progress.Advance(packed.sequences));
  }
  std::printf(
      "tokens %lld\nnll_per_token %.4f\nperplexity %.2f\nbits_per_byte %.4f\n"
      "mean_token_accuracy %.4f\n",
      static_cast<long long>(tokens), nll / tokens, std::exp(nll / tokens),
      nll / std::numbers::ln2 / static_cast<double>(bytes),
      static_cast<double>(right) / tokens);
  return absl::OkStatus();
}

// Rewards of a batch's sequences, after the checks that bad input needs.
absl::StatusOr<Tensor> Rewards(const Model& model, const PackedBatch& packed) {
  ALIGN_RETURN_IF_ERROR(model.CheckTokens(packed.tokens, packed.segments));
  return train::RewardScores(model, packed);
}

void PrintReward(double reward, const std::string& id) {
  std::printf("%+.4f  %s\n", reward, id.c_str());
}

// How often the chosen reply gets the higher reward, and by how much.
absl::Status EvalPairs(const Subject& subject) {
  ALIGN_ASSIGN_OR_RETURN(
      Tokenized<PairExample> pairs,
      TokenizePairs(subject.records, subject.tokenizer, subject.options));
  Progress progress(pairs.examples.size());
  ALIGN_ASSIGN_OR_RETURN(
      PairLoader loader,
      PairLoader::Create(std::move(pairs.examples), kInOrder));
  const NoGrad no_grad;
  int64_t count = 0, right = 0;
  double margin = 0;
  while (const std::optional<PreferenceBatch> batch = loader.Next()) {
    ALIGN_ASSIGN_OR_RETURN(const Tensor rewards,
                           Rewards(subject.model, batch->packed));
    for (int64_t i = 0; i < batch->pairs(); ++i, ++count) {
      const double chosen = rewards.data()[2 * i];
      const double rejected = rewards.data()[2 * i + 1];
      right += chosen > rejected;
      margin += chosen - rejected;
      if (!subject.each) continue;
      PrintReward(chosen, batch->ids[i] + "/chosen");
      PrintReward(rejected, batch->ids[i] + "/rejected");
    }
    ALIGN_RETURN_IF_ERROR(progress.Advance(batch->pairs()));
  }
  std::printf("pairs %lld\naccuracy %.4f\nmargin %.4f\n",
              static_cast<long long>(count), static_cast<double>(right) / count,
              margin / count);
  return absl::OkStatus();
}

// How often the sign of the reward says the label.
absl::Status EvalLabels(const Subject& subject) {
  ALIGN_ASSIGN_OR_RETURN(
      Tokenized<UnpairedExample> rows,
      TokenizeUnpaired(subject.records, subject.tokenizer, subject.options));
  Progress progress(rows.examples.size());
  ALIGN_ASSIGN_OR_RETURN(
      UnpairedLoader loader,
      UnpairedLoader::Create(std::move(rows.examples), kInOrder));
  const NoGrad no_grad;
  int64_t count = 0, right = 0;
  double sums[2] = {0, 0};  // of rewards, by label
  int64_t counts[2] = {0, 0};
  while (const std::optional<UnpairedBatch> batch = loader.Next()) {
    ALIGN_ASSIGN_OR_RETURN(const Tensor rewards,
                           Rewards(subject.model, batch->packed));
    for (int64_t i = 0; i < batch->rows(); ++i, ++count) {
      const double reward = rewards.data()[i];
      const int label = batch->desirable[i] != 0 ? 1 : 0;
      right += (reward > 0) == (label == 1);
      sums[label] += reward;
      ++counts[label];
      if (subject.each) PrintReward(reward, batch->ids[i]);
    }
    ALIGN_RETURN_IF_ERROR(progress.Advance(batch->rows()));
  }
  std::printf("labelled %lld\naccuracy %.4f\n", static_cast<long long>(count),
              static_cast<double>(right) / count);
  for (const int label : {1, 0}) {
    if (counts[label] == 0) continue;
    std::printf("mean_reward_%s %.4f\n", label == 1 ? "true" : "false",
                sums[label] / counts[label]);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status EvalCommand(const Arguments& arguments) {
  ALIGN_RETURN_IF_ERROR(ExpectPositional(arguments, 2, kEvalUsage));
  const std::string& directory = arguments.positional[0];
  ALIGN_ASSIGN_OR_RETURN(const auto tokenizer,
                         LoadTokenizer(DirectoryOfTokenizer(
                             directory, arguments.Get("base", ""))));
  ALIGN_ASSIGN_OR_RETURN(const auto model,
                         LoadModel(directory, arguments.Get("base", "")));
  ALIGN_ASSIGN_OR_RETURN(std::vector<pb::Record> records,
                         ReadRecords(arguments.positional[1]));
  ALIGN_ASSIGN_OR_RETURN(
      const int64_t most,
      arguments.GetInteger("max-records", 1 << 30, 1, 1 << 30));
  const int64_t positions = model->config().max_position_embeddings;
  TokenizeOptions options;
  ALIGN_ASSIGN_OR_RETURN(
      options.max_length,
      arguments.GetInteger("max-length", std::min<int64_t>(256, positions), 2,
                           positions));
  options.block_length = options.max_length;
  if (static_cast<int64_t>(records.size()) > most) records.resize(most);
  if (records.empty()) {
    return InvalidArgument(arguments.positional[1] + ": no records");
  }
  const Subject subject = {*model, *tokenizer, records, options,
                           arguments.Has("each")};
  if (!model->config().classifier()) {
    if (!subject.each) return EvalLanguageModel(subject);
    return InvalidArgument("--each needs a reward model, got " + directory);
  }
  return records[0].has_preference() ? EvalPairs(subject) : EvalLabels(subject);
}

}  // namespace align::cli
