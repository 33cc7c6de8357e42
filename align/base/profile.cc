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

// Traces stay small enough for a browser.
constexpr size_t kMostEvents = 500000;

// A line of the table and what its work takes at the best rates, seconds.
struct Line {
  Profile::Entry entry;
  double floor = 0;

  void Add(const Profile::Entry& other, double other_floor) {
    entry.calls += other.calls;
    entry.seconds += other.seconds;
    entry.flops += other.flops;
    entry.bytes += other.bytes;
    floor += other_floor;
  }
};
using Lines = std::map<Profile::Key, Line>;

double FloorSeconds(const Profile::Entry& entry, const MachineRates& best) {
  const auto at = [](double work, double rate) {
    return rate > 0 ? work / rate : 0;
  };
  return std::max(at(entry.flops, best.flops_per_second),
                  at(entry.bytes, best.bytes_per_second));
}

std::string Number(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string Header(const char* title, bool floors) {
  char line[160];
  std::snprintf(line, sizeof line, "%-38s %8s %10s %6s %9s %8s %9s %7s%s\n",
                title, "calls", "ms", "%", "GFLOP", "GFLOP/s", "GB", "GB/s",
                floors ? " floor %" : "");
  return line;
}

void AppendLine(const std::string& name, const Line& line, double total,
                bool floors, std::string& table) {
  const Profile::Entry& entry = line.entry;
  // What other threads alone did has no time here, and no rate.
  const bool timed = entry.seconds > 0;
  const double s = timed ? entry.seconds : 1;
  const auto column = [&table](bool known, int width, int digits,
                               double value) {
    char text[64];
    std::snprintf(text, sizeof text, " %*.*f", width, digits, value);
    table += known ? std::string(text) : std::string(width + 1, ' ');
  };
  std::string title = name;
  title.resize(std::max<size_t>(title.size(), 38), ' ');
  table += title;
  column(entry.calls > 0, 8, 0, static_cast<double>(entry.calls));
  column(true, 10, 1, entry.seconds * 1e3);
  column(true, 6, 1, 100 * entry.seconds / std::max(total, 1e-12));
  column(entry.flops > 0, 9, 3, entry.flops / 1e9);
  column(timed && entry.flops > 0, 8, 1, entry.flops / s / 1e9);
  column(entry.bytes > 0, 9, 3, entry.bytes / 1e9);
  column(timed && entry.bytes > 0, 7, 1, entry.bytes / s / 1e9);
  column(timed && floors && line.floor > 0, 7, 1, 100 * line.floor / s);
  table.erase(table.find_last_not_of(' ') + 1);
  table += "\n";
}

void AppendLines(const Lines& lines, double total, bool floors,
                 std::string& table) {
  std::vector<std::pair<std::string, const Line*>> rows;
  for (const auto& [key, line] : lines) rows.emplace_back(Name(key), &line);
  std::stable_sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return a.second->entry.seconds > b.second->entry.seconds;
  });
  for (const auto& [name, line] : rows) {
    AppendLine(name, *line, total, floors, table);
  }
}

}  // namespace

double Profile::seconds() const {
  double total = 0;
  for (const auto& [key, entry] : entries_) total += entry.seconds;
  return total;
}

std::string Profile::Table(const MachineRates& best) const {
  Lines phases, operations;
  for (const auto& [key, entry] : entries_) {
    const double floor = FloorSeconds(entry, best);
    phases[{key.phase, "", key.backward}].Add(entry, floor);
    operations[key].Add(entry, floor);
  }
  const double total = seconds();
  const bool floors = best.flops_per_second > 0 || best.bytes_per_second > 0;
  std::string table = Header("by phase", floors);
  for (auto& [key, line] : phases) {
    line.entry.calls = 0;  // of operations of many kinds: says nothing
  }
  AppendLines(phases, total, floors, table);
  Line all;
  for (const auto& [key, line] : phases) all.Add(line.entry, line.floor);
  AppendLine("in all", all, total, floors, table);
  table += "\n" + Header("by operation", floors);
  AppendLines(operations, total, floors, table);
  if (!floors) return table;
  return table + "\nfloor: " + Number("%.0f", best.flops_per_second / 1e9) +
         " GFLOP/s, " + Number("%.1f", best.bytes_per_second / 1e9) + " GB/s\n";
}

