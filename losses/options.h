#pragma once

// Options of losses by name: an options struct describes its own fields to an
// OptionList, once, and from that come setting by text, range checks with
// messages, and printed tables. Defaults are those of the struct.

#include <charconv>
#include <functional>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace align::losses {

// Allowed values of a number. An open end is excluded; infinities are not
// values, whatever the range.
struct Range {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool open_low = false;
  bool open_high = false;

  bool Contains(double x) const {
    return (open_low ? x > low : x >= low) &&
           (open_high ? x < high : x <= high) && x - x == 0;
  }
};

// One option as a reader and a config see it.
struct Option {
  std::string name;
  std::string default_text;
  std::string allowed;  // "a number in [0, 0.5]", "mean | sum"
  std::string doc;
  // Sets the described field; false if the text is not allowed.
  std::function<bool(const std::string&)> set;
};

// A number as the shortest text that people write: 0.1, 1e-05, inf.
inline std::string NumberText(double value) {
  std::ostringstream out;
  out << value;
  return out.str();
}

// Collects what an options struct describes. The setters point into that
// struct, which must outlive the list.
class OptionList {
 public:
  void Number(std::string name, double* field, Range range, std::string doc) {
    const bool bounded_low = range.low - range.low == 0;
    const bool bounded_high = range.high - range.high == 0;
    std::string allowed = "a number";
    if (bounded_low || bounded_high) {
      allowed += std::string(" in ") +
                 (range.open_low || !bounded_low ? "(" : "[") +
                 NumberText(range.low) + ", " + NumberText(range.high) +
                 (range.open_high || !bounded_high ? ")" : "]");
    }
    options_.push_back({std::move(name), NumberText(*field), allowed,
                        std::move(doc), [field, range](const std::string& s) {
                          double value = 0;
                          const char* end = s.data() + s.size();
                          const auto parsed =
                              std::from_chars(s.data(), end, value);
                          if (parsed.ec != std::errc() || parsed.ptr != end ||
                              !range.Contains(value)) {
                            return false;
                          }
                          *field = value;
                          return true;
                        }});
  }

  void Flag(std::string name, bool* field, std::string doc) {
    Choice<bool>(std::move(name), field, {{"true", true}, {"false", false}},
                 std::move(doc));
  }

  template <typename T>
  void Choice(std::string name, T* field,
              std::vector<std::pair<std::string, T>> values, std::string doc) {
    std::string allowed, default_text;
    for (const auto& [text, value] : values) {
      allowed += (allowed.empty() ? "" : " | ") + text;
      if (value == *field) default_text = text;
    }
    options_.push_back({std::move(name), default_text, allowed, std::move(doc),
                        [field, values](const std::string& s) {
                          for (const auto& [text, value] : values) {
                            if (text != s) continue;
                            *field = value;
                            return true;
                          }
                          return false;
                        }});
  }

  const std::vector<Option>& options() const { return options_; }

 private:
  std::vector<Option> options_;
};

}  // namespace align::losses
