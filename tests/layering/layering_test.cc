// Every #include under align/, losses/ and samplers/ against the table of
// layers: a folder is a layer, and includes only what stands below it.

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace align {
namespace {

using Layers = std::set<std::string>;

// Which of our folders each layer may include besides itself.
const std::map<std::string, Layers>& Table() {
  static const auto& table = *new std::map<std::string, Layers>([] {
    const Layers below_train = {"base",  "dnnl",   "tensor",  "kernels", "ops",
                                "nn",    "models", "text",    "data",    "dist",
                                "proto", "losses", "samplers"};
    Layers with_train = below_train;
    with_train.insert("train");
    Layers all = with_train;
    all.insert({"eval", "report"});
    Layers cli = all;
    cli.insert("config");
    return std::map<std::string, Layers>{
        {"base", {}},
        {"dist", {"base"}},
        {"text", {"base", "proto"}},  // proto: SentencePiece's model file
        {"dnnl", {"base"}},
        {"tensor", {"base"}},
        {"kernels", {"base", "dnnl"}},
        {"ops", {"base", "tensor", "kernels", "dnnl"}},
        {"nn", {"base", "tensor", "ops"}},
        {"models", {"base", "tensor", "ops", "nn", "proto"}},
        {"data", {"base", "tensor", "ops", "text", "proto"}},
        {"losses", {}},
        {"samplers", {"base", "tensor", "ops", "nn", "models", "text"}},
        {"train", below_train},
        {"eval", with_train},
        {"report", with_train},
        {"config", all},
        {"cli", cli}};
  }());
  return table;
}

// Headers of others that only some files may include.
struct Restricted {
  std::string prefix;
  bool headers_only;  // a .cc may
  std::vector<std::string> allowed_under;
};

const std::vector<Restricted>& RestrictedHeaders() {
  static const auto& list =
      *new std::vector<Restricted>{{"oneapi/dnnl", false, {"align/dnnl/"}},
                                   {"dnnl", false, {"align/dnnl/"}},
                                   {"Eigen", true, {"losses/"}},
                                   {"unsupported/Eigen", true, {"losses/"}},
                                   {"omp.h", false, {"align/base/threads.cc"}},
                                   {"mpi.h", false, {"align/dist/"}}};
  return list;
}

// The layer of a path from the project's root, "" for what is not ours.
std::string LayerOf(const std::string& path) {
  const size_t slash = path.find('/');
  const std::string first = path.substr(0, slash);
  if (first == "losses" || first == "samplers" || first == "proto") {
    return first;
  }
  if (first != "align" || slash == std::string::npos) return "";
  const size_t next = path.find('/', slash + 1);
  if (next == std::string::npos) return "";
  return path.substr(slash + 1, next - slash - 1);
}

// What `line` includes, "" if it is not an #include.
std::string Included(const std::string& line) {
  size_t at = line.find_first_not_of(" \t");
  if (at == std::string::npos || line[at] != '#') return "";
  at = line.find_first_not_of(" \t", at + 1);
  if (at == std::string::npos || line.compare(at, 7, "include") != 0) return "";
  const size_t open = line.find_first_of("<\"", at + 7);
  if (open == std::string::npos) return "";
  const size_t close = line.find_first_of(">\"", open + 1);
  return line.substr(open + 1, close - open - 1);
}

// Why the file `path` may not include `header`, "" if it may.
std::string Refusal(const std::string& path, const std::string& header) {
  const bool is_header = path.ends_with(".h");
  for (const Restricted& rule : RestrictedHeaders()) {
    if (!header.starts_with(rule.prefix)) continue;
    if (rule.headers_only && !is_header) continue;
    const bool allowed = std::any_of(
        rule.allowed_under.begin(), rule.allowed_under.end(),
        [&](const std::string& place) { return path.starts_with(place); });
    if (!allowed) return "only " + rule.allowed_under[0] + " may";
    return "";
  }
  const std::string from = LayerOf(path), to = LayerOf(header);
  const auto row = Table().find(from);
  if (row == Table().end()) return "'" + from + "' is not a layer";
  if (to.empty()) {
    const bool ours =
        header.starts_with("align/") || header.starts_with("tests/") ||
        header.starts_with("examples/") || header.starts_with("bench/");
    return ours ? "no layer has it" : "";
  }
  if (to == from || row->second.contains(to)) return "";
  return "layer " + from + " does not stand above " + to;
}

// One line a violation: "file:line: includes X: why not".
std::vector<std::string> Violations(const std::string& path,
                                    std::istream& text) {
  std::vector<std::string> found;
  std::string line;
  for (int number = 1; std::getline(text, line); ++number) {
    const std::string header = Included(line);
    if (header.empty()) continue;
    const std::string why = Refusal(path, header);
    if (why.empty()) continue;
    found.push_back(path + ":" + std::to_string(number) + ": includes " +
                    header + ": " + why);
  }
  return found;
}

std::vector<std::string> Violations(const std::string& path,
                                    const std::string& text) {
  std::istringstream stream(text);
  return Violations(path, stream);
}

std::vector<std::string> Sources() {
  const std::filesystem::path root = ALIGN_SOURCE_DIR;
  std::vector<std::string> paths;
  for (const char* folder : {"align", "losses", "samplers"}) {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension();
      if (extension == ".h" || extension == ".cc") {
        paths.push_back(entry.path().lexically_relative(root).string());
      }
    }
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

TEST(Layering, EveryIncludeOfTheTreeFollowsTheTable) {
  const std::vector<std::string> sources = Sources();
  ASSERT_GT(sources.size(), 50u);
  std::string report;
  for (const std::string& path : sources) {
    std::ifstream file(std::filesystem::path(ALIGN_SOURCE_DIR) / path);
    ASSERT_TRUE(file.good()) << path;
    for (const std::string& line : Violations(path, file))
      report += line + '\n';
  }
  EXPECT_EQ(report, "");
}

TEST(Layering, NamesFileAndLineOfAnIncludeFromAbove) {
  EXPECT_THAT(
      Violations("align/ops/a.cc", std::string("// first\n"
                                               "#include \"align/ops/a.h\"\n"
                                               "#include \"align/nn/b.h\"\n")),
      testing::ElementsAre(
          "align/ops/a.cc:3: includes align/nn/b.h: layer ops does not stand "
          "above nn"));
}

TEST(Layering, LossesIncludeNothingOfOurs) {
  for (const char* header :
       {"align/base/status.h", "samplers/generate.h", "proto/config.pb.h"}) {
    EXPECT_NE(Refusal("losses/a.h", header), "") << header;
  }
  EXPECT_EQ(Refusal("losses/a.h", "losses/pair.h"), "");
}

TEST(Layering, ForeignHeadersHaveTheirPlace) {
  EXPECT_NE(Refusal("align/kernels/a.cc", "oneapi/dnnl/dnnl.hpp"), "");
  EXPECT_NE(Refusal("align/kernels/a.cc", "dnnl.hpp"), "");
  EXPECT_EQ(Refusal("align/dnnl/a.cc", "oneapi/dnnl/dnnl.hpp"), "");
  EXPECT_NE(Refusal("align/train/a.h", "Eigen/Core"), "");
  EXPECT_EQ(Refusal("align/train/a.cc", "Eigen/Core"), "");
  EXPECT_EQ(Refusal("losses/a.h", "unsupported/Eigen/AutoDiff"), "");
  EXPECT_NE(Refusal("align/kernels/a.cc", "omp.h"), "");
  EXPECT_EQ(Refusal("align/base/threads.cc", "omp.h"), "");
  EXPECT_NE(Refusal("align/train/a.cc", "mpi.h"), "");
  EXPECT_EQ(Refusal("align/dist/a.cc", "mpi.h"), "");
}

TEST(Layering, ProductCodeDoesNotIncludeTestsExamplesOrUnknownFolders) {
  EXPECT_NE(Refusal("align/train/a.cc", "tests/support/oracle.h"), "");
  EXPECT_NE(Refusal("align/cli/a.cc", "bench/a.h"), "");
  EXPECT_NE(Refusal("align/cli/a.cc", "align/loose.h"), "");
  EXPECT_NE(Refusal("align/utils/a.cc", "align/base/status.h"), "");
}

TEST(Layering, AnyLegalSpellingOfAnIncludeIsSeen) {
  EXPECT_EQ(Included("#include \"a/b.h\"  // why"), "a/b.h");
  EXPECT_EQ(Included("  #  include <a/b.h>"), "a/b.h");
  EXPECT_EQ(Included("// #include <a/b.h>"), "");
  EXPECT_EQ(Included("#if defined(x)"), "");
}

}  // namespace
}  // namespace align
