#include "align/train/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/base/log.h"
#include "align/models/safetensors.h"
#include "align/models/safetensors_writer.h"
#include "proto/checkpoint.pb.h"

namespace align::train {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kFormatVersion = 1;
constexpr std::string_view kPrefix = "step-";
constexpr const char* kManifest = "manifest";
constexpr size_t kHashDigits = 32;

std::string StepName(int64_t step) {
  std::string digits = std::to_string(step);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return std::string(kPrefix) + digits;
}

// Checkpoints under `root`, newest first.
std::vector<std::pair<int64_t, std::string>> ListSteps(
    const std::string& root) {
  std::vector<std::pair<int64_t, std::string>> steps;
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    const std::string digits = name.substr(kPrefix.size());
    if (digits.empty() || digits.size() > 18 ||
        digits.find_first_not_of("0123456789") != std::string::npos) {
      continue;
    }
    steps.emplace_back(std::stoll(digits), it->path().string());
  }
  std::sort(steps.begin(), steps.end(), std::greater<>());
  return steps;
}

absl::Status RemoveAll(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);
  if (error) return Internal(path + ": cannot be deleted: " + error.message());
  return absl::OkStatus();
}

std::vector<TensorToWrite> TensorsOf(const ParamStore& store,
                                     std::span<const float> arena,
                                     const std::string& prefix) {
  std::vector<TensorToWrite> tensors;
  for (size_t p = 0; p < store.specs().size(); ++p) {
    const ParamSpec& spec = store.specs()[p];
    tensors.push_back(
        {.name = prefix + spec.name,
         .shape = spec.shape,
         .values = arena.subspan(store.offset(p), ElementCount(spec.shape))});
  }
  return tensors;
}

// One tensor of an open file and where it goes.
struct Copy {
  const TensorInfo* from = nullptr;
  std::span<float> to;
};

// Checks every tensor before the first is copied.
absl::Status PlanCopies(const SafetensorsFile& file, const ParamStore& store,
                        std::span<float> arena, const std::string& prefix,
                        std::vector<Copy>& copies) {
  for (size_t p = 0; p < store.specs().size(); ++p) {
    const ParamSpec& spec = store.specs()[p];
    const TensorInfo* info = file.Find(prefix + spec.name);
    if (info == nullptr || info->shape != spec.shape ||
        info->dtype != StoredDtype::kF32) {
      return FailedPrecondition(file.path() + ": " +
                                (info == nullptr
                                     ? "no tensor " + prefix + spec.name
                                     : prefix + spec.name + " is " +
                                           std::string(DtypeName(info->dtype)) +
                                           " " + ShapeText(info->shape)) +
                                "; expected F32 " + ShapeText(spec.shape) +
                                ": the model is not the one that was saved");
    }
    copies.push_back(
        {info, arena.subspan(store.offset(p), ElementCount(spec.shape))});
  }
  return absl::OkStatus();
}

absl::StatusOr<pb::CheckpointFile> Describe(const std::string& directory,
                                            const std::string& name) {
  const std::string path = directory + "/" + name;
  pb::CheckpointFile file;
  file.set_name(name);
  std::error_code error;
  file.set_bytes(static_cast<int64_t>(fs::file_size(path, error)));
  if (error) return DataLoss(path + ": " + error.message());
  ALIGN_ASSIGN_OR_RETURN(const std::string hash, FileContentHash(path));
  file.set_content_hash(hash);
  return file;
}

// The manifest of a checkpoint whose every file is as it was written.
absl::StatusOr<pb::CheckpointManifest> Verify(
    const std::string& directory, const std::vector<std::string>& names) {
  const std::string path = directory + "/" + kManifest;
  ALIGN_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const std::string_view view(text);
  pb::CheckpointManifest manifest;
  if (view.size() < kHashDigits ||
      ContentHash(view.substr(kHashDigits)) != view.substr(0, kHashDigits) ||
      !manifest.ParseFromString(text.substr(kHashDigits))) {
    return DataLoss(path + ": its hash does not match");
  }
  if (manifest.format_version() != kFormatVersion) {
    return DataLoss(path + ": format " +
                    std::to_string(manifest.format_version()) + "; expected " +
                    std::to_string(kFormatVersion));
  }
  for (const std::string& name : names) {
    const auto found = std::find_if(
        manifest.files().begin(), manifest.files().end(),
        [&](const pb::CheckpointFile& file) { return file.name() == name; });
    if (found == manifest.files().end()) {
      return DataLoss(path + ": does not list " + name);
    }
    ALIGN_ASSIGN_OR_RETURN(const pb::CheckpointFile now,
                           Describe(directory, name));
    if (now.bytes() != found->bytes() ||
        now.content_hash() != found->content_hash()) {
      return DataLoss(directory + "/" + name + ": " +
                      std::to_string(now.bytes()) + " bytes, hash " +
                      now.content_hash() + "; expected " +
                      std::to_string(found->bytes()) + " bytes, hash " +
                      found->content_hash());
    }
  }
  return manifest;
}

