#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace align {

enum class LogLevel { kInfo, kWarning, kError };

// Where log lines go; an embedding program replaces it. The default writes
// "HH:MM:SS text" to stderr through spdlog.
using LogSink = std::function<void(LogLevel, const std::string&)>;

// Replaces the sink; an empty function restores the default. Not for use while
// other threads log.
void SetLogSink(LogSink sink);

// One line, without a newline at its end. Library code never prints otherwise.
void Log(LogLevel level, std::string_view line);
inline void LogInfo(std::string_view line) { Log(LogLevel::kInfo, line); }
inline void LogWarning(std::string_view line) { Log(LogLevel::kWarning, line); }

}  // namespace align
