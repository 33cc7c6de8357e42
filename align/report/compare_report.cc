#include "align/report/compare_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <set>
#include <string_view>
#include <utility>

#include "align/base/json_writer.h"

namespace align {
namespace {

struct Column {
  const char* name;
  const char* unit;
};
constexpr std::array<Column, 12> kColumns = {{{"method", ""},
                                              {"gold reward", "mean +-err"},
                                              {"win vs sft", "% [95 % int.]"},
                                              {"KL", "nats"},
                                              {"length", "tokens"},
                                              {"dist-2", "share"},
                                              {"time", "s"},
                                              {"own", "s"},
                                              {"sampled", "tokens"},
                                              {"trained", "tokens"},
                                              {"memory", "MB"},
                                              {"held", "models"}}};
using Row = std::array<std::string, kColumns.size()>;

constexpr char kLegend[] =
    "KL from sft: mean sampled log-ratio; <= marks the bound "
    "log n - (n-1)/n. dist-2: distinct bigrams.\n"
    "time, sampled and trained include the earlier stages a method needs; own "
    "leaves them out.\n";

// `value` with `decimals`, "-" when it is not known, fewer digits when large.
std::string Number(double value, int decimals) {
  if (std::isnan(value)) return "-";
  char text[32];
  const bool wide = std::abs(value) >= 99999.5;
  std::snprintf(text, sizeof text, wide ? "%.*g" : "%.*f", wide ? 3 : decimals,
                value);
  return text;
}

// 9999, 12k, 1.2M, 3.4G: at most 6 characters below 10^12.
std::string Count(int64_t count) {
  if (count < 10'000) return std::to_string(count);
  const auto value = static_cast<double>(count);
  if (count < 1'000'000) return Number(value / 1e3, 0) + "k";
  if (count < 1'000'000'000) return Number(value / 1e6, 1) + "M";
  return Number(value / 1e9, 1) + "G";
}

std::string Gold(double reward) {
  return Number(reward, std::abs(reward) < 10 ? 3 : 2);
}

std::string Nats(double nats) {
  return Number(nats, std::abs(nats) < 100 ? 2 : 0);
}

std::string Seconds(double seconds) {
  return Number(seconds, std::abs(seconds) < 100 ? 1 : 0);
}

Row Cells(const MethodResult& result) {
  return {result.method,
          Gold(result.gold_mean) + " +-" +
              (std::isnan(result.gold_stderr) ? "?" : Gold(result.gold_stderr)),
          Number(100 * result.win_rate, 1) + " [" +
              Number(100 * result.win_low, 1) + "," +
              Number(100 * result.win_high, 1) + "]",
          (result.kl_kind == "bound" ? "<=" : "") + Nats(result.kl),
          Number(result.length, 1),
          Number(result.distinct_2, 3),
          Seconds(result.seconds),
          Seconds(result.seconds_own),
          Count(result.tokens_sampled),
          Count(result.tokens_trained),
          Number(result.peak_rss_mb, 0),
          Count(result.models_held)};
}

// Cells two spaces apart, the first flush left, numbers flush right; no blanks
// at the end.
std::string Line(const Row& cells, const std::array<size_t, 12>& widths) {
  std::string line = cells[0] + std::string(widths[0] - cells[0].size(), ' ');
  for (size_t i = 1; i < cells.size(); ++i) {
    line += "  " + std::string(widths[i] - cells[i].size(), ' ') + cells[i];
  }
  return line + "\n";
}

// A table cell's text: a bar would end the cell.
std::string MarkdownCell(std::string_view text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

absl::Status CheckResult(const MethodResult& result,
                         std::set<std::string_view>& seen) {
  const std::string where = "results: method '" + result.method + "'";
  if (result.method.empty()) {
    return InvalidArgument(where + ": empty; expected a name");
  }
  if (!seen.insert(result.method).second) {
    return InvalidArgument(where + ": twice; expected one row a method");
  }
  if (result.kl_kind != "sampled" && result.kl_kind != "bound") {
    return InvalidArgument(where + ": kl_kind '" + result.kl_kind +
                           "'; expected 'sampled' or 'bound'");
  }
  if (result.method == "sft" && result.win_rate != 0.5) {
    return InvalidArgument(where + ": win rate " +
                           std::to_string(result.win_rate) +
                           " against itself; expected 0.5");
  }
  return absl::OkStatus();
}

// `text` in a fenced block. A line break always precedes the closing fence, so
// one at the end of `text` shows as an empty line.
std::string Fenced(std::string_view text) {
  size_t longest = 0;
  size_t run = 0;
  for (const char c : text) {
    run = c == '`' ? run + 1 : 0;
    longest = std::max(longest, run);
  }
  const std::string fence(std::max<size_t>(3, longest + 1), '`');
  return fence + "text\n" + std::string(text) + "\n" + fence + "\n";
}

}  // namespace

std::string RenderTable(std::span<const MethodResult> results) {
  std::vector<Row> rows(2);
  for (size_t i = 0; i < kColumns.size(); ++i) {
    rows[0][i] = kColumns[i].name;
    rows[1][i] = kColumns[i].unit;
  }
  for (const MethodResult& result : results) rows.push_back(Cells(result));
  std::array<size_t, kColumns.size()> widths{};
  size_t total = 2 * (kColumns.size() - 1);
  for (size_t i = 0; i < widths.size(); ++i) {
    for (const Row& row : rows) widths[i] = std::max(widths[i], row[i].size());
    total += widths[i];
  }
  std::string table;
  for (size_t i = 0; i < rows.size(); ++i) {
    table += Line(rows[i], widths);
    if (i == 1) table += std::string(total, '-') + "\n";
  }
  return table + kLegend;
}

std::string RenderMarkdownTable(std::span<const MethodResult> results) {
  std::string names;
  std::string rule;
  for (const Column& column : kColumns) {
    names += std::string("| ") + column.name;
    if (*column.unit != '\0') names += std::string(" (") + column.unit + ")";
    names += " ";
    rule += rule.empty() ? "|:--" : "|--:";
  }
  std::string table = names + "|\n" + rule + "|\n";
  for (const MethodResult& result : results) {
    for (const std::string& cell : Cells(result)) {
      table += "| " + MarkdownCell(cell) + " ";
    }
    table += "|\n";
  }
  return table + "\n" + kLegend;
}

absl::StatusOr<std::string> ResultsJson(std::span<const MethodResult> results) {
  JsonWriter json;
  std::set<std::string_view> seen;
  json.BeginArray();
  for (const MethodResult& result : results) {
    ALIGN_RETURN_IF_ERROR(CheckResult(result, seen));
    json.BeginObject();
    json.Field("method", result.method);
    json.Field("gold_mean", result.gold_mean);
    json.Field("gold_stderr", result.gold_stderr);
    json.Field("win_rate", result.win_rate);
    json.Field("win_low", result.win_low);
    json.Field("win_high", result.win_high);
    json.Field("kl", result.kl);
    json.Field("length", result.length);
    json.Field("distinct_2", result.distinct_2);
    json.Field("seconds", result.seconds);
    json.Field("tokens_sampled", result.tokens_sampled);
    json.Field("tokens_trained", result.tokens_trained);
    json.Field("peak_rss_mb", result.peak_rss_mb);
    json.Field("seconds_own", result.seconds_own);
    json.Field("kl_kind", result.kl_kind);
    json.Field("models_held", result.models_held);
    json.EndObject();
  }
  json.EndArray();
  return std::move(json).Finish();
}

std::string RenderSamplesMarkdown(
    std::span<const SamplesAcrossMethods> samples) {
  std::string text =
      "# The same prompts across methods\n\nReplies are unedited; gold is the "
      "reward that no method was trained on.\n";
  for (size_t i = 0; i < samples.size(); ++i) {
    text += "\n## Prompt " + std::to_string(i + 1) + "\n\n" +
            Fenced(samples[i].prompt);
    for (const MethodSample& sample : samples[i].samples) {
      text += "\n### " + sample.method + " (gold " + Number(sample.gold, 3) +
              ")\n\n" + Fenced(sample.reply);
    }
  }
  return text;
}

}  // namespace align
