#include "align/report/event_observer.h"

#include <memory>
#include <utility>
#include <vector>

namespace align {

absl::StatusOr<train::Observer> EventFileObserver(
    const std::string& directory, const EventFileOptions& options,
    std::function<double()> clock) {
  ALIGN_ASSIGN_OR_RETURN(EventFile created,
                         EventFile::Create(directory, options));
  const auto file = std::make_shared<EventFile>(std::move(created));
  return train::Observer(
      [file, clock = std::move(clock)](const train::StepReport& report)
          -> absl::StatusOr<train::ObserverResult> {
        std::vector<std::pair<std::string, double>> scalars;
        if (!report.skipped) {
          scalars.emplace_back("train/loss", report.loss);
          scalars.emplace_back("train/grad_norm", report.grad_norm);
        }
        scalars.emplace_back("train/learning_rate", report.learning_rate);
        for (const auto& [name, value] : report.metrics) {
          scalars.emplace_back("train/" + name, value);
        }
        ALIGN_RETURN_IF_ERROR(file->AddScalars(report.step, clock(), scalars));
        return train::ObserverResult();
      });
}

}  // namespace align
