#include "bench/bench_main.h"

#include <cstdio>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/threads.h"
#include "align/dnnl/matmul.h"

namespace align::bench {

std::string TakeFlag(const std::string& name, std::string value,
                     std::vector<char*>& arguments) {
  const std::string flag = "--" + name, with_value = flag + "=";
  std::vector<char*> others;
  for (size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view word = arguments[i];
    if (word == flag && i + 1 < arguments.size()) {
      value = arguments[++i];
    } else if (word.starts_with(with_value)) {
      value = word.substr(with_value.size());
    } else {
      others.push_back(arguments[i]);
    }
  }
  arguments = std::move(others);
  return value;
}

int RunModelBenchmarks(std::vector<char*> arguments, const OnModel& add,
                       const OnModel& profile) {
  const std::string model = TakeFlag("model", "small", arguments);
  const auto is_profile = [&](std::string_view word) {
    return profile != nullptr && word == "--profile";
  };
  const bool profiled = std::erase_if(arguments, is_profile) > 0;
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
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
