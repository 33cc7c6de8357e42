#include "align/models/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

#include "align/models/float16.h"
#include "align/models/safetensors_writer.h"

namespace align {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string TempPath(const std::string& name) {
  return ::testing::TempDir() + "/align_safetensors_test_" + name +
         std::to_string(::getpid());
}

// A file made of a header's text and data bytes.
std::string Bytes(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}

absl::StatusOr<SafetensorsFile> OpenBytes(const std::string& bytes) {
  const std::string path = TempPath("open_bytes");
  std::ofstream(path, std::ios::binary) << bytes;  // no fsync: thousands
  auto file = SafetensorsFile::Open(path);  // the mapping outlives the name
  std::filesystem::remove(path);
  return file;
}

std::string EntryText(const std::string& name, const std::string& dtype,
                      const std::string& shape, const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

// Opening must fail with kInvalidArgument and a message that holds `what`.
void ExpectRefused(const std::string& bytes, const std::string& what) {
  const auto file = OpenBytes(bytes);
  ASSERT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument) << what;
  EXPECT_THAT(Message(file.status()), HasSubstr(what));
}

std::string SmallFile() {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<float> b = {-0.5f};
  const std::string path = TempPath("small");
  EXPECT_TRUE(
      WriteSafetensors(path, {{.name = "b", .shape = {}, .values = b},
                              {.name = "a.w", .shape = {2, 3}, .values = a}})
          .ok());
  const std::string bytes = *ReadFile(path);
  std::filesystem::remove(path);
  return bytes;
}

TEST(SafetensorsTest, F32RoundTripKeepsEveryBit) {
  const auto file = OpenBytes(SmallFile());
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), 2u);
  EXPECT_EQ(file->metadata().at("format"), "pt");
  const TensorInfo* a = file->Find("a.w");
  ASSERT_NE(a, nullptr);
  EXPECT_THAT(a->shape, ElementsAre(2, 3));
  std::vector<float> values(6);
  ASSERT_TRUE(CopyToFloat(*a, values).ok());
  EXPECT_THAT(values, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_TRUE(file->Find("b")->shape.empty());
  EXPECT_EQ(file->Find("b")->ElementCount(), 1);
  EXPECT_EQ(file->Find("c"), nullptr);
}

TEST(SafetensorsTest, HeaderIsPaddedToEightBytes) {
  uint64_t length = 0;
  std::memcpy(&length, SmallFile().data(), 8);
  EXPECT_EQ(length % 8, 0u);
}

TEST(SafetensorsTest, EveryBf16ValueSurvivesARoundTrip) {
  std::vector<float> values;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = std::bit_cast<float>(bits << 16);
    if (!std::isnan(value)) values.push_back(value);
  }
  const std::string path = TempPath("bf16");
  const int64_t count = static_cast<int64_t>(values.size());
  ASSERT_TRUE(WriteSafetensors(
                  path, {{.name = "x", .shape = {count}, .values = values}},
                  {.dtype = StoredDtype::kBF16})
                  .ok());
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok());
  std::vector<float> back(values.size());
  ASSERT_TRUE(CopyToFloat(*file->Find("x"), back).ok());
  EXPECT_EQ(std::memcmp(back.data(), values.data(), 4 * values.size()), 0);
  std::filesystem::remove(path);
}

TEST(SafetensorsTest, Bf16RoundsToNearestEven) {
  EXPECT_EQ(FloatToBfloat(std::bit_cast<float>(0x3F808000u)), 0x3F80);
  EXPECT_EQ(FloatToBfloat(std::bit_cast<float>(0x3F818000u)), 0x3F82);
  EXPECT_EQ(FloatToBfloat(std::bit_cast<float>(0x3F808001u)), 0x3F81);
  EXPECT_EQ(FloatToBfloat(std::numeric_limits<float>::max()), 0x7F80);
  const uint16_t nan = FloatToBfloat(std::bit_cast<float>(0x7F800001u));
  EXPECT_TRUE(
      std::isnan(std::bit_cast<float>(static_cast<uint32_t>(nan) << 16)));
}

