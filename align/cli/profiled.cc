#include "align/cli/profiled.h"

#include <cstdio>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

#include "align/base/files.h"
#include "align/base/profile.h"
#include "align/dnnl/machine_rates.h"

namespace align::cli {
namespace {

// A file that stands beside `path` until the run is over.
absl::StatusOr<AtomicFile> OpenTrace(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) {
    return InvalidArgument("--trace " + path +
                           ": is a directory; expected a file");
  }
  absl::StatusOr<AtomicFile> file = AtomicFile::Create(path);
  if (!file.ok()) return Annotate(file.status(), "--trace");
  return file;
}

}  // namespace

absl::Status RunProfiled(const Arguments& arguments, Precision precision,
                         const std::function<absl::Status()>& job) {
  const bool table = arguments.Has("profile"), traced = arguments.Has("trace");
  if (!table && !traced) return job();
  std::optional<AtomicFile> trace;
  if (traced) {
    ALIGN_ASSIGN_OR_RETURN(trace, OpenTrace(arguments.Get("trace", "")));
  }
  Profile profile(/*keep_events=*/traced);
  absl::Status status;
  {
    const ProfileRun run(profile);
    status = job();
  }
  if (!status.ok() && !absl::IsCancelled(status)) return status;
  if (table) {
    std::printf("%s\n", profile.Table(MeasureBestRates(precision)).c_str());
    std::fflush(stdout);
  }
  if (trace) {
    ALIGN_RETURN_IF_ERROR(trace->Write(profile.ChromeTrace()));
    ALIGN_RETURN_IF_ERROR(trace->Commit());
  }
  return status;
}

}  // namespace align::cli
