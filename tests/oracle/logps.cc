// golden/logps: log-probs and entropies from logits, in double and fused.

#include <algorithm>

#include "align/models/model.h"
#include "align/ops/token_scores.h"
#include "align/tensor/tape.h"
#include "tests/oracle/handlers.h"
#include "tests/oracle/token_logps.h"

namespace align::oracle {
namespace {

// The scored positions of a batch [B, T, V] whose labels are its own ids.
struct Scored {
  LabelledLogits rows;
  std::vector<size_t> sequence;  // of each row
  std::vector<size_t> flat;      // its place among B * T positions
  std::vector<double> weight;    // what a sequence's sum is divided by
};

Scored ScoredOf(Json logits, Json labels, int32_t padding, bool average) {
  Scored out;
  const Eigen::ArrayXXd all = LogitRows(logits);
  const std::vector<Json> sequences = Items(labels);
  std::vector<Eigen::Index> kept;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const std::vector<int32_t> ids = Ints(sequences[s]);
    double count = 0;
    // Position t predicts label t + 1.
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
      if (ids[t + 1] == padding) continue;
      out.sequence.push_back(s);
      out.flat.push_back(s * ids.size() + t);
      out.rows.labels.push_back(ids[t + 1]);
      kept.push_back(static_cast<Eigen::Index>(out.flat.back()));
      ++count;
    }
    out.weight.push_back(average ? count : 1);
  }
  out.rows.logits = all(kept, Eigen::all);
  return out;
}

absl::Status CheckSums(const Scored& scored, Json outputs, bool fused,
                       Case& result) {
  const Tolerance tolerance = fused ? kFloat : kDouble;
  const RowScores scores =
      fused ? ScoreFused(scored.rows) : ScoreInDouble(scored.rows);
  std::vector<double> sums(scored.weight.size());
  std::vector<double> seeds;
  for (size_t k = 0; k < scored.sequence.size(); ++k) {
    const double weight = scored.weight[scored.sequence[k]];
    sums[scored.sequence[k]] += scores.log_probs[k] / weight;
    seeds.push_back(1 / weight);
  }
  result.Near("logps", sums, Numbers(outputs["logps"]), tolerance);
  const auto wanted = Find(outputs, "grad_of_sum_wrt_logits");
  if (!wanted) return absl::OkStatus();
  const std::vector<double> none(seeds.size(), 0.0);
  const std::vector<double> rows =
      fused ? GradientFused(scored.rows, seeds, none)
            : GradientInDouble(scored.rows, seeds, none);
  const auto vocab = static_cast<size_t>(scored.rows.logits.cols());
  const std::vector<double> golden = Numbers(*wanted);
  std::vector<double> all(golden.size());
  for (size_t k = 0; k < scored.flat.size(); ++k) {
    std::copy_n(rows.begin() + k * vocab, vocab,
                all.begin() + scored.flat[k] * vocab);
  }
  result.Near("gradient by logits", all, golden, tolerance);
  return absl::OkStatus();
}

absl::Status CheckRows(Json one, bool fused, Case& result) {
  const Tolerance tolerance = fused ? kFloat : kDouble;
  const Json inputs = one["inputs"], outputs = one["outputs"];
  const LabelledLogits rows{LogitRows(inputs["logits"]), Ints(inputs["index"])};
  const RowScores scores = fused ? ScoreFused(rows) : ScoreInDouble(rows);
  result.Near("logps", scores.log_probs, Numbers(outputs["logps"]), tolerance);
  result.Near("entropy", scores.entropies, Numbers(outputs["entropy"]),
              tolerance);
  const std::vector<double> ones(rows.labels.size(), 1.0);
  const std::vector<double> none(rows.labels.size(), 0.0);
  const auto gradient = fused ? GradientFused : GradientInDouble;
  result.Near("gradient of log-probs", gradient(rows, ones, none),
              Numbers(outputs["grad_sum_logps"]), tolerance);
  result.Near("gradient of entropies", gradient(rows, none, ones),
              Numbers(outputs["grad_sum_entropy"]), tolerance);
  return absl::OkStatus();
}

// Tokens of a padded row that its mask keeps.
std::vector<int32_t> Kept(Json tokens, Json mask) {
  const std::vector<int32_t> ids = Ints(tokens), keep = Ints(mask);
  std::vector<int32_t> kept;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (keep[i] != 0) kept.push_back(ids[i]);
  }
  return kept;
}