// Every binary16 value against its definition (IEEE 754-2008, 3.4).
TEST(SafetensorsTest, EveryF16ValueIsReadExactly) {
  std::string data;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    data += static_cast<char>(bits & 0xFF);
    data += static_cast<char>(bits >> 8);
  }
  const auto file = OpenBytes(
      Bytes("{" + EntryText("h", "F16", "[65536]", "[0,131072]") + "}", data));
  ASSERT_TRUE(file.ok()) << file.status();
  std::vector<float> values(65536);
  ASSERT_TRUE(CopyToFloat(*file->Find("h"), values).ok());
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const int exponent = (bits >> 10) & 31;
    const int fraction = bits & 1023;
    const float sign = bits & 0x8000 ? -1.0f : 1.0f;
    EXPECT_EQ(std::signbit(values[bits]), sign < 0);
    if (exponent == 31 && fraction != 0) {
      EXPECT_TRUE(std::isnan(values[bits]));
      continue;
    }
    const float magnitude =
        exponent == 31  ? std::numeric_limits<float>::infinity()
        : exponent == 0 ? std::ldexp(fraction, -24)
                        : std::ldexp(1024 + fraction, exponent - 25);
    EXPECT_EQ(values[bits], sign * magnitude) << bits;
  }
}

TEST(SafetensorsTest, OtherDtypesAreListedButNotConverted) {
  for (const char* dtype : {"BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "I16",
                            "U16", "I32", "U32", "I64", "U64", "F64"}) {
    const std::string data(16, '\1');
    const std::string one(dtype);
    const int64_t bytes = one.ends_with("64")   ? 8
                          : one.ends_with("32") ? 4
                          : one.ends_with("16") ? 2
                                                : 1;
    const auto file = OpenBytes(
        Bytes("{" +
                  EntryText("x", dtype, "[" + std::to_string(16 / bytes) + "]",
                            "[0,16]") +
                  "}",
              data));
    ASSERT_TRUE(file.ok()) << file.status();
    std::vector<float> out(16 / bytes);
    const absl::Status status = CopyToFloat(*file->Find("x"), out);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(Message(status), HasSubstr(dtype));
  }
}

