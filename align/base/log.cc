#include "align/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>
#include <utility>

namespace align {
namespace {

// spdlog's own registry is the one process-wide place for loggers; ours is
// looked up there by name, so no state is added to it.
std::shared_ptr<spdlog::logger> DefaultLogger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto made = std::make_shared<spdlog::logger>(
        "align", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    made->set_pattern("%T %^%v%$");
    made->flush_on(spdlog::level::info);
    return made;
  }();
  return logger;
}

LogSink& InstalledSink() {
  static LogSink sink;
  return sink;
}

spdlog::level::level_enum Level(LogLevel level) {
  switch (level) {
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

void SetLogSink(LogSink sink) { InstalledSink() = std::move(sink); }

void Log(LogLevel level, std::string_view line) {
  if (InstalledSink()) {
    InstalledSink()(level, std::string(line));
  } else {
    DefaultLogger()->log(Level(level), "{}", line);
  }
}

}  // namespace align
