#pragma once

// Reads a TensorBoard event file without the code that wrote it.

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "align/base/files.h"
#include "proto/event.pb.h"

namespace align {

// CRC-32C bit by bit (RFC 3720, appendix B.4), masked as TFRecord does.
inline uint32_t MaskedCrc(std::string_view bytes) {
  uint32_t crc = ~0u;
  for (const char c : bytes) {
    crc ^= static_cast<unsigned char>(c);
    for (int bit = 0; bit < 8; ++bit) {
      crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
    }
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

template <typename T>
T NumberAt(std::string_view bytes, size_t offset) {
  T value{};
  EXPECT_LE(offset + sizeof value, bytes.size());
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

// Every record, its framing checked.
inline std::vector<pb::ScalarEvent> ReadEvents(const std::string& path) {
  const std::string bytes = *ReadFile(path);
  std::vector<pb::ScalarEvent> events;
  for (size_t at = 0; at < bytes.size();) {
    const auto length = NumberAt<uint64_t>(bytes, at);
    EXPECT_EQ(NumberAt<uint32_t>(bytes, at + 8),
              MaskedCrc(std::string_view(bytes).substr(at, 8)));
    const std::string payload = bytes.substr(at + 12, length);
    EXPECT_EQ(NumberAt<uint32_t>(bytes, at + 12 + length), MaskedCrc(payload));
    EXPECT_TRUE(events.emplace_back().ParseFromString(payload));
    at += length + 16;
  }
  return events;
}

}  // namespace align
