#include "tests/oracle/json_values.h"

#include <cstdio>
#include <limits>

namespace align::oracle {

double Number(Json value) {
  if (!value.is_string()) return value.get_double();
  const std::string text = Text(value);
  if (text == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (text == "inf") return std::numeric_limits<double>::infinity();
  if (text == "-inf") return -std::numeric_limits<double>::infinity();
  throw simdjson::simdjson_error(simdjson::INCORRECT_TYPE);
}

std::vector<double> Numbers(Json value) {
  if (!value.is_array()) return {Number(value)};
  std::vector<double> numbers;
  for (Json item : value.get_array()) {
    const std::vector<double> inner = Numbers(item);
    numbers.insert(numbers.end(), inner.begin(), inner.end());
  }
  return numbers;
}

Eigen::ArrayXd Array(Json value) {
  const std::vector<double> numbers = Numbers(value);
  return Eigen::Map<const Eigen::ArrayXd>(
      numbers.data(), static_cast<Eigen::Index>(numbers.size()));
}

std::vector<int32_t> Ints(Json value) {
  std::vector<int32_t> ints;
  for (double number : Numbers(value)) {
    ints.push_back(static_cast<int32_t>(number));
  }
  return ints;
}

std::string Text(Json value) {
  const std::string_view text = value.get_string();
  return std::string(text);
}

std::vector<Json> Items(Json value) {
  std::vector<Json> items;
  for (Json item : value.get_array()) items.push_back(item);
  return items;
}

std::optional<Json> Find(Json object, std::string_view key) {
  Json found;
  if (object[key].get(found) != simdjson::SUCCESS || found.is_null()) {
    return std::nullopt;
  }
  return found;
}

double NumberOr(Json object, std::string_view key, double fallback) {
  const std::optional<Json> found = Find(object, key);
  return found ? Number(*found) : fallback;
}

std::string ExactText(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.17g", value);
  return text;
}

bool FlagOr(Json object, std::string_view key, bool fallback) {
  const std::optional<Json> found = Find(object, key);
  return found ? found->get_bool().value() : fallback;
}

std::string TextOr(Json object, std::string_view key, std::string fallback) {
  const std::optional<Json> found = Find(object, key);
  return found ? Text(*found) : fallback;
}

}  // namespace align::oracle
