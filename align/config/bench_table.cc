// The results of `align bench` as a table and as JSON.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <utility>

#include "align/base/json_writer.h"
#include "align/config/bench_job.h"

namespace align::bench {
namespace {

struct Row {
  std::string key, title, format;  // key in the JSON
  std::function<double(const MethodCosts&)> value;
};

// The lines of the table and the keys of the JSON.
std::vector<Row> Rows() {
  const auto per_update = [](auto field) {
    return [field](const MethodCosts& m) {
      return static_cast<double>(m.cost.*field) /
             static_cast<double>(m.cost.updates);
    };
  };
  const auto to_goal = [](auto value) {
    return [value](const MethodCosts& m) {
      return m.goal.reached ? static_cast<double>(value(m))
                            : std::numeric_limits<double>::infinity();
    };
  };
  return {
      {"models_held", "models held", "%.0f",
       [](const MethodCosts& m) { return static_cast<double>(m.models_held); }},
      {"update_seconds", "an update: seconds", "%.3f",
       per_update(&StageResult::seconds)},
      {"update_tokens_sampled", "  tokens sampled", "%.0f",
       per_update(&StageResult::tokens_sampled)},
      {"update_tokens_trained", "  tokens trained", "%.0f",
       per_update(&StageResult::tokens_trained)},
      {"update_peak_rss_mb", "  peak memory, MB", "%.0f",
       [](const MethodCosts& m) { return m.cost.peak_rss_mb; }},
      {"goal_updates", "to the goal: updates", "%.0f",
       to_goal([](const MethodCosts& m) { return m.goal.updates; })},
      {"goal_seconds_own", "  seconds, own", "%.1f",
       to_goal([](const MethodCosts& m) { return m.goal.seconds; })},
      {"goal_seconds", "  seconds, in all", "%.1f",
       to_goal([](const MethodCosts& m) {
         return m.goal.seconds + m.before.seconds;
       })},
      {"goal_tokens_sampled", "  tokens sampled, in all", "%.0f",
       to_goal([](const MethodCosts& m) {
         return m.goal.tokens_sampled + m.before.tokens_sampled;
       })},
      {"goal_tokens_trained", "  tokens trained, in all", "%.0f",
       to_goal([](const MethodCosts& m) {
         return m.goal.tokens_trained + m.before.tokens_trained;
       })},
      {"gold", "at the end: gold reward", "%.3f",
       [](const MethodCosts& m) { return m.goal.gold; }},
      {"kl", "  KL to the start, nats", "%.2f",
       [](const MethodCosts& m) { return m.goal.kl; }}};
}

std::vector<double> Values(const std::vector<SeedCosts>& seeds, size_t method,
                           const Row& row) {
  std::vector<double> values;
  for (const SeedCosts& seed : seeds) {
    values.push_back(row.value(seed.methods[method]));
  }
  return values;
}

int64_t Reached(const std::vector<SeedCosts>& seeds, size_t method) {
  return std::ranges::count_if(seeds, [&](const SeedCosts& seed) {
    return seed.methods[method].goal.reached;
  });
}

std::string Number(double value, const std::string& format) {
  if (std::isinf(value)) return "not reached";
  char text[32];
  std::snprintf(text, sizeof text, format.c_str(), value);
  return text;
}

std::string Cell(const std::vector<double>& values, const std::string& format) {
  const Spread spread = SpreadOf(values);
  std::string text = Number(spread.median, format);
  const std::string low = Number(spread.low, format);
  const std::string high = Number(spread.high, format);
  if (low != high) text += " (" + low + " to " + high + ")";
  return text;
}

std::string GoldLine(const std::vector<SeedCosts>& seeds) {
  std::vector<double> starts, goals;
  for (const SeedCosts& seed : seeds) {
    starts.push_back(seed.start);
    goals.push_back(seed.goal);
  }
  return "gold reward: start " + Cell(starts, "%.3f") + ", goal " +
         Cell(goals, "%.3f") + "\n";
}

}  // namespace

Spread SpreadOf(std::vector<double> values) {
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1
                            ? values[middle]
                            : (values[middle - 1] + values[middle]) / 2;
  return {.median = median, .low = values.front(), .high = values.back()};
}

std::string RenderBench(const std::vector<SeedCosts>& seeds) {
  std::vector<std::array<std::string, 1 + kMethods.size()>> lines;
  lines.push_back({"", kMethods[0], kMethods[1]});
  const std::string of = " of " + std::to_string(seeds.size());
  for (const Row& row : Rows()) {
    lines.push_back({row.title, Cell(Values(seeds, 0, row), row.format),
                     Cell(Values(seeds, 1, row), row.format)});
    if (row.key != "update_peak_rss_mb" || seeds.size() == 1) continue;
    lines.push_back({"goal reached, seeds",
                     std::to_string(Reached(seeds, 0)) + of,
                     std::to_string(Reached(seeds, 1)) + of});
  }
  size_t width = 0;
  for (const auto& line : lines) {
    width = std::max({width, line[1].size(), line[2].size()});
  }
  constexpr size_t kTitleWidth = 26;
  std::string text = GoldLine(seeds) + "\n";
  for (const auto& [title, dpo, ppo] : lines) {
    text += title + std::string(kTitleWidth - title.size(), ' ');
    for (const std::string& cell : {dpo, ppo}) {
      text += std::string(width + 2 - cell.size(), ' ') + cell;
    }
    text += "\n";
  }
  if (seeds.size() > 1) {
    text += "\nMedians over " + std::to_string(seeds.size()) +
            " seeds, with the least and the most.";
  }
  return text +
         "\n'in all' counts what comes before: for DPO the pairs, if they are "
         "sampled, for\nPPO these and the reward model. Time is without "
         "loading models and looking at\nthe gold reward.\n";
}

absl::StatusOr<std::string> BenchJson(const std::vector<SeedCosts>& seeds) {
  JsonWriter json;
  json.BeginObject();
  json.Key("seeds");
  json.BeginArray();
  for (const SeedCosts& seed : seeds) {
    json.BeginObject();
    json.Field("seed", seed.seed);
    json.Field("gold_start", seed.start);
    json.Field("gold_goal", seed.goal);
    json.EndObject();
  }
  json.EndArray();
  json.Key("methods");
  json.BeginArray();
  for (size_t i = 0; i < kMethods.size(); ++i) {
    json.BeginObject();
    json.Field("method", kMethods[i]);
    json.Field("reached", Reached(seeds, i));
    for (const Row& row : Rows()) {
      const std::vector<double> values = Values(seeds, i, row);
      const Spread spread = SpreadOf(values);
      json.Key(row.key);
      json.BeginObject();
      json.Field("median", spread.median);
      json.Field("min", spread.low);
      json.Field("max", spread.high);
      json.Field("values", values);
      json.EndObject();
    }
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return std::move(json).Finish();
}

}  // namespace align::bench
