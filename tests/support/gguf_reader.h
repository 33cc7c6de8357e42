#pragma once

// Reads a GGUF file back, written from ggml's docs/gguf.md alone: it shares no
// code with the writer. For files that a test has just written: what is wrong
// in them aborts.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "align/base/check.h"
#include "align/base/files.h"

namespace align {

class GgufReader {
 public:
  using Value = std::variant<uint64_t, int64_t, double, bool, std::string,
                             std::vector<std::string>, std::vector<double>>;
  struct Tensor {
    std::vector<uint64_t> extents;  // the fastest first
    uint32_t type = 0;
    std::string bytes;  // up to the next tensor, padding included
  };

  explicit GgufReader(const std::string& path) : data_(*ReadFile(path)) {
    ALIGN_CHECK(data_.starts_with("GGUF")) << path;
    at_ = 4;
    ALIGN_CHECK(Take<uint32_t>() == 3) << "version";
    const auto tensor_count = Take<uint64_t>();
    const auto value_count = Take<uint64_t>();
    for (uint64_t i = 0; i < value_count; ++i) {
      const std::string key = TakeText();
      const auto type = Take<uint32_t>();
      ALIGN_CHECK(values_.emplace(key, TakeValue(type)).second) << key;
    }
    std::vector<std::pair<std::string, uint64_t>> places;
    for (uint64_t i = 0; i < tensor_count; ++i) {
      const std::string name = TakeText();
      Tensor& tensor = tensors_[name];
      const auto dimensions = Take<uint32_t>();
      for (uint32_t d = 0; d < dimensions; ++d) {
        tensor.extents.push_back(Take<uint64_t>());
      }
      tensor.type = Take<uint32_t>();
      places.emplace_back(name, Take<uint64_t>());
    }
    const uint64_t start = (at_ + 31) / 32 * 32;
    for (size_t i = 0; i < places.size(); ++i) {
      const uint64_t offset = places[i].second;
      ALIGN_CHECK(offset % 32 == 0) << places[i].first;
      const uint64_t end =
          i + 1 < places.size() ? places[i + 1].second : data_.size() - start;
      tensors_[places[i].first].bytes =
          data_.substr(start + offset, end - offset);
    }
  }

  const std::map<std::string, Value>& values() const { return values_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  template <typename T>
  const T& Get(const std::string& key) const {
    const auto found = values_.find(key);
    ALIGN_CHECK(found != values_.end()) << key;
    return std::get<T>(found->second);
  }

  static uint64_t Count(const Tensor& tensor) {
    uint64_t count = 1;
    for (const uint64_t extent : tensor.extents) count *= extent;
    return count;
  }
  // The elements of an F32, F16, BF16 or Q8_0 tensor.
  static std::vector<float> Floats(const Tensor& tensor) {
    std::vector<float> out(Count(tensor));
    const char* from = tensor.bytes.data();
    for (uint64_t i = 0; i < out.size(); ++i) {
      switch (tensor.type) {
        case 0:
          std::memcpy(&out[i], from + 4 * i, 4);
          break;
        case 1:
          out[i] = Half(from + 2 * i);
          break;
        case 30: {
          uint16_t high;
          std::memcpy(&high, from + 2 * i, 2);
          const uint32_t bits = static_cast<uint32_t>(high) << 16;
          std::memcpy(&out[i], &bits, 4);
          break;
        }
        case 8: {
          const char* const block = from + i / 32 * 34;
          out[i] = Half(block) *
                   static_cast<float>(static_cast<int8_t>(block[2 + i % 32]));
          break;
        }
        default:
          ALIGN_CHECK(false) << "type " << tensor.type;
      }
    }
    return out;
  }

  // A binary16 by its definition (IEEE 754-2008, 3.4).
  static float Half(const char* from) {
    uint16_t bits;
    std::memcpy(&bits, from, 2);
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    ALIGN_CHECK(exponent != 31) << "not finite";
    const double magnitude =
        exponent == 0 ? fraction * 0x1p-24
                      : (1024 + fraction) * std::pow(2.0, exponent - 25);
    return static_cast<float>((bits & 0x8000) != 0 ? -magnitude : magnitude);
  }

 private:
  template <typename T>
  T Take() {
    ALIGN_CHECK(at_ + sizeof(T) <= data_.size()) << "truncated";
    T value;
    std::memcpy(&value, data_.data() + at_, sizeof value);
    at_ += sizeof value;
    return value;
  }
  std::string TakeText() {
    const auto size = Take<uint64_t>();
    ALIGN_CHECK(size <= data_.size() - at_) << "truncated";
    at_ += size;
    return data_.substr(at_ - size, size);
  }
  double TakeNumber(uint32_t type) {
    switch (type) {
      case 4:
        return Take<uint32_t>();
      case 5:
        return Take<int32_t>();
      case 6:
        return static_cast<double>(Take<float>());
      default:
        break;
    }
    ALIGN_CHECK(false) << "value type " << type;
    return 0;
  }
  Value TakeValue(uint32_t type) {
    if (type == 4) return static_cast<uint64_t>(Take<uint32_t>());
    if (type == 5) return static_cast<int64_t>(Take<int32_t>());
    if (type == 6) return static_cast<double>(Take<float>());
    if (type == 7) return Take<uint8_t>() != 0;
    if (type == 8) return TakeText();
    ALIGN_CHECK(type == 9) << "value type " << type;
    const auto item = Take<uint32_t>();
    const auto count = Take<uint64_t>();
    std::vector<std::string> texts;
    std::vector<double> numbers;
    for (uint64_t i = 0; i < count; ++i) {
      if (item == 8) {
        texts.push_back(TakeText());
      } else {
        numbers.push_back(TakeNumber(item));
      }
    }
    if (item == 8) return texts;
    return numbers;
  }

  std::string data_;
  size_t at_ = 0;
  std::map<std::string, Value> values_;
  std::map<std::string, Tensor> tensors_;
};

}  // namespace align
