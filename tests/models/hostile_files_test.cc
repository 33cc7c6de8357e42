// Damaged config.json, safetensors and index files.
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "align/base/files.h"
#include "align/base/log.h"
#include "align/models/checkpoint_reader.h"
#include "align/models/model.h"
#include "align/models/safetensors.h"
#include "tests/support/hostile.h"
#include "tests/support/mutate.h"
#include "tests/support/tiny_model.h"

namespace align {
namespace {

constexpr int kFiles = 2400;
constexpr int64_t kMegabyte = 1 << 20;

class HostileFilesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        ::testing::TempDir() + "/hostile_" + std::to_string(::getpid());
    std::filesystem::remove_all(directory_);
    ASSERT_TRUE(MakeDirectories(directory_).ok());
    SetLogSink([](LogLevel, const std::string&) {});
  }
  void TearDown() override {
    SetLogSink(nullptr);
    std::filesystem::remove_all(directory_);
  }

  std::string Path(const std::string& name) const {
    return directory_ + "/" + name;
  }
  // Not atomically: thousands of fsyncs would take minutes.
  void Write(const std::string& name, const std::string& contents) const {
    std::FILE* const file = std::fopen(Path(name).c_str(), "wb");
    ASSERT_NE(file, nullptr);
    ASSERT_EQ(std::fwrite(contents.data(), 1, contents.size(), file),
              contents.size());
    ASSERT_EQ(std::fclose(file), 0);
  }
  std::string Read(const std::string& name) const {
    return *ReadFile(Path(name));
  }

  std::string directory_;
};

TEST_F(HostileFilesTest, SafetensorsGiveAStatusOrTensorsThatCanBeRead) {
  const std::vector<float> values = {1, -2, 3, 4, 5, 6, 7, 8};
  ASSERT_TRUE(
      WriteSafetensors(
          Path("seed"),
          {{.name = "a.weight", .shape = {2, 2}, .values = {values.data(), 4}},
           {.name = "b", .shape = {4}, .values = {values.data() + 4, 4}},
           {.name = "none", .shape = {0, 3}, .values = {}}},
          {.dtype = StoredDtype::kF16})
          .ok());
  const std::string seed = Read("seed");
  hostile::Counts counts;
  for (int i = 0; i < kFiles; ++i) {
    SCOPED_TRACE(i);
    const std::string file =
        Mutator(Rng(1).Fork(static_cast<uint64_t>(i))).Safetensors(seed);
    Write("x", file);
    hostile::Check(file.size(), Path("x"), kMegabyte, counts, [&] {
      const auto opened = SafetensorsFile::Open(Path("x"));
      if (!opened.ok()) return opened.status();
      for (const TensorInfo& info : opened->tensors()) {
        std::vector<float> out(info.ElementCount());
        EXPECT_EQ(CopyToFloat(info, out).ok(), ConvertsToFloat(info.dtype));
      }
      return absl::OkStatus();
    });
  }
  EXPECT_GT(counts.taken, kFiles / 100);
  EXPECT_GT(counts.refused, kFiles / 2);
}

TEST_F(HostileFilesTest, ConfigsOfEveryFamilyGiveAStatusOrAConfig) {
  std::vector<std::string> seeds;
  for (const Family family : AllFamilies()) {
    ASSERT_TRUE(WriteModelConfig(directory_, TinyConfig(family)).ok());
    seeds.push_back(Read("config.json"));
  }
  hostile::Counts counts;
  for (int i = 0; i < kFiles; ++i) {
    SCOPED_TRACE(i);
    const std::string file = Mutator(Rng(2).Fork(static_cast<uint64_t>(i)))
                                 .JsonOrBytes(seeds[i % seeds.size()]);
    hostile::Check(file.size(), "config.json", kMegabyte, counts, [&] {
      const auto config = ParseModelConfig(file, "config.json");
      if (config.ok()) EXPECT_TRUE(ValidateConfig(*config).ok());
      return config.status();
    });
  }
  EXPECT_GT(counts.taken, kFiles / 50);
  EXPECT_GT(counts.refused, kFiles / 4);
}