// TRL moves rows to the left edge and cuts columns that are all padding: where
// padding stands changes neither tokens, positions nor log-probs. A packed
// batch has none, so it must hold what those rows hold, at their columns, and
// score each as alone.
absl::Status CheckFlushLeft(Json one, Case& result) {
  const std::vector<Json> rows = Items(one["inputs"]["tensor"]);
  const std::vector<Json> masks = Items(one["inputs"]["mask"]);
  const std::vector<Json> flushed = Items(one["outputs"]["tensor"]);
  const std::vector<Json> flushed_masks = Items(one["outputs"]["mask"]);
  ModelConfig config;
  config.vocab_size = 1;
  config.hidden_size = config.intermediate_size = 16;
  config.num_hidden_layers = config.num_key_value_heads = 1;
  config.num_attention_heads = 2;
  config.head_dim = 8;
  config.bos_token_id.reset();
  config.eos_token_ids.clear();
  for (const double id : Numbers(one["inputs"]["tensor"])) {
    config.vocab_size = std::max<int64_t>(config.vocab_size, id + 1);
  }
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                         CreateModel(config, Rng(1)));
  const NoGrad no_grad;
  const auto score = [&](const PackedBatch& batch) {
    const TokenScores scores =
        ScoreTokens(model->Hidden(batch.tokens, batch.segments), model->Head(),
                    batch.scored);
    return std::vector<double>(scores.log_probs().begin(),
                               scores.log_probs().end());
  };
  PackedBatch packed;
  std::vector<double> tokens, columns, alone;
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<int32_t> kept = Kept(rows[i], masks[i]);
    const std::span<const int32_t> all(kept);
    packed.AppendCompletion(packed.AppendPrompt(all.first(1)), all.subspan(1));
    const std::vector<int32_t> there = Kept(flushed[i], flushed_masks[i]);
    tokens.insert(tokens.end(), there.begin(), there.end());
    const std::vector<int32_t> mask = Ints(flushed_masks[i]);
    for (size_t column = 0; column < mask.size(); ++column) {
      if (mask[column] != 0) columns.push_back(static_cast<double>(column));
    }
    PackedBatch single;
    const std::span<const int32_t> row(there);
    single.AppendCompletion(single.AppendPrompt(row.first(1)), row.subspan(1));
    const std::vector<double> log_probs = score(single);
    alone.insert(alone.end(), log_probs.begin(), log_probs.end());
  }
  const std::vector<int32_t> positions = packed.segments.Positions();
  result.Near("tokens",
              std::vector<double>(packed.tokens.begin(), packed.tokens.end()),
              tokens, {});
  result.Near("positions",
              std::vector<double>(positions.begin(), positions.end()), columns,
              {});
  result.Near("log-probs", score(packed), alone, kFloat);
  return absl::OkStatus();
}

}  // namespace

void CheckBatchLogps(const OracleFile& file, Reporter& reporter) {
  Json logits;
  for (Json one : Items(file.root["cases"])) {
    const Json params = one["params"], inputs = one["inputs"];
    // A text stands for the logits of the case before.
    if (const Json own = inputs["logits"]; own.is_array()) logits = own;
    const bool average = FlagOr(params, "average_log_prob", false);
    const Scored scored = ScoredOf(
        logits, inputs["labels"],
        static_cast<int32_t>(Number(params["label_pad_token_id"])), average);
    for (bool fused : {false, true}) {
      reporter.Run(fused ? "f32 fused" : "double", average ? "average" : "sum",
                   [&](Case& result) {
                     return CheckSums(scored, one["outputs"], fused, result);
                   });
    }
  }
}

void CheckLogSoftmax(const OracleFile& file, Reporter& reporter) {
  for (Json one : Items(file.root["cases"])) {
    const std::string name = Text(one["fn"]);
    if (name == "flush_left") {
      reporter.Run("f32 packed", name,
                   [&](Case& result) { return CheckFlushLeft(one, result); });
      continue;
    }
    if (name != "selective_log_softmax+entropy_from_logits") {
      reporter.Skip(name + ": no checker");
      continue;
    }
    for (bool fused : {false, true}) {
      reporter.Run(fused ? "f32 fused" : "double", name,
                   [&](Case& result) { return CheckRows(one, fused, result); });
    }
  }
}

}  // namespace align::oracle
