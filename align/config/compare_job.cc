#include "align/config/compare_job.h"

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/base/log.h"
#include "align/config/compare_plan.h"
#include "align/config/compare_stages.h"
#include "align/config/parse.h"
#include "align/dnnl/precision.h"
#include "align/eval/statistics.h"
#include "align/report/compare_report.h"

namespace align {
namespace {

constexpr int64_t kResamples = 2000;
constexpr int64_t kShownPrompts = 8;

// What the table says of one method, from the samples of its eval stage.
struct Evaluation {
  std::vector<double> gold;  // by prompt, the mean over its replies
  std::vector<double> log_probs, reference_log_probs;
  std::vector<std::vector<int32_t>> replies;
};

Evaluation Collect(const pb::Samples& samples) {
  Evaluation evaluation;
  for (const pb::SampledPrompt& prompt : samples.prompts()) {
    double sum = 0;
    for (const pb::SampledReply& reply : prompt.replies()) {
      sum += reply.gold();
      evaluation.log_probs.push_back(reply.log_prob());
      evaluation.reference_log_probs.push_back(reply.reference_log_prob());
      evaluation.replies.push_back(Ids(reply.tokens()));
    }
    evaluation.gold.push_back(sum / prompt.replies_size());
  }
  return evaluation;
}

// Sums over the method's own stage and the earlier ones it needs; memory is
// that of the largest process.
absl::Status AddCosts(const std::string& out, const std::string& method,
                      MethodResult& result) {
  std::vector<std::string> stages = EarlierStages(method);
  stages.push_back(OwnStage(method));
  for (const std::string& stage : stages) {
    ALIGN_ASSIGN_OR_RETURN(const pb::StageRecord record,
                           ReadStageRecord(out, stage));
    result.seconds += record.seconds();
    result.tokens_sampled += record.tokens_sampled();
    result.tokens_trained += record.tokens_trained();
    result.peak_rss_mb = std::max(result.peak_rss_mb, record.peak_rss_mb());
    result.models_held = std::max(result.models_held, record.models_held());
    if (stage == stages.back()) result.seconds_own = record.seconds();
  }
  return absl::OkStatus();
}

absl::StatusOr<MethodResult> Measure(const pb::CompareConfig& config,
                                     const std::string& out,
                                     const std::string& method,
                                     const Evaluation& evaluation,
                                     const Evaluation& baseline) {
  MethodResult result;
  result.method = method;
  const MeanError gold = MeanAndError(evaluation.gold);
  result.gold_mean = gold.mean;
  result.gold_stderr = gold.stderr_of_mean;
  if (method != "sft") {
    const WinInterval wins =
        BootstrapWinRate(evaluation.gold, baseline.gold, kResamples,
                         Rng(config.seed()).Fork("bootstrap"));
    result.win_rate = wins.rate;
    result.win_low = wins.low;
    result.win_high = wins.high;
  }
  if (method == "best_of_n") {
    result.kl_kind = "bound";
    result.kl =
        BestOfNKlBound(config.best_of_n().has_n() ? config.best_of_n().n() : 8);
  } else {
    result.kl =
        MeanLogRatio(evaluation.log_probs, evaluation.reference_log_probs);
  }
  double tokens = 0;
  for (const auto& reply : evaluation.replies) {
    tokens += static_cast<double>(reply.size());
  }
  result.length = tokens / static_cast<double>(evaluation.replies.size());
  result.distinct_2 = DistinctN(evaluation.replies, 2);
  ALIGN_RETURN_IF_ERROR(AddCosts(out, method, result));
  return result;
}

absl::Status WriteSamples(
    const pb::CompareConfig& config, const std::string& out,
    const std::vector<std::pair<std::string, pb::Samples>>& methods) {
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                         LoadTokenizer(TokenizerDirectory(config)));
  const pb::Samples& first = methods.front().second;
  std::vector<SamplesAcrossMethods> shown;
  for (int p = 0; p < std::min<int64_t>(kShownPrompts, first.prompts_size());
       ++p) {
    SamplesAcrossMethods across{
        .prompt = tokenizer->Decode(Ids(first.prompts(p).prompt())),
        .samples = {}};
    for (const auto& [method, samples] : methods) {
      const pb::SampledReply& reply = samples.prompts(p).replies(0);
      across.samples.push_back(
          {.method = method,
           .reply = tokenizer->DecodeContinuation(Ids(reply.tokens())),
           .gold = reply.gold()});
    }
    shown.push_back(std::move(across));
  }
  return WriteFileAtomically(out + "/samples.md", RenderSamplesMarkdown(shown));
}

absl::Status Report(const pb::CompareConfig& config, const std::string& out,
                    const std::vector<CompareStage>& stages,
                    const CompareOptions& options) {
  std::vector<std::pair<std::string, pb::Samples>> methods;
  for (const CompareStage& stage : stages) {
    if (!stage.name.starts_with("eval_")) continue;
    const std::string path = StageDirectory(out, stage.name) + "/samples.binpb";
    ALIGN_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    pb::Samples samples;
    if (!samples.ParseFromString(bytes)) {
      return DataLoss(path + ": not a file of samples");
    }
    methods.emplace_back(stage.name.substr(5), std::move(samples));
  }
  const Evaluation baseline = Collect(methods.front().second);
  std::vector<MethodResult> results;
  for (const auto& [method, samples] : methods) {
    ALIGN_ASSIGN_OR_RETURN(
        MethodResult result,
        Measure(config, out, method, Collect(samples), baseline));
    results.push_back(std::move(result));
  }
  ALIGN_ASSIGN_OR_RETURN(const std::string json, ResultsJson(results));
  ALIGN_RETURN_IF_ERROR(WriteFileAtomically(out + "/results.json", json));
  ALIGN_RETURN_IF_ERROR(
      WriteFileAtomically(out + "/results.md", RenderMarkdownTable(results)));
  ALIGN_RETURN_IF_ERROR(WriteSamples(config, out, methods));
  if (options.print) {
    options.print(RenderTable(results));
    options.print("results: " + out + "/results.json, " + out +
                  "/results.md, " + out + "/samples.md");
  }
  return absl::OkStatus();
}

bool IsDone(const std::string& out, const CompareStage& stage) {
  const auto record = ReadStageRecord(out, stage.name);
  return record.ok() && record->key() == stage.key;
}

// Runs the stages that have no valid output, each after what it needs.
class StageQueue {
 public:
  StageQueue(const pb::CompareConfig& config, const std::string& out,
             const std::vector<CompareStage>& stages,
             const CompareOptions& options)
      : config_(config), out_(out), stages_(stages), options_(options) {
    ALIGN_CHECK(options.jobs == 1 || options.run_stage)
        << "[RunCompare] stages side by side are processes";
  }

