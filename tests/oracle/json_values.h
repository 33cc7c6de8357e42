#pragma once

#include <simdjson.h>

#include <Eigen/Core>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace align::oracle {

// A value of an oracle file. Functions below throw simdjson_error for a missing
// key or another type; the reporter turns that into a failed case.
using Json = simdjson::dom::element;

// A number; the strings "nan", "inf" and "-inf" stand for themselves.
double Number(Json value);
// Numbers of an array nested to any depth, row by row; a number is one.
std::vector<double> Numbers(Json value);
Eigen::ArrayXd Array(Json value);
std::vector<int32_t> Ints(Json value);
std::string Text(Json value);
// The elements of an array.
std::vector<Json> Items(Json value);

// The value of `key`, or nullopt when it is missing or null.
std::optional<Json> Find(Json object, std::string_view key);
double NumberOr(Json object, std::string_view key, double fallback);
// A number as text that reads back to the same bits.
std::string ExactText(double value);
bool FlagOr(Json object, std::string_view key, bool fallback);
std::string TextOr(Json object, std::string_view key, std::string fallback);

}  // namespace align::oracle