// The sizes that it names meet a checkpoint of other sizes.
TEST_F(HostileFilesTest, ModelsOfDamagedConfigsLoadOrSayWhy) {
  ASSERT_TRUE(SaveModel(*TinyModel(), directory_, "").ok());
  const std::string seed = Read("config.json");
  hostile::Counts counts;
  for (int i = 0; i < kFiles / 4; ++i) {
    SCOPED_TRACE(i);
    const std::string file =
        Mutator(Rng(3).Fork(static_cast<uint64_t>(i))).Json(seed);
    Write("config.json", file);
    // A config may list 65,536 experts and 1,024 layers before it meets the
    // checkpoint.
    hostile::Check(file.size(), directory_, 64 * kMegabyte, counts,
                   [&] { return LoadModel(directory_).status(); });
  }
  EXPECT_GT(counts.taken, 0);
  EXPECT_GT(counts.refused, 0);
}

TEST_F(HostileFilesTest, IndexFilesGiveAStatusOrTheirOwnTensors) {
  ASSERT_TRUE(SaveModel(*TinyModel(), directory_, "", WeightFormat::kF32,
                        /*max_shard_bytes=*/20'000)
                  .ok());
  const std::string name = "model.safetensors.index.json";
  const std::string seed = Read(name);
  hostile::Counts counts;
  for (int i = 0; i < kFiles; ++i) {
    SCOPED_TRACE(i);
    const std::string file =
        Mutator(Rng(4).Fork(static_cast<uint64_t>(i))).JsonOrBytes(seed);
    Write(name, file);
    hostile::Check(file.size(), directory_, kMegabyte, counts, [&] {
      const auto reader = CheckpointReader::Open(directory_);
      if (!reader.ok()) return reader.status();
      for (const std::string& tensor : reader->Names()) {
        EXPECT_NE(reader->Find(tensor), nullptr);
      }
      return absl::OkStatus();
    });
  }
  EXPECT_GT(counts.taken, kFiles / 50);
  EXPECT_GT(counts.refused, kFiles / 4);
}

TEST_F(HostileFilesTest, NoShardNameLeavesTheDirectory) {
  const std::vector<float> one = {1};
  ASSERT_TRUE(WriteSafetensors(Path("inside.safetensors"),
                               {{.name = "a", .shape = {1}, .values = one}})
                  .ok());
  const std::string outside = directory_ + "_outside.safetensors";
  std::filesystem::copy_file(Path("inside.safetensors"), outside);
  const std::string base = std::filesystem::path(outside).filename().string();
  const auto open = [&](const std::string& shard) {
    Write("model.safetensors.index.json",
          R"({"weight_map": {"a": ")" + shard + R"("}})");
    return CheckpointReader::Open(directory_).status();
  };
  ASSERT_TRUE(open("inside.safetensors").ok());
  const std::vector<std::string> hostile_names = {
      "../" + base,
      outside,
      "./inside.safetensors",
      "x/../../" + base,
      "..\\\\" + base,
      "..%2f" + base,
      "/" + base,
      "inside.safetensors\\u0000",
      ".safetensors",
      "",
      "inside",
      std::string(400, 'a') + ".safetensors"};
  for (const std::string& shard : hostile_names) {
    EXPECT_EQ(open(shard).code(), absl::StatusCode::kInvalidArgument) << shard;
  }
  std::filesystem::remove(outside);
}

// Links are followed, as the caches of others consist of them; what they lead
// to must be a file.
TEST_F(HostileFilesTest, ShardsThatAreNoFilesAreRefusedAtOnce) {
  Write("model.safetensors.index.json",
        R"({"weight_map": {"a": "x.safetensors"}})");
  const auto open = [&] { return CheckpointReader::Open(directory_).status(); };
  std::filesystem::create_symlink("nowhere", Path("x.safetensors"));
  EXPECT_FALSE(open().ok());
  std::filesystem::remove(Path("x.safetensors"));
  std::filesystem::create_symlink("x.safetensors", Path("x.safetensors"));
  EXPECT_FALSE(open().ok());  // a link to itself
  std::filesystem::remove(Path("x.safetensors"));
  std::filesystem::create_symlink("/dev/zero", Path("x.safetensors"));
  EXPECT_FALSE(open().ok());
  std::filesystem::remove(Path("x.safetensors"));
  std::filesystem::create_directory(Path("x.safetensors"));
  EXPECT_FALSE(open().ok());
  std::filesystem::remove(Path("x.safetensors"));
  ASSERT_EQ(::mkfifo(Path("x.safetensors").c_str(), 0600), 0);
  EXPECT_FALSE(open().ok());  // nobody writes: opening it would wait for ever
}

}  // namespace
}  // namespace align
