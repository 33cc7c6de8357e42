#include "align/train/reference_cache.h"

#include <algorithm>
#include <optional>
#include <unordered_set>
#include <utility>
#include <vector>

#include "align/base/files.h"
#include "align/base/log.h"
#include "align/data/tfrecord.h"
#include "align/dnnl/matmul.h"
#include "align/dnnl/precision.h"
#include "align/models/config_json.h"
#include "proto/reference_cache.pb.h"

namespace align::train {
namespace {

constexpr int64_t kFormatVersion = 1;
// Another number whenever kernels come to give other bits.
constexpr int64_t kNumericsVersion = 2;
// Tokens between two writings of the file while there is more to score.
constexpr int64_t kSaveEvery = int64_t{1} << 19;

void AppendNumber(double number, std::string& key) {
  key.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

void AppendAdapters(const LoraAdapters& adapters, std::string& key) {
  key += adapters.params().Hash();
  AppendNumber(adapters.options().Scale(), key);
  AppendNumber(adapters.options().use_dora ? 1 : 0, key);
}

// Parses a record; false for one that is damaged.
template <class Message>
bool Parse(const absl::StatusOr<std::string_view>& record, Message& message) {
  constexpr size_t kMostBytes = size_t{1} << 30;
  return record.ok() && record->size() <= kMostBytes &&
         message.ParseFromArray(record->data(),
                                static_cast<int>(record->size()));
}

void WarnOfDamage(const std::string& path, const std::string& what) {
  LogWarning(path + ": " + what + "; the reference scores it again");
}

}  // namespace

absl::StatusOr<std::string> ReferenceFingerprint(const Model& model,
                                                 double temperature) {
  ALIGN_ASSIGN_OR_RETURN(std::string text, ModelConfigJson(model.config()));
  text += model.params().Hash();
  if (model.adapters() != nullptr) AppendAdapters(*model.adapters(), text);
  text += PrecisionName(model.params().precision());
  AppendNumber(temperature, text);
  text += DescribeMatmul() + "\n" + std::to_string(MatmulIsa()) + "\n" +
          std::to_string(kNumericsVersion);
  return ContentHash(text);
}

ReferenceCache::ReferenceCache(std::string directory, std::string fingerprint)
    : directory_(std::move(directory)),
      fingerprint_(std::move(fingerprint)),
      path_(directory_ + "/" + fingerprint_ + ".tfrecord"),
      known_(std::make_shared<SequenceLogProbs>()) {}

absl::StatusOr<ReferenceCache> ReferenceCache::Open(
    const std::string& directory, const std::string& fingerprint) {
  ReferenceCache cache(directory, fingerprint);
  ALIGN_RETURN_IF_ERROR(cache.Read());
  return cache;
}

absl::Status ReferenceCache::Read() {
  if (!FileExists(path_)) return absl::OkStatus();
  const absl::StatusOr<TfRecordFile> file = TfRecordFile::Open(path_);
  if (absl::IsDataLoss(file.status())) {
    WarnOfDamage(path_, Message(file.status()));
    return absl::OkStatus();
  }
  if (!file.ok()) return file.status();
  pb::ReferenceCacheHeader header;
  if (!Parse(file->Read(0), header)) {
    WarnOfDamage(path_, "its header is damaged");
    return absl::OkStatus();
  }
  if (header.format_version() != kFormatVersion ||
      header.fingerprint() != fingerprint_) {
    return FailedPrecondition(
        path_ + ": log-probs of fingerprint " + header.fingerprint() +
        " in format " + std::to_string(header.format_version()) +
        "; expected " + fingerprint_ + " in format " +
        std::to_string(kFormatVersion) + ", or no file of this name");
  }
  int64_t damaged = 0;
  for (int64_t i = 1; i < file->count(); ++i) {
    pb::ReferenceSequence sequence;
    if (!Parse(file->Read(i), sequence)) {
      ++damaged;
      continue;
    }
    known_->insert_or_assign(sequence.key(),
                             std::vector<float>(sequence.log_probs().begin(),
                                                sequence.log_probs().end()));
  }
  if (damaged > 0) {
    WarnOfDamage(path_, std::to_string(damaged) + " of " +
                            std::to_string(file->count() - 1) +
                            " sequences are damaged");
  }
  return absl::OkStatus();
}

absl::Status ReferenceCache::Save() const {
  ALIGN_RETURN_IF_ERROR(MakeDirectories(directory_));
  ALIGN_ASSIGN_OR_RETURN(TfRecordWriter writer, TfRecordWriter::Create(path_));
  pb::ReferenceCacheHeader header;
  header.set_format_version(kFormatVersion);
  header.set_fingerprint(fingerprint_);
  ALIGN_RETURN_IF_ERROR(writer.Append(header.SerializeAsString()));
  std::vector<const SequenceLogProbs::value_type*> order;
  for (const auto& entry : *known_) order.push_back(&entry);
  std::ranges::sort(order, {}, [](const auto* entry) { return entry->first; });
  for (const auto* entry : order) {
    pb::ReferenceSequence sequence;
    sequence.set_key(entry->first);
    sequence.mutable_log_probs()->Add(entry->second.begin(),
                                      entry->second.end());
    ALIGN_RETURN_IF_ERROR(writer.Append(sequence.SerializeAsString()));
  }
  return writer.Close();
}

absl::StatusOr<int64_t> ReferenceCache::Score(
    const ReferenceLogProbs& reference, const Source<PackedBatch>& batches,
    const ScoringOptions& options) {
  const int64_t before = sequences();
  PackedBatch waiting;
  int64_t unsaved = 0;  // tokens
  for (;;) {
    ALIGN_ASSIGN_OR_RETURN(const std::optional<PackedBatch> batch, batches());
    if (batch) {
      AppendSequences(*batch, UnknownSequences(*batch, *known_), waiting);
    }
    if (waiting.rows() >= options.rows || (!batch && waiting.sequences > 0)) {
      ALIGN_RETURN_IF_ERROR(AddLogProbs(reference, waiting, *known_));
      unsaved += waiting.rows();
      waiting = PackedBatch();
    }
    const bool stop = batch && options.stop && options.stop();
    if (unsaved > 0 && (stop || !batch || unsaved >= kSaveEvery)) {
      ALIGN_RETURN_IF_ERROR(Save());
      unsaved = 0;
      LogInfo("reference: " + std::to_string(sequences()) +
              " sequences are scored");
    }
    if (!batch) return sequences() - before;
    if (stop) {
      return Cancelled(
          "stopped while the reference scores the data; run the same command "
          "again to continue");
    }
  }
}

ReferenceLogProbs ReferenceCache::LogProbs() const {
  return [known = known_](const PackedBatch& batch) {
    return RecallLogProbs(batch, *known);
  };
}

}  // namespace align::train