pb::CheckpointManifest ToManifest(const CheckpointState& state) {
  pb::CheckpointManifest manifest;
  manifest.set_format_version(kFormatVersion);
  manifest.set_step(state.step);
  manifest.set_config_hash(state.config_hash);
  for (const auto& [name, position] : state.positions) {
    (*manifest.mutable_positions())[name] = position;
  }
  for (const auto& [name, value] : state.values) {
    (*manifest.mutable_values())[name] = value;
  }
  for (const auto& [name, stream] : state.streams) {
    pb::RandomStream& out = (*manifest.mutable_random_streams())[name];
    out.set_key(stream.key);
    out.set_counter(stream.counter);
    out.set_has_spare(stream.has_spare);
    out.set_spare(stream.spare);
  }
  return manifest;
}

CheckpointState FromManifest(const pb::CheckpointManifest& manifest) {
  CheckpointState state;
  state.step = manifest.step();
  state.config_hash = manifest.config_hash();
  state.positions.insert(manifest.positions().begin(),
                         manifest.positions().end());
  state.values.insert(manifest.values().begin(), manifest.values().end());
  for (const auto& [name, stream] : manifest.random_streams()) {
    state.streams[name] = {.key = stream.key(),
                           .counter = stream.counter(),
                           .has_spare = stream.has_spare(),
                           .spare = stream.spare()};
  }
  return state;
}

constexpr std::pair<const char*, double losses::RunningMoments::*>
    kMomentFields[] = {{"moments.count", &losses::RunningMoments::count},
                       {"moments.mean", &losses::RunningMoments::mean},
                       {"moments.variance", &losses::RunningMoments::variance}};

}  // namespace

void SaveMoments(const losses::RunningMoments& moments,
                 CheckpointState& state) {
  for (const auto& [name, field] : kMomentFields) {
    state.values[name] = moments.*field;
  }
}

absl::Status RestoreMoments(const CheckpointState& state,
                            losses::RunningMoments& moments) {
  for (const auto& [name, field] : kMomentFields) {
    const auto found = state.values.find(name);
    if (found == state.values.end()) {
      return FailedPrecondition("checkpoint of step " +
                                std::to_string(state.step) + ": no value " +
                                name);
    }
    moments.*field = found->second;
  }
  return absl::OkStatus();
}

Checkpoints::Checkpoints(std::string root, int64_t keep,
                         std::vector<NamedStore> stores, Optimizer& optimizer)
    : root_(std::move(root)),
      keep_(keep),
      stores_(std::move(stores)),
      optimizer_(optimizer) {
  ALIGN_CHECK(keep_ >= 1) << "[Checkpoints] keep " << keep_;
  ALIGN_CHECK(optimizer_.state().size() == stores_.size())
      << "[Checkpoints] " << stores_.size() << " stores";
}

std::vector<std::string> Checkpoints::StoreFiles() const {
  std::vector<std::string> names;
  for (const NamedStore& named : stores_) {
    names.push_back(named.name + ".safetensors");
    names.push_back(named.name + ".moments.safetensors");
  }
  return names;
}

