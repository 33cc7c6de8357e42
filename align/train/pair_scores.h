#pragma once

#include <cstdint>
#include <vector>

#include "align/base/status.h"
#include "align/data/batches.h"
#include "align/models/model.h"
#include "align/train/coupled.h"
#include "align/train/reference.h"
#include "losses/pair.h"

namespace align::train {

// What an output of the model, the log-prob of one token, means to a loss.
struct PairToken {
  int32_t pair = 0;
  bool chosen = false;  // of the chosen reply, or of the prompt before it
  bool prompt = false;  // of that prompt: only NLL terms learn it
  bool head = false;    // among the first min(T_chosen, T_rejected) of a reply
};

// One micro-batch of pairs as its loss sees it.
struct PairScores {
  losses::PairInputs inputs;
  std::vector<PairToken> tokens;  // the first of the outputs, one each
  size_t outputs = 0;             // those after `tokens` have no loss
  MicroStep step;  // record ids, weight and metrics; all but the loss's part
};

struct PairScoreOptions {
  bool statistics = false;  // also logits/{chosen,rejected}
  bool entropy = false;     // also the mean entropy, in nats
};

// Runs `model`, which must outlive the pass, and fills the inputs that `needs`
// asks for, lengths always, the reference's whenever `reference` is set. The
// prompt of a pair, for needs.prompt_nll, is all that its chosen reply
// continues but the first token, which nothing predicts. Metrics by TRL's
// names: logps/{chosen,rejected} (whole sums, whatever a loss makes of them),
// nll_loss (of what NLL terms learn, per token; an alarm where there are none),
// num_tokens, and what the options ask for. Returns kInvalidArgument for ids
// that the model does not have, a batch that is not made of pairs, or one
// without the margins, or the knowledge of whose samples won, that are needed.
absl::StatusOr<ForwardPass<PairScores>> ScorePairBatch(
    const Model& model, const ReferenceLogProbs& reference,
    const losses::PairNeeds& needs, const PairScoreOptions& options,
    const PreferenceBatch& batch);

}  // namespace align::train