TEST(SafetensorsTest, RoomOfTheWrongSizeIsRefused) {
  const auto file = OpenBytes(SmallFile());
  std::vector<float> out(5);
  EXPECT_EQ(CopyToFloat(*file->Find("a.w"), out).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(SafetensorsTest, TruncationAnywhereIsAStatus) {
  const std::string bytes = SmallFile();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(OpenBytes(bytes.substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(OpenBytes(bytes + "x").ok());
}

// A flipped bit may rename a tensor or change the metadata, which no reader
// can notice; shapes, dtypes and data must be what they were.
TEST(SafetensorsTest, AnyFlippedHeaderBitIsAStatusOrTheSameTensors) {
  const std::string bytes = SmallFile();
  const auto original = OpenBytes(bytes);
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), 8);
  for (size_t bit = 0; bit < 8 * (8 + length); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const auto file = OpenBytes(flipped);
    if (!file.ok()) continue;
    ASSERT_EQ(file->tensors().size(), original->tensors().size()) << bit;
    for (size_t i = 0; i < file->tensors().size(); ++i) {
      const TensorInfo& got = file->tensors()[i];
      const TensorInfo& expected = original->tensors()[i];
      EXPECT_EQ(got.dtype, expected.dtype) << bit;
      EXPECT_EQ(got.shape, expected.shape) << bit;
      EXPECT_TRUE(std::equal(got.bytes.begin(), got.bytes.end(),
                             expected.bytes.begin(), expected.bytes.end()));
    }
  }
}

TEST(SafetensorsTest, HostileLayoutsAreRefused) {
  const std::string data(8, '\0');
  const auto two = [&](const std::string& first, const std::string& second) {
    return Bytes("{" + EntryText("a", "F32", "[1]", first) + "," +
                     EntryText("b", "F32", "[1]", second) + "}",
                 data);
  };
  EXPECT_TRUE(OpenBytes(two("[0,4]", "[4,8]")).ok());
  EXPECT_TRUE(OpenBytes(two("[4,8]", "[0,4]")).ok());
  ExpectRefused(two("[0,4]", "[0,4]"), "overlap");
  ExpectRefused(two("[0,4]", "[2,6]"), "overlap");
  ExpectRefused(two("[1,5]", "[5,9]"), "hole");
  ExpectRefused(two("[4,0]", "[4,8]"), "data_offsets");
  ExpectRefused(two("[-4,0]", "[4,8]"), "integer >= 0");
  ExpectRefused(two("[0,4]", "[4]"), "two integers");
  ExpectRefused(two("[0,4]", "[4,8,8]"), "more than 2");
  ExpectRefused(two("[0,4]", "[4.0,8]"), "integer >= 0");
  ExpectRefused(two("[0,4]", "[4,18446744073709551615]"), "integer >= 0");
  ExpectRefused(two("[0,4]", "[9223372036854775803,9223372036854775807]"),
                "hole");
}

TEST(SafetensorsTest, HostileShapesAreRefused) {
  const auto one = [](const std::string& dtype, const std::string& shape) {
    return Bytes("{" + EntryText("a", dtype, shape, "[0,4]") + "}",
                 std::string(4, '\0'));
  };
  EXPECT_TRUE(OpenBytes(one("F32", "[1,1,1,1,1,1,1,1]")).ok());
  ExpectRefused(one("F32", "[1,1,1,1,1,1,1,1,1]"), "more than 8");
  ExpectRefused(one("F32", "[4294967296,4294967296]"), "overflows");
  ExpectRefused(one("F32", "[4611686018427387905]"), "overflows");
  ExpectRefused(one("F32", "[0]"), "expects 0 bytes");
  ExpectRefused(one("F32", "[-1]"), "integer >= 0");
  ExpectRefused(one("F32", "1"), "not an array");
  ExpectRefused(one("F16", "[1]"), "expects 2 bytes");
  ExpectRefused(one("F33", "[1]"), "unknown dtype");
}

TEST(SafetensorsTest, HostileHeadersAreRefused) {
  const std::string entry = EntryText("a", "F32", "[0]", "[0,0]");
  const std::string twin = EntryText("\\u0061", "F32", "[0]", "[0,0]");
  EXPECT_TRUE(OpenBytes(Bytes("{}", "")).ok());
  ExpectRefused("", "at least 8");
  ExpectRefused(Bytes("", ""), "start with '{'");
  ExpectRefused(Bytes(" {}", ""), "start with '{'");
  ExpectRefused(Bytes("{}}", ""), "JSON");
  ExpectRefused(Bytes("{} {}", ""), "JSON");
  ExpectRefused(Bytes("{" + entry + "," + twin + "}", ""), "twice");
  ExpectRefused(Bytes("{\"__metadata__\":{},\"__metadata__\":{}}", ""),
                "twice");
  ExpectRefused(Bytes("{\"__metadata__\":{\"a\":1}}", ""), "no string");
  ExpectRefused(Bytes("{\"a\":1}", ""), "not an object");
  ExpectRefused(Bytes("{\"a\":{\"dtype\":\"F32\"}}", ""), "expected");
  ExpectRefused(Bytes("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", ""),
                "twice");
  ExpectRefused(std::string(8, '\xFF') + "{}", "header of");
  ExpectRefused(std::string("\0\xE1\xF5\5\0\0\0\0", 8) + "{}", "header of");
}

TEST(SafetensorsTest, HostileNamesAreRefused) {
  const auto named = [](const std::string& name) {
    return Bytes("{" + EntryText(name, "F32", "[0]", "[0,0]") + "}", "");
  };
  EXPECT_TRUE(OpenBytes(named(std::string(1024, 'n'))).ok());
  ExpectRefused(named(std::string(1025, 'n')), "1025 bytes");
  ExpectRefused(named("\xC3"), "JSON");
  ExpectRefused(named("\\udc00"), "");
  ExpectRefused(named("\\u001b[2J"), "printable");
  ExpectRefused(named("\\u0000"), "printable");
}

TEST(SafetensorsTest, DeepNestingIsAStatus) {
  const std::string deep(100'000, '[');
  ExpectRefused(Bytes("{\"a\":" + deep + "}", ""), "JSON");
  ExpectRefused(Bytes("{\"a\":" + deep + std::string(100'000, ']') + "}", ""),
                "JSON");
}

TEST(SafetensorsWriterTest, WrongInputIsRefusedAndLeavesNoFile) {
  const std::string path = TempPath("refused");
  const std::vector<float> one = {1};
  const TensorToWrite good{.name = "a", .shape = {1}, .values = one};
  const TensorToWrite bad{.name = "a", .shape = {2}, .values = one};
  const TensorToWrite negative{.name = "a", .shape = {-1}, .values = one};
  const TensorToWrite latin{.name = "\xE9", .shape = {1}, .values = one};
  const auto code = [&](std::vector<TensorToWrite> tensors) {
    return WriteSafetensors(path, std::move(tensors)).code();
  };
  EXPECT_EQ(code({bad}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({negative}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({good, good}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({latin}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(WriteSafetensors(path, {good}, {.dtype = StoredDtype::kI32}).code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_FALSE(FileExists(path));
}

TEST(SafetensorsWriterTest, OrderOfTheArgumentsDoesNotMatter) {
  const std::vector<float> one = {1}, two = {2, 3};
  const TensorToWrite a{.name = "a", .shape = {1}, .values = one};
  const TensorToWrite b{.name = "b", .shape = {2}, .values = two};
  const std::string path = TempPath("order");
  ASSERT_TRUE(WriteSafetensors(path, {a, b}).ok());
  const std::string first = *ReadFile(path);
  ASSERT_TRUE(WriteSafetensors(path, {b, a}).ok());
  EXPECT_EQ(*ReadFile(path), first);
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace align