absl::Status Checkpoints::WriteFiles(const std::string& directory,
                                     const CheckpointState& state) {
  const std::vector<std::string> names = optimizer_.state_names();
  const auto arenas = optimizer_.state();
  for (size_t s = 0; s < stores_.size(); ++s) {
    const ParamStore& store = *stores_[s].store;
    const std::string path = directory + "/" + stores_[s].name;
    ALIGN_RETURN_IF_ERROR(WriteSafetensors(
        path + ".safetensors", TensorsOf(store, store.values(), "")));
    std::vector<TensorToWrite> tensors;
    for (size_t i = 0; i < names.size(); ++i) {
      std::vector<TensorToWrite> more =
          TensorsOf(store, arenas[s][i], names[i] + "/");
      tensors.insert(tensors.end(), more.begin(), more.end());
    }
    ALIGN_RETURN_IF_ERROR(
        WriteSafetensors(path + ".moments.safetensors", std::move(tensors)));
  }
  pb::CheckpointManifest manifest = ToManifest(state);
  manifest.set_optimizer_steps(optimizer_.steps());
  for (const std::string& name : StoreFiles()) {
    ALIGN_ASSIGN_OR_RETURN(*manifest.add_files(), Describe(directory, name));
  }
  const std::string body = manifest.SerializeAsString();
  return WriteFileAtomically(directory + "/" + kManifest,
                             ContentHash(body) + body);
}

absl::Status Checkpoints::Save(const CheckpointState& state) {
  const std::string name = StepName(state.step);
  const std::string final_path = root_ + "/" + name;
  const std::string aside = root_ + "/.writing-" + name;
  ALIGN_RETURN_IF_ERROR(RemoveAll(aside));
  ALIGN_RETURN_IF_ERROR(MakeDirectories(aside));
  ALIGN_RETURN_IF_ERROR(WriteFiles(aside, state));
  ALIGN_RETURN_IF_ERROR(SyncDirectory(aside));
  ALIGN_RETURN_IF_ERROR(RemoveAll(final_path));
  std::error_code error;
  fs::rename(aside, final_path, error);
  if (error) {
    return Internal(aside + ": cannot be renamed to " + final_path + ": " +
                    error.message());
  }
  ALIGN_RETURN_IF_ERROR(SyncDirectory(root_));
  // Steps beyond this one are left alone: such a directory was passed over on
  // restoring, and must not push good ones out.
  int64_t kept = 0;
  for (const auto& [step, path] : ListSteps(root_)) {
    if (step > state.step) continue;
    if (++kept > keep_) ALIGN_RETURN_IF_ERROR(RemoveAll(path));
  }
  return absl::OkStatus();
}

absl::Status Checkpoints::Load(const std::string& directory,
                               int64_t optimizer_steps) {
  std::vector<SafetensorsFile> files;
  for (const std::string& name : StoreFiles()) {
    ALIGN_ASSIGN_OR_RETURN(SafetensorsFile file,
                           SafetensorsFile::Open(directory + "/" + name));
    files.push_back(std::move(file));
  }
  std::vector<Copy> copies;
  const std::vector<std::string> names = optimizer_.state_names();
  const auto arenas = optimizer_.state();
  for (size_t s = 0; s < stores_.size(); ++s) {
    ParamStore& store = *stores_[s].store;
    ALIGN_RETURN_IF_ERROR(
        PlanCopies(files[2 * s], store, store.values(), "", copies));
    for (size_t i = 0; i < names.size(); ++i) {
      ALIGN_RETURN_IF_ERROR(PlanCopies(files[2 * s + 1], store, arenas[s][i],
                                       names[i] + "/", copies));
    }
  }
  for (const Copy& copy : copies) {
    ALIGN_RETURN_IF_ERROR(CopyToFloat(*copy.from, copy.to));
  }
  optimizer_.set_steps(optimizer_steps);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<CheckpointState>> Checkpoints::RestoreLatest(
    const std::string& config_hash) {
  for (const auto& [step, path] : ListSteps(root_)) {
    const absl::StatusOr<pb::CheckpointManifest> manifest =
        Verify(path, StoreFiles());
    if (!manifest.ok()) {
      LogWarning("checkpoint passed over: " + Message(manifest.status()));
      continue;
    }
    if (manifest->config_hash() != config_hash) {
      return FailedPrecondition(
          path + ": made by config " + manifest->config_hash() + "; expected " +
          config_hash +
          ": change the config back, or start in another directory");
    }
    ALIGN_RETURN_IF_ERROR(Load(path, manifest->optimizer_steps()));
    return FromManifest(*manifest);
  }
  return std::optional<CheckpointState>();
}

}  // namespace align::train