std::string Profile::ChromeTrace() const {
  JsonWriter json;
  json.BeginObject();
  json.Key("traceEvents");
  json.BeginArray();
  for (const Event& event : events_) {
    json.BeginObject();
    json.Field("name", Name(*event.key));
    json.Field("cat", event.key->backward ? "backward" : "forward");
    json.Field("ph", "X");
    json.Field("pid", int64_t{1});
    json.Field("tid", int64_t{1});
    json.Field("ts", event.start_us);
    json.Field("dur", event.duration_us);
    json.EndObject();
  }
  json.EndArray();
  json.Key("otherData");
  json.BeginObject();
  json.Field("events_left_out", events_left_out_);
  json.EndObject();
  json.EndObject();
  // Times are finite: nothing in it can fail.
  return *std::move(json).Finish();
}

ProfileRun::ProfileRun(Profile& profile) : before_(current_profile) {
  current_profile = &profile;
}
ProfileRun::~ProfileRun() { current_profile = before_; }

ProfileScope::ProfileScope(std::string_view phase, std::string_view op,
                           bool backward, bool stage)
    : profile_(current_profile) {
  if (profile_ == nullptr) return;
  outer_ = current_scope;
  current_scope = this;
  const bool inside = outer_ != nullptr && outer_->stage_;
  phase_ = inside ? outer_->phase_ : phase;
  stage_ = inside || stage;
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

ProfileScope ProfileScope::Stage(std::string_view phase) {
  return ProfileScope(phase, "", /*backward=*/false, /*stage=*/true);
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
  const auto at =
      profile_->entries_
          .try_emplace({std::string(phase_), std::string(op_), backward_})
          .first;
  Profile::Entry& entry = at->second;
  ++entry.calls;
  entry.seconds += seconds - inner_seconds_;
  entry.flops += flops_;
  entry.bytes += bytes_;
  if (!profile_->keep_events_) return;
  if (profile_->events_.size() >= kMostEvents) {
    ++profile_->events_left_out_;
    return;
  }
  const auto microseconds = [](Clock::duration d) {
    return std::chrono::duration<double, std::micro>(d).count();
  };
  profile_->events_.push_back({&at->first,
                               microseconds(start_.time_since_epoch()),
                               microseconds(end - start_)});
}

void ProfileScope::AddWork(double flops, double bytes) {
  if (current_scope == nullptr) return;
  current_scope->flops_ += flops;
  current_scope->bytes_ += bytes;
}

void ProfileScope::AddFloats(int64_t count) {
  AddWork(0, static_cast<double>(count) * double{sizeof(float)});
}

std::string_view ProfileScope::CurrentPhase() {
  return current_scope == nullptr ? std::string_view() : current_scope->phase_;
}

ProfileThreads::ProfileThreads()
    : profile_(current_profile),
      phase_(ProfileScope::CurrentPhase()),
      stage_(current_scope != nullptr && current_scope->stage_) {}

ProfileThreads::~ProfileThreads() {
  for (const auto& [key, entry] : work_) {
    profile_->entries_[key].flops += entry.flops;
    profile_->entries_[key].bytes += entry.bytes;
  }
}

void ProfileThreads::Run(const std::function<void()>& body) {
  if (profile_ == nullptr || current_profile == profile_) return body();
  Profile own;
  {
    const ProfileRun run(own);
    const ProfileScope scope(phase_, "", /*backward=*/false, stage_);
    body();
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  for (const auto& [key, entry] : own.entries_) {
    work_[key].flops += entry.flops;
    work_[key].bytes += entry.bytes;
  }
}

}  // namespace align
