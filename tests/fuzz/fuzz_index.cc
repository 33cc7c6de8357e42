// Any bytes as model.safetensors.index.json beside two shards: a status, or a
// map of tensors that the shards hold.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "align/base/check.h"
#include "align/models/checkpoint_reader.h"
#include "align/models/safetensors_writer.h"

namespace {

// A directory of this process, made once, with shards a and b.
const std::string& Directory() {
  static const auto* const directory = [] {
    char name[] = "/tmp/fuzz_index_XXXXXX";
    ALIGN_CHECK(::mkdtemp(name) != nullptr) << name;
    auto* made = new std::string(name);
    const float one = 1;
    for (const char* shard : {"a", "b"}) {
      ALIGN_CHECK(align::WriteSafetensors(
                      *made + "/" + shard + ".safetensors",
                      {{.name = shard, .shape = {1}, .values = {&one, 1}}})
                      .ok());
    }
    return made;
  }();
  return *directory;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string path = Directory() + "/model.safetensors.index.json";
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  ALIGN_CHECK(file != nullptr) << path;
  std::fwrite(data, 1, size, file);
  std::fclose(file);
  const auto reader = align::CheckpointReader::Open(Directory());
  if (!reader.ok()) return 0;
  for (const std::string& name : reader->Names()) {
    ALIGN_CHECK(name == "a" || name == "b") << name;
    ALIGN_CHECK(reader->Find(name)->ElementCount() == 1) << name;
  }
  return 0;
}
