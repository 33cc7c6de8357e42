#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>

#include "align/data/import.h"

namespace align {
namespace {

// 1234567 as "1,234,567".
std::string Grouped(int64_t number) {
  const std::string digits = std::to_string(number);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    if (i > 0 && (digits.size() - i) % 3 == 0) out.push_back(',');
    out.push_back(digits[i]);
  }
  return out;
}

std::string Line(std::string_view verb, int64_t count, std::string_view what) {
  const std::string number = Grouped(count);
  std::string out("  ");
  out.append(verb);
  out.append(12 - std::min<size_t>(number.size(), 12), ' ');
  out.append(number).append("  ").append(what).append("\n");
  return out;
}

// Names from the input may hold what a terminal would obey.
std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

std::string RenderImportReport(const ImportResult& result) {
  std::string out;
  for (const ImportedFile& file : result.files) {
    out += file.path + ": " + Grouped(file.rows) + " rows\n";
    for (const TakenRows& taken : file.taken) {
      out += Line("took   ", taken.count, taken.shape);
    }
    for (const DroppedRows& dropped : file.dropped) {
      out += Line("dropped", dropped.count, dropped.reason);
      for (const DroppedRow& row : dropped.first) {
        out += std::string(23, ' ') + row.where +
               (row.detail.empty() ? "" : ": " + Printable(row.detail)) + "\n";
      }
      if (dropped.count > static_cast<int64_t>(dropped.first.size())) {
        out += std::string(23, ' ') + "...\n";
      }
    }
  }
  char speed[128];
  const double seconds = std::max(result.seconds, 1e-9);
  std::snprintf(speed, sizeof speed, "%.1f MB in %.3f s, ",
                static_cast<double>(result.bytes) * 1e-6, result.seconds);
  out += result.out_path + ": " + Grouped(result.records) + " records of " +
         Grouped(result.rows) + " rows, " + Grouped(result.dropped()) +
         " dropped; " + speed +
         Grouped(static_cast<int64_t>(static_cast<double>(result.records) /
                                      seconds)) +
         " records/s\n";
  return out;
}

}  // namespace align
