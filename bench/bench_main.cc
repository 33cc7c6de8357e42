#include "bench/bench_main.h"

#include <cstdio>
#include <string_view>
#include <vector>

#include "align/base/threads.h"
#include "align/dnnl/matmul.h"

namespace align::bench {

int RunModelBenchmarks(int argc, char** argv,
                       absl::Status (*add)(const std::string& model),
                       absl::Status (*profile)(const std::string& model)) {
  constexpr std::string_view kFlag = "--model=";
  std::string model = "small";
  bool profiled = false;
  std::vector<char*> others;
  for (int i = 0; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--model" && i + 1 < argc) {
      model = argv[++i];
    } else if (word.starts_with(kFlag)) {
      model = word.substr(kFlag.size());
    } else if (profile != nullptr && word == "--profile") {
      profiled = true;
    } else {
      others.push_back(argv[i]);
    }
  }
  int count = static_cast<int>(others.size());
  benchmark::Initialize(&count, others.data());
  if (benchmark::ReportUnrecognizedArguments(count, others.data())) return 2;
  const absl::Status status = profiled ? profile(model) : add(model);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", Message(status).c_str());
    return 2;
  }
  if (profiled) return 0;
  benchmark::AddCustomContext("model", model);
  benchmark::AddCustomContext("matmul", DescribeMatmul());
  benchmark::AddCustomContext("threads", std::to_string(Threads()));
  const size_t ran = benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return ran > 0 ? 0 : 1;
}

benchmark::Counter Rate(double per_iteration) {
  return {per_iteration, benchmark::Counter::kIsIterationInvariantRate};
}

}  // namespace align::bench
