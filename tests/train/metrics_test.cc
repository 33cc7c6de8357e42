#include "align/train/metrics.h"

#include <fstream>
#include <limits>

#include "align/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace align::train {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

StepReport Report(int64_t step) {
  StepReport report;
  report.step = step;
  report.loss = 0.5;
  report.grad_norm = 2;
  report.learning_rate = 1e-6;
  report.seconds = 1;
  report.metrics["rewards/margins"] = 0.25;
  return report;
}

TEST(MetricsLine, HoldsTrlNames) {
  const auto line = MetricsLine(Report(3), 0.5);
  ASSERT_TRUE(line.ok());
  for (const char* part :
       {"\"step\":", "\"epoch\":", "\"loss\":", "\"grad_norm\":",
        "\"learning_rate\":", "\"rewards/margins\":"}) {
    EXPECT_THAT(*line, HasSubstr(part));
  }
  EXPECT_EQ(line->find('\n'), std::string::npos);
}

TEST(MetricsLine, WritesNullForWhatIsNotFinite) {
  StepReport report = Report(3);
  report.loss = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(*MetricsLine(report), HasSubstr("null"));
}

TEST(MetricsFile, ResumingLeavesOneLineAStepAndDropsTornLines) {
  const std::string path = testing::TempDir() + "/metrics_resume.jsonl";
  std::remove(path.c_str());
  {
    auto observer = MetricsFileObserver(path, 0);
    ASSERT_TRUE(observer.ok());
    for (int64_t step : {1, 2, 3}) ASSERT_TRUE((*observer)(Report(step)).ok());
  }
  std::ofstream(path, std::ios::app) << "{\"step\":4,\"lo";
  auto observer = MetricsFileObserver(path, 2);
  ASSERT_TRUE(observer.ok());
  ASSERT_TRUE((*observer)(Report(3)).ok());
  const std::string line1 = *MetricsLine(Report(1)) + "\n";
  const std::string line2 = *MetricsLine(Report(2)) + "\n";
  const std::string line3 = *MetricsLine(Report(3)) + "\n";
  EXPECT_EQ(*ReadFile(path), line1 + line2 + line3);
}

TEST(MetricsFile, RefusesAPathThatCannotBeWritten) {
  EXPECT_EQ(MetricsFileObserver("/nonexistent/m.jsonl", 0).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Progress, PrintsTheFirstTheLastAndOneEverySoManySeconds) {
  std::vector<int64_t> printed;
  int64_t current = 0;
  const Observer observer = ProgressObserver(
      {.title = "dpo", .max_steps = 10, .seconds_between = 4},
      [&](const std::string& line) {
        EXPECT_THAT(line, HasSubstr("dpo " + std::to_string(current) + "/10"));
        printed.push_back(current);
      });
  for (current = 1; current <= 10; ++current) {
    ASSERT_TRUE(observer(Report(current)).ok());
  }
  EXPECT_THAT(printed, ElementsAre(1, 5, 9, 10));
}

}  // namespace
}  // namespace align::train
