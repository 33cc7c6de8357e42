#include "tests/oracle/reporter.h"

#include <cmath>
#include <cstdio>
#include <exception>

namespace align::oracle {
namespace {

constexpr size_t kMaxPrinted = 4;  // failures of one case

bool Agree(double got, double wanted, Tolerance tolerance) {
  if (std::isnan(wanted)) return std::isnan(got);
  if (std::isinf(wanted)) return got == wanted;
  return std::abs(got - wanted) <=
         tolerance.absolute + tolerance.relative * std::abs(wanted);
}

}  // namespace

void Case::Near(const std::string& what, double got, double wanted,
                Tolerance tolerance) {
  ++checks_;
  if (Agree(got, wanted, tolerance)) return;
  char text[160];
  std::snprintf(text, sizeof(text), ": %.17g, wanted %.17g (off by %.3g)", got,
                wanted, std::abs(got - wanted));
  failures_.push_back(what + text);
}

void Case::Near(const std::string& what, std::span<const double> got,
                std::span<const double> wanted, Tolerance tolerance) {
  if (got.size() != wanted.size()) {
    failures_.push_back(what + ": " + std::to_string(got.size()) +
                        " values, wanted " + std::to_string(wanted.size()));
    return;
  }
  for (size_t i = 0; i < got.size(); ++i) {
    Near(what + "[" + std::to_string(i) + "]", got[i], wanted[i], tolerance);
  }
}

void Case::Near(const std::string& what, const Eigen::ArrayXd& got,
                std::span<const double> wanted, Tolerance tolerance) {
  Near(what, std::span(got.data(), static_cast<size_t>(got.size())), wanted,
       tolerance);
}

void Case::True(const std::string& what, bool holds) {
  ++checks_;
  if (!holds) failures_.push_back(what + " does not hold");
}

void Reporter::BeginFile(const std::string& name) {
  file_ = name;
  counts_ = {};
  paths_.clear();
}

void Reporter::Run(const std::string& path, const std::string& name,
                   const std::function<absl::Status(Case&)>& body) {
  Case result;
  std::vector<std::string> failures;
  try {
    const absl::Status status = body(result);
    if (status.code() == absl::StatusCode::kUnimplemented) {
      Skip(Message(status));
      return;
    }
    if (!status.ok()) failures.push_back(status.ToString());
  } catch (const std::exception& error) {
    failures.push_back(std::string("the file: ") + error.what());
  }
  failures.insert(failures.end(), result.failures().begin(),
                  result.failures().end());
  if (failures.empty() && result.checks() == 0) {
    failures.push_back("nothing was checked");
  }
  ++paths_[path];
  if (failures.empty()) {
    ++counts_.passed;
    return;
  }
  ++counts_.failed;
  std::printf("FAILED %s, %s [%s]\n", file_.c_str(), name.c_str(),
              path.c_str());
  for (size_t i = 0; i < failures.size() && i < kMaxPrinted; ++i) {
    std::printf("  %s\n", failures[i].c_str());
  }
  if (failures.size() > kMaxPrinted) {
    std::printf("  and %zu more\n", failures.size() - kMaxPrinted);
  }
}

void Reporter::Skip(const std::string& reason, int64_t cases) {
  counts_.skipped += cases;
  skip_reasons_[reason] += cases;
}

void Reporter::Fail(const std::string& name, const std::string& why) {
  ++counts_.failed;
  std::printf("FAILED %s\n  %s\n", name.c_str(), why.c_str());
}

void Reporter::EndFile() {
  total_.passed += counts_.passed;
  total_.failed += counts_.failed;
  total_.skipped += counts_.skipped;
  if (counts_.passed + counts_.failed + counts_.skipped == 0) return;
  std::string paths;
  for (const auto& [path, count] : paths_) {
    paths += (paths.empty() ? " [" : ", ") + path + " " + std::to_string(count);
  }
  if (!paths.empty()) paths += "]";
  std::printf("%s: %ld passed, %ld failed, %ld skipped%s\n", file_.c_str(),
              static_cast<long>(counts_.passed),
              static_cast<long>(counts_.failed),
              static_cast<long>(counts_.skipped), paths.c_str());
  std::fflush(stdout);
}

bool Reporter::Finish() const {
  for (const auto& [reason, count] : skip_reasons_) {
    std::printf("skipped %ld: %s\n", static_cast<long>(count), reason.c_str());
  }
  std::printf(
      "%ld passed, %ld failed, %ld skipped\n", static_cast<long>(total_.passed),
      static_cast<long>(total_.failed), static_cast<long>(total_.skipped));
  return total_.failed == 0;
}

}  // namespace align::oracle