  absl::Status Run() {
    std::vector<std::jthread> threads;  // joined after the lock is released
    std::unique_lock lock(mutex_);
    while (true) {
      if (status_.ok() && options_.stop && options_.stop()) {
        status_ = Cancelled("stopped");
      }
      const int next = status_.ok() && running_ < options_.jobs ? Next() : -1;
      if (next >= 0) {
        Start(next, lock, threads);
      } else if (running_ > 0) {
        ended_.wait(lock);
      } else {
        return status_;
      }
    }
  }

 private:
  enum class State { kWaiting, kRunning, kDone };

  // The first stage that can run now, or -1.
  int Next() const {
    const auto done = [&](const std::string& need) {
      const auto found = std::ranges::find(stages_, need, &CompareStage::name);
      return found == stages_.end() ||
             states_[found - stages_.begin()] == State::kDone;
    };
    for (size_t i = 0; i < stages_.size(); ++i) {
      if (states_[i] == State::kWaiting &&
          std::ranges::all_of(stages_[i].needs, done)) {
        return static_cast<int>(i);
      }
    }
    return -1;
  }

  // With one job the stage runs here, to its end.
  void Start(int index, std::unique_lock<std::mutex>& lock,
             std::vector<std::jthread>& threads) {
    const CompareStage& stage = stages_[index];
    const std::string title = "[" + std::to_string(index + 1) + "/" +
                              std::to_string(stages_.size()) + "] " +
                              stage.name;
    if (IsDone(out_, stage)) {
      if (options_.print) options_.print(title + ": kept from an earlier run");
      states_[index] = State::kDone;
      return;
    }
    if (options_.print) options_.print(title);
    std::filesystem::remove_all(StageDirectory(out_, stage.name));
    states_[index] = State::kRunning;
    ++running_;
    if (options_.jobs > 1) {
      threads.emplace_back([this, index] { Work(index); });
      return;
    }
    lock.unlock();
    Work(index);
    lock.lock();
  }

  void Work(int index) {
    const std::string& name = stages_[index].name;
    const absl::Status status =
        options_.run_stage
            ? options_.run_stage(name)
            : RunCompareStageByName(config_, out_, name, options_.stop);
    const std::scoped_lock lock(mutex_);
    states_[index] = State::kDone;
    --running_;
    status_.Update(status);  // the first error stays
    ended_.notify_one();
  }

  const pb::CompareConfig& config_;
  const std::string& out_;
  const std::vector<CompareStage>& stages_;
  const CompareOptions& options_;
  std::mutex mutex_;  // of all below
  std::condition_variable ended_;
  std::vector<State> states_ = std::vector<State>(stages_.size());
  int64_t running_ = 0;
  absl::Status status_;
};

}  // namespace

absl::Status RunCompareStageByName(const pb::CompareConfig& config,
                                   const std::string& out,
                                   const std::string& name,
                                   const std::function<bool()>& stop) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<CompareStage> stages,
                         PlanCompare(config));
  const auto stage = std::ranges::find(stages, name, &CompareStage::name);
  if (stage == stages.end()) return InvalidArgument("no stage " + name);
  ALIGN_ASSIGN_OR_RETURN(const std::unique_ptr<CompareContext> context,
                         CompareContext::Create(config, out, name, stop));
  return RunCompareStage(*context, stage->key);
}

absl::Status RunCompare(const pb::CompareConfig& config, const std::string& out,
                        const CompareOptions& options) {
  ALIGN_ASSIGN_OR_RETURN(const std::vector<CompareStage> stages,
                         PlanCompare(config));
  ALIGN_RETURN_IF_ERROR(MakeDirectories(out));
  ALIGN_RETURN_IF_ERROR(
      WriteFileAtomically(out + "/config.textproto", ConfigText(config)));
  ALIGN_ASSIGN_OR_RETURN(const Precision precision, ComparePrecision(config));
  for (const std::string& note : PrecisionNotes(precision)) LogWarning(note);
  ALIGN_RETURN_IF_ERROR(StageQueue(config, out, stages, options).Run());
  return Report(config, out, stages, options);
}

}  // namespace align
