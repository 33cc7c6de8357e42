#pragma once

// Hostile files: small files that are in order, damaged at random. The same
// seed gives the same files.

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "align/base/rng.h"

namespace align {

class Mutator {
 public:
  explicit Mutator(const Rng& rng) : rng_(rng) {}

  // 1 to 4 damages to bytes: flipped, set, deleted, doubled, moved, cut off.
  std::string Bytes(std::string text) {
    for (uint64_t i = 1 + rng_.Below(4); i > 0 && !text.empty(); --i) {
      DamageBytes(text);
    }
    return text;
  }

  // 1 to 3 damages to the values of a JSON text, which stays JSON most of the
  // time: another value in a value's place, a member twice or gone, nesting.
  std::string Json(std::string text) {
    for (uint64_t i = 1 + rng_.Below(3); i > 0; --i) {
      const auto values = JsonValues(text);
      if (values.empty()) break;
      DamageJson(text, values[rng_.Below(values.size())]);
    }
    return text;
  }

  // Either, or one after the other.
  std::string JsonOrBytes(const std::string& text) {
    switch (rng_.Below(4)) {
      case 0:
        return Bytes(text);
      case 1:
        return Bytes(Json(text));
      default:
        return Json(text);
    }
  }

  // A safetensors file: its header as JSON under a length that fits or not, or
  // its bytes.
  std::string Safetensors(const std::string& file) {
    if (rng_.Below(3) == 0) return Bytes(file);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), sizeof length);
    const std::string header = Json(file.substr(8, length));
    std::string data = file.substr(8 + length);
    if (rng_.Below(4) == 0) data = Bytes(std::move(data));
    length = header.size();
    if (rng_.Below(8) == 0) length = Extreme();
    std::string out(8, '\0');
    std::memcpy(out.data(), &length, sizeof length);
    return out + header + data;
  }

  // A protobuf message: a field's number, type, length or value replaced, a
  // field doubled, moved or dropped, with lengths around it put right, or its
  // bytes.
  std::string Proto(const std::string& message) {
    if (rng_.Below(3) == 0) return Bytes(message);
    std::string out;
    const auto fields = ProtoFields(message);
    const size_t victim = fields.empty() ? 0 : rng_.Below(fields.size());
    for (size_t i = 0; i < fields.size(); ++i) {
      const std::string field(fields[i]);
      out += i == victim ? DamageField(field) : field;
    }
    return out;
  }

  uint64_t Below(uint64_t bound) { return rng_.Below(bound); }

 private:
  using Range = std::pair<size_t, size_t>;  // begin, length

  // A number at an edge of some integer type.
  uint64_t Extreme() {
    const uint64_t power = uint64_t{1} << rng_.Below(64);
    return power + rng_.Below(3) - 1;
  }

  void DamageBytes(std::string& text) {
    const size_t at = rng_.Below(text.size());
    const size_t length = 1 + rng_.Below(std::min<size_t>(
                                  text.size() - at, rng_.Below(2) ? 4 : 64));
    switch (rng_.Below(7)) {
      case 0:
        text[at] = static_cast<char>(text[at] ^ 1 << rng_.Below(8));
        break;
      case 1:
        text[at] = "\0\xff\x80\x7f\"\\{}[],:0-"[rng_.Below(14)];
        break;
      case 2:
        text.erase(at, length);
        break;
      case 3:
        text.insert(at, text.substr(at, length));
        break;
      case 4: {
        const std::string moved = text.substr(at, length);
        text.erase(at, length);
        text.insert(rng_.Below(text.size() + 1), moved);
        break;
      }
      case 5:
        text.resize(at);
        break;
      default: {
        const uint64_t number = Extreme();
        text.replace(at, std::min<size_t>(8, text.size() - at),
                     std::string(reinterpret_cast<const char*>(&number), 8));
        break;
      }
    }
  }

  // Where strings, numbers and words stand; keys are among them.
  static std::vector<Range> JsonValues(const std::string& text) {
    std::vector<Range> values;
    for (size_t i = 0; i < text.size();) {
      const char c = text[i];
      size_t end = i + 1;
      if (c == '"') {
        while (end < text.size() && text[end] != '"') {
          end += text[end] == '\\' ? 2 : 1;
        }
        end = std::min(end + 1, text.size());
      } else if (std::isalnum(static_cast<unsigned char>(c)) || c == '-') {
        while (end < text.size() &&
               (std::isalnum(static_cast<unsigned char>(text[end])) ||
                text[end] == '.' || text[end] == '-' || text[end] == '+')) {
          ++end;
        }
      } else {
        i = end;
        continue;
      }
      values.emplace_back(i, end - i);
      i = end;
    }
    return values;
  }

  std::string JsonValue() {
    static constexpr std::string_view kValues[] = {"null",
                                                   "true",
                                                   "false",
                                                   "0",
                                                   "-1",
                                                   "1e308",
                                                   "1e-320",
                                                   "0.5",
                                                   "[]",
                                                   "{}",
                                                   "\"\"",
                                                   "\"a\"",
                                                   "[[[[[[[[]]]]]]]]",
                                                   "9223372036854775807",
                                                   "18446744073709551615",
                                                   "18446744073709551616",
                                                   "-9223372036854775808",
                                                   "4294967296",
                                                   "2147483647",
                                                   "65536",
                                                   "\"\\u0000\"",
                                                   "\"\\ud800\"",
                                                   "\"../x.safetensors\"",
                                                   "\"/etc/passwd\"",
                                                   "\"\\n\"",
                                                   "[1,2,3]",
                                                   "{\"a\":{\"b\":[]}}",
                                                   "\"(?:a*)*b\"",
                                                   "\"\\\\p{L}+\"",
                                                   "\"<0x41>\""};
    const uint64_t pick = rng_.Below(std::size(kValues) + 3);
    if (pick == std::size(kValues)) return std::to_string(Extreme());
    if (pick == std::size(kValues) + 1) {
      return std::to_string(rng_.Below(1000));
    }
    if (pick == std::size(kValues) + 2) {
      const size_t depth = 1 + rng_.Below(2000);
      return std::string(depth, '[') + std::string(depth, ']');
    }
    return std::string(kValues[pick]);
  }

  void DamageJson(std::string& text, Range value) {
    const auto [at, length] = value;
    switch (rng_.Below(6)) {
      case 0: {  // a value from elsewhere
        const auto others = JsonValues(text);
        const Range other = others[rng_.Below(others.size())];
        text.replace(at, length, text.substr(other.first, other.second));
        break;
      }
      case 1: {  // the stretch up to the next comma twice
        const size_t comma = text.find(',', at);
        if (comma == std::string::npos) break;
        text.insert(comma + 1, text.substr(at, comma + 1 - at));
        break;
      }
      case 2: {  // or gone
        const size_t comma = text.find(',', at);
        if (comma == std::string::npos) break;
        text.erase(at, comma + 1 - at);
        break;
      }
      default:
        text.replace(at, length, JsonValue());
        break;
    }
  }

  static bool TakeVarint(std::string_view& from, uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 64 && !from.empty(); shift += 7) {
      const auto byte = static_cast<uint8_t>(from[0]);
      from.remove_prefix(1);
      *value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return true;
    }
    return false;
  }
  static std::string Varint(uint64_t value) {
    std::string out;
    for (; value > 127; value >>= 7) {
      out += static_cast<char>((value & 127) | 128);
    }
    return out + static_cast<char>(value);
  }

  // The fields of a message with their tags; what is no field ends the list.
  static std::vector<std::string_view> ProtoFields(std::string_view message) {
    std::vector<std::string_view> fields;
    while (!message.empty()) {
      std::string_view rest = message;
      uint64_t tag = 0, number = 0;
      if (!TakeVarint(rest, &tag)) break;
      size_t skip = (tag & 7) == 1 ? 8 : (tag & 7) == 5 ? 4 : 0;
      if ((tag & 7) == 0 && !TakeVarint(rest, &number)) break;
      if ((tag & 7) == 2) {
        if (!TakeVarint(rest, &number)) break;
        skip = number;
      }
      if (skip > rest.size()) break;
      rest.remove_prefix(skip);
      fields.push_back(message.substr(0, message.size() - rest.size()));
      message = rest;
    }
    return fields;
  }

  std::string DamageField(const std::string& field) {
    std::string_view rest = field;
    uint64_t tag = 0;
    TakeVarint(rest, &tag);
    switch (rng_.Below(7)) {
      case 0:
        return {};
      case 1:
        return field + field;
      case 2:
        return Varint(Extreme() << 3 | (tag & 7)) + std::string(rest);
      case 3:
        return Varint((tag & ~uint64_t{7}) | rng_.Below(8)) + std::string(rest);
      case 4:
        return Varint(tag) + Varint(Extreme());
      default:
        break;
    }
    if ((tag & 7) != 2) return Bytes(field);
    uint64_t length = 0;
    TakeVarint(rest, &length);
    const std::string inner = Proto(std::string(rest));
    return Varint(tag) + Varint(inner.size()) + inner;
  }

  Rng rng_;
};

}  // namespace align
