#include "align/train/metrics.h"

#include <chrono>
#include <cstdio>
#include <fstream>
#include <memory>
#include <string_view>
#include <utility>

#include "align/base/files.h"
#include "align/base/json_writer.h"

namespace align::train {
namespace {

// The step of a metrics line, which starts {"step":N or {"step": N; -1 for
// anything else, as the torn last line of a run that was killed.
int64_t StepOfLine(std::string_view line) {
  constexpr std::string_view kStart = "{\"step\":";
  if (!line.starts_with(kStart) || !line.ends_with('}')) return -1;
  line.remove_prefix(kStart.size());
  if (line.starts_with(' ')) line.remove_prefix(1);
  int64_t step = 0;
  size_t digits = 0;
  for (; digits < line.size() && digits < 18; ++digits) {
    if (line[digits] < '0' || line[digits] > '9') break;
    step = step * 10 + (line[digits] - '0');
  }
  return digits > 0 ? step : -1;
}

// Keeps the whole lines of steps up to `last_step`.
absl::Status TruncateAfterStep(const std::string& path, int64_t last_step) {
  if (!FileExists(path)) return absl::OkStatus();
  ALIGN_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::string kept;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    const std::string_view line(text.data() + begin, end - begin);
    const int64_t step = StepOfLine(line);
    if (step >= 0 && step <= last_step) kept += std::string(line) + "\n";
    begin = end + 1;
  }
  return kept.size() == text.size() ? absl::OkStatus()
                                    : WriteFileAtomically(path, kept);
}

std::string Short(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

std::string ProgressLine(const ProgressOptions& options,
                         const StepReport& report, double steps_per_second) {
  std::string line = options.title.empty() ? "" : options.title + " ";
  line += std::to_string(report.step);
  if (options.max_steps > 0) {
    line.append("/").append(std::to_string(options.max_steps));
  }
  line += "  loss " + Short(report.loss);
  // The figures that tell whether a method works, of those that it reports.
  for (const char* name :
       {"rewards/accuracies", "rewards/margins", "accuracy", "margin",
        "mean_token_accuracy", "reward", "objective/scores", "objective/kl"}) {
    const auto found = report.metrics.find(name);
    if (found != report.metrics.end()) {
      line += std::string("  ") + name + " " + Short(found->second);
    }
  }
  line += "  grad_norm " + Short(report.grad_norm) + "  " +
          Short(steps_per_second) + " steps/s";
  if (options.max_steps > report.step && steps_per_second > 0) {
    const auto left = static_cast<double>(options.max_steps - report.step);
    line += "  " + Short(left / steps_per_second) + " s left";
  }
  return report.skipped ? line + "  SKIPPED: not finite" : line;
}

}  // namespace

absl::StatusOr<std::string> MetricsLine(const StepReport& report,
                                        double epoch) {
  JsonWriter json({.indent = 0});
  json.BeginObject();
  json.Field("step", report.step);
  if (epoch >= 0) json.Field("epoch", epoch);
  json.Field("loss", report.loss);
  json.Field("grad_norm", report.grad_norm);
  json.Field("learning_rate", report.learning_rate);
  json.Field("step_time", report.seconds);
  if (report.skipped) json.Field("skipped", true);
  for (const auto& [name, value] : report.metrics) json.Field(name, value);
  json.EndObject();
  return std::move(json).Finish();
}

absl::StatusOr<Observer> MetricsFileObserver(const std::string& path,
                                             int64_t first_step,
                                             MetricsFileOptions options) {
  ALIGN_RETURN_IF_ERROR(TruncateAfterStep(path, first_step));
  auto file = std::make_shared<std::ofstream>(path, std::ios::app);
  if (!*file) {
    return InvalidArgument(path + ": cannot be opened for writing");
  }
  return Observer(
      [file, path, options = std::move(options)](
          const StepReport& report) -> absl::StatusOr<ObserverResult> {
        if (options.every_steps > 1 && report.step % options.every_steps != 0 &&
            !report.skipped) {
          return ObserverResult{};
        }
        ALIGN_ASSIGN_OR_RETURN(
            const std::string line,
            MetricsLine(report, options.epoch ? options.epoch() : -1));
        *file << line << "\n" << std::flush;
        if (!*file) return ResourceExhausted(path + ": cannot be written");
        return ObserverResult{};
      });
}

Observer ProgressObserver(ProgressOptions options,
                          std::function<void(const std::string&)> print) {
  struct State {
    double since_line = 0;  // seconds
    int64_t steps_since_line = 0;
    bool first = true;
  };
  return
      [options = std::move(options), print = std::move(print), state = State()](
          const StepReport& report) mutable -> absl::StatusOr<ObserverResult> {
        state.since_line += report.seconds;
        ++state.steps_since_line;
        const bool last = report.step == options.max_steps;
        const bool enough_steps = options.every_steps > 0 &&
                                  state.steps_since_line >= options.every_steps;
        if (state.first || last || enough_steps || report.skipped ||
            state.since_line >= options.seconds_between) {
          const double rate =
              state.since_line > 0
                  ? static_cast<double>(state.steps_since_line) /
                        state.since_line
                  : 0;
          print(ProgressLine(options, report, rate));
          state = {.first = false};
        }
        return ObserverResult{};
      };
}

}  // namespace align::train
