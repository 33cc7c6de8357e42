#include "align/base/profile.h"

#include <algorithm>
#include <cstdio>

#include "align/base/json_writer.h"

namespace align {
namespace {

// What this thread measures, like the tape's NoGrad a fact of the thread.
thread_local Profile* current_profile = nullptr;
thread_local ProfileScope* current_scope = nullptr;

std::string Name(const Profile::Key& key) {
  std::string name = key.phase.empty() ? "other" : key.phase;
  if (!key.op.empty()) name += "/" + key.op;
  return key.backward ? name + " backward" : name;
}

}  // namespace

double Profile::seconds() const {
  double total = 0;
  for (const auto& [key, entry] : entries_) total += entry.seconds;
  return total;
}

std::string Profile::Table() const {
  std::vector<std::pair<std::string, Entry>> rows;
  for (const auto& [key, entry] : entries_) rows.emplace_back(Name(key), entry);
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.second.seconds > b.second.seconds;
  });
  const double total = seconds();
  char line[160];
  std::snprintf(line, sizeof line, "%-40s %8s %10s %6s %9s %7s\n", "", "calls",
                "ms", "%", "GFLOP/s", "GB/s");
  std::string table = line;
  for (const auto& [name, entry] : rows) {
    const double s = std::max(entry.seconds, 1e-12);
    std::snprintf(line, sizeof line, "%-40s %8lld %10.1f %6.1f", name.c_str(),
                  static_cast<long long>(entry.calls), entry.seconds * 1e3,
                  100 * entry.seconds / std::max(total, 1e-12));
    table += line;
    std::snprintf(line, sizeof line, entry.flops > 0 ? " %9.1f" : " %9s",
                  entry.flops / s / 1e9);
    table += entry.flops > 0 ? line : "          ";
    std::snprintf(line, sizeof line, " %7.1f", entry.bytes / s / 1e9);
    table += entry.bytes > 0 ? line : "";
    table += "\n";
  }
  std::snprintf(line, sizeof line, "%-40s %8s %10.1f\n", "in all", "",
                total * 1e3);
  return table + line;
}

std::string Profile::ChromeTrace() const {
  JsonWriter json;
  json.BeginObject();
  json.Key("traceEvents");
  json.BeginArray();
  for (const Event& event : events_) {
    json.BeginObject();
    json.Field("name", Name(event.key));
    json.Field("cat", event.key.backward ? "backward" : "forward");
    json.Field("ph", "X");
    json.Field("pid", int64_t{1});
    json.Field("tid", int64_t{1});
    json.Field("ts", event.start_us);
    json.Field("dur", event.duration_us);
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  // Times are finite: nothing in it can fail.
  return *std::move(json).Finish();
}

ProfileRun::ProfileRun(Profile& profile) : before_(current_profile) {
  current_profile = &profile;
}
ProfileRun::~ProfileRun() { current_profile = before_; }

ProfileScope::ProfileScope(std::string_view phase, std::string_view op,
                           bool backward)
    : profile_(current_profile) {
  if (profile_ == nullptr) return;
  outer_ = current_scope;
  current_scope = this;
  phase_ = phase;
  op_ = op;
  backward_ = backward;
  start_ = Clock::now();
}

ProfileScope::ProfileScope(std::string_view op, double flops, double bytes)
    : ProfileScope(CurrentPhase(), op,
                   current_scope != nullptr && current_scope->backward_) {
  flops_ = flops;
  bytes_ = bytes;
}

ProfileScope ProfileScope::Phase(std::string_view phase) {
  return ProfileScope(phase, "", /*backward=*/false);
}

ProfileScope ProfileScope::Backward(std::string_view phase,
                                    std::string_view op) {
  return ProfileScope(phase, op, /*backward=*/true);
}

ProfileScope::~ProfileScope() {
  if (profile_ == nullptr) return;
  const Clock::time_point end = Clock::now();
  const double seconds = std::chrono::duration<double>(end - start_).count();
  current_scope = outer_;
  if (outer_ != nullptr) outer_->inner_seconds_ += seconds;
  const Profile::Key key{std::string(phase_), std::string(op_), backward_};
  Profile::Entry& entry = profile_->entries_[key];
  ++entry.calls;
  entry.seconds += seconds - inner_seconds_;
  entry.flops += flops_;
  entry.bytes += bytes_;
  if (!profile_->keep_events_) return;
  const auto microseconds = [](Clock::duration d) {
    return std::chrono::duration<double, std::micro>(d).count();
  };
  profile_->events_.push_back({key, microseconds(start_.time_since_epoch()),
                               microseconds(end - start_)});
}

void ProfileScope::AddWork(double flops, double bytes) {
  if (current_scope == nullptr) return;
  current_scope->flops_ += flops;
  current_scope->bytes_ += bytes;
}

std::string_view ProfileScope::CurrentPhase() {
  return current_scope == nullptr ? std::string_view() : current_scope->phase_;
}

}  // namespace align
