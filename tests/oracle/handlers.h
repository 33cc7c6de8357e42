#pragma once

// One function a family of oracle files: runs the cases that the toolkit
// supports through its own code, and skips the others with a reason.

#include <string>

#include "tests/oracle/json_values.h"
#include "tests/oracle/reporter.h"

namespace align::oracle {

struct OracleFile {
  std::string path;  // on disk
  Json root;
};

// models/ARCHITECTURE/golden.json, beside config.json and model.safetensors.
void CheckModel(const OracleFile& file, Reporter& reporter);
// models/cross_check_VERSION.json, models/sensitivity.json.
void CheckVersions(const OracleFile& file, Reporter& reporter);
void CheckSensitivity(const OracleFile& file, Reporter& reporter);
// golden/generate/ARCHITECTURE.json.
void CheckGeneration(const OracleFile& file, Reporter& reporter);
// golden/generate/logits_processors.json.
void CheckLogitsProcessors(const OracleFile& file, Reporter& reporter);
// runs/NAME/run.json: ten optimizer steps.
void CheckRun(const OracleFile& file, Reporter& reporter);
// golden/dpo and golden/peers/dpo_second_sources.json.
void CheckDpoLoss(const OracleFile& file, Reporter& reporter);
void CheckDpoFromLogits(const OracleFile& file, Reporter& reporter);
void CheckDpoSecondSources(const OracleFile& file, Reporter& reporter);
// golden/logps.
void CheckBatchLogps(const OracleFile& file, Reporter& reporter);
void CheckLogSoftmax(const OracleFile& file, Reporter& reporter);
// golden/kto, golden/bco.
void CheckKtoLoss(const OracleFile& file, Reporter& reporter);
void CheckKtoFromLogits(const OracleFile& file, Reporter& reporter);
void CheckBcoLoss(const OracleFile& file, Reporter& reporter);
// golden/orpo, golden/cpo.
void CheckOrpoLoss(const OracleFile& file, Reporter& reporter);
void CheckCpoLoss(const OracleFile& file, Reporter& reporter);
// golden/reward, golden/rso.
void CheckRewardLoss(const OracleFile& file, Reporter& reporter);
void CheckRejection(const OracleFile& file, Reporter& reporter);
// golden/ppo.
void CheckPpoCore(const OracleFile& file, Reporter& reporter);
void CheckPpoTrainer(const OracleFile& file, Reporter& reporter);
void CheckPpoInline(const OracleFile& file, Reporter& reporter);
void CheckKlController(const OracleFile& file, Reporter& reporter);
// golden/grpo, golden/rloo.
void CheckGrpoLoss(const OracleFile& file, Reporter& reporter);
void CheckGrpoAdvantages(const OracleFile& file, Reporter& reporter);
void CheckRloo(const OracleFile& file, Reporter& reporter);
// golden/peers: policy losses and what they are made with.
void CheckVerl(const OracleFile& file, Reporter& reporter);
void CheckOpenRlhf(const OracleFile& file, Reporter& reporter);
void CheckTorchtune(const OracleFile& file, Reporter& reporter);
// golden/sft.
void CheckSftLosses(const OracleFile& file, Reporter& reporter);
// tok/NAME.json, beside files/NAME.tokenizer.json or .model.
void CheckTokenizer(const OracleFile& file, Reporter& reporter);
// golden/optim.
void CheckOptimizers(const OracleFile& file, Reporter& reporter);
void CheckClipping(const OracleFile& file, Reporter& reporter);
void CheckSchedules(const OracleFile& file, Reporter& reporter);

}  // namespace align::oracle
