#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "align/base/status.h"

namespace align::oracle {

// Values agree when they differ by at most absolute + relative * |wanted|.
// Two NaNs agree, as do equal infinities.
struct Tolerance {
  double absolute = 0;
  double relative = 0;
};

// Double arithmetic against double arithmetic: a few dozen roundings.
constexpr Tolerance kDouble = {.absolute = 1e-12, .relative = 1e-12};
// The f32 operation against double.
constexpr Tolerance kFloat = {.absolute = 1e-5, .relative = 1e-5};

// What one case found.
class Case {
 public:
  void Near(const std::string& what, double got, double wanted,
            Tolerance tolerance);
  // The same for every element; lengths must agree too.
  void Near(const std::string& what, std::span<const double> got,
            std::span<const double> wanted, Tolerance tolerance);
  void Near(const std::string& what, const Eigen::ArrayXd& got,
            std::span<const double> wanted, Tolerance tolerance);
  void True(const std::string& what, bool holds);

  int64_t checks() const { return checks_; }
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  int64_t checks_ = 0;
  std::vector<std::string> failures_;
};

// Counts cases and prints failures as they happen, and a line a file.
class Reporter {
 public:
  void BeginFile(const std::string& name);
  // Runs one case along `path` ("double", "f32 fused"). It fails when a check
  // does, when nothing was checked, or on an error or exception of `body`; it
  // is skipped, with the message as reason, on kUnimplemented.
  void Run(const std::string& path, const std::string& name,
           const std::function<absl::Status(Case&)>& body);
  void Skip(const std::string& reason, int64_t cases = 1);
  // A file that could not be used at all.
  void Fail(const std::string& name, const std::string& why);
  // Prints the file's line, unless nothing was run or skipped.
  void EndFile();

  // Prints the reasons of skips and the totals; false if a case failed.
  bool Finish() const;

 private:
  struct Counts {
    int64_t passed = 0, failed = 0, skipped = 0;
  };
  std::string file_;
  Counts counts_, total_;
  std::map<std::string, int64_t> paths_;
  std::map<std::string, int64_t> skip_reasons_;
};

}  // namespace align::oracle
