#include "align/text/sentencepiece.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "align/base/check.h"
#include "align/base/files.h"
#include "align/text/sentencepiece_merge.h"
#include "align/text/sentencepiece_normalizer.h"
#include "align/text/unigram_model.h"
#include "proto/sentencepiece.pb.h"

namespace align {
namespace {

using Piece = pb::SentencePieceModel::Piece;

constexpr int64_t kMaxModelBytes = 256 << 20;
constexpr std::string_view kSpaceSymbol = "\xe2\x96\x81";  // U+2581
constexpr std::string_view kUnknownSurface = " \xe2\x81\x87 ";

// The 256 names of byte pieces, <0x00> to <0xFF>.
std::string ByteName(int byte) {
  char name[8];
  std::snprintf(name, sizeof name, "<0x%02X>", static_cast<unsigned>(byte));
  return name;
}

}  // namespace

struct SentencePieceTokenizer::Model {
  explicit Model(SentencePieceNormalizer normalizer)
      : normalizer(std::move(normalizer)) {}

  SentencePieceNormalizer normalizer;
  std::vector<std::string> names;
  std::vector<Piece::Type> types;
  MergeTable table;
  std::optional<UnigramModel> unigram;  // else byte pairs, by `table`
  std::array<int32_t, 256> byte_ids{};
  std::vector<uint8_t> byte_values;  // [vocab], where the type is BYTE
  bool byte_fallback = false;
  int32_t unknown = -1;
  std::optional<int32_t> bos;
  std::optional<int32_t> eos;

  absl::Status Fill(const pb::SentencePieceModel& proto,
                    const std::string& name);
  absl::Status MakeUnigram(const std::string& name);
  std::vector<int32_t> Encode(std::string_view text, bool continuation) const;
};

namespace {

// Refuses what this tokenizer does not implement.
absl::Status CheckSupported(const pb::SentencePieceModel& proto,
                            const std::string& name) {
  const auto& trainer = proto.trainer_spec();
  if (trainer.model_type() != pb::SentencePieceModel::Trainer::BPE &&
      trainer.model_type() != pb::SentencePieceModel::Trainer::UNIGRAM) {
    return Unimplemented(
        name + ": SentencePiece model type " +
        pb::SentencePieceModel::Trainer::ModelType_Name(trainer.model_type()) +
        "; BPE or UNIGRAM expected");
  }
  if (trainer.treat_whitespace_as_suffix()) {
    return Unimplemented(name +
                         ": treat_whitespace_as_suffix is set; spaces before "
                         "words expected");
  }
  return absl::OkStatus();
}

// The id that the trainer names, if its piece really is a control piece.
std::optional<int32_t> ControlId(const pb::SentencePieceModel& proto,
                                 int32_t id) {
  if (id < 0 || id >= proto.pieces_size()) return std::nullopt;
  if (proto.pieces(id).type() != Piece::CONTROL) return std::nullopt;
  return id;
}

std::string At(const std::string& name, int index) {
  return name + ": piece " + std::to_string(index);
}

}  // namespace

absl::Status SentencePieceTokenizer::Model::Fill(
    const pb::SentencePieceModel& proto, const std::string& name) {
  const int count = proto.pieces_size();
  names.reserve(count);
  byte_values.resize(count, 0);
  byte_ids.fill(-1);
  absl::flat_hash_map<std::string, int> values;
  for (int byte = 0; byte < 256; ++byte) values[ByteName(byte)] = byte;
  absl::flat_hash_map<std::string, int32_t> reserved;
  for (int i = 0; i < count; ++i) {
    const Piece& piece = proto.pieces(i);
    if (piece.piece().empty() || !std::isfinite(piece.score())) {
      return InvalidArgument(At(name, i) +
                             ": a text and a finite score expected");
    }
    names.push_back(piece.piece());
    table.scores.push_back(piece.score());
    table.unused.push_back(piece.type() == Piece::UNUSED);
    types.push_back(piece.type());
    const bool is_text = piece.type() == Piece::NORMAL ||
                         piece.type() == Piece::USER_DEFINED ||
                         piece.type() == Piece::UNUSED;
    const bool is_new = is_text ? table.ids.emplace(names.back(), i).second
                                : reserved.emplace(names.back(), i).second;
    if (!is_new) return InvalidArgument(At(name, i) + ": defined twice");
    if (piece.type() == Piece::UNKNOWN) {
      if (unknown >= 0) {
        return InvalidArgument(At(name, i) + ": a second unknown piece");
      }
      unknown = i;
    } else if (piece.type() == Piece::BYTE) {
      const auto value = values.find(piece.piece());
      if (value == values.end()) {
        return InvalidArgument(At(name, i) +
                               ": a byte piece; <0x00> to <0xFF> expected");
      }
      byte_ids[value->second] = i;
      byte_values[i] = static_cast<uint8_t>(value->second);
    }
  }
  if (unknown < 0) return InvalidArgument(name + ": no unknown piece");
  byte_fallback = proto.trainer_spec().byte_fallback();
  if (byte_fallback &&
      std::find(byte_ids.begin(), byte_ids.end(), -1) != byte_ids.end()) {
    return InvalidArgument(name +
                           ": byte_fallback is set; all 256 byte pieces "
                           "expected");
  }
  bos = ControlId(proto, proto.trainer_spec().bos_id());
  eos = ControlId(proto, proto.trainer_spec().eos_id());
  if (proto.trainer_spec().model_type() ==
      pb::SentencePieceModel::Trainer::UNIGRAM) {
    return MakeUnigram(name);
  }
  table.within_words = MergesWithinWords(table);
  return absl::OkStatus();
}

absl::Status SentencePieceTokenizer::Model::MakeUnigram(
    const std::string& name) {
  float lowest = std::numeric_limits<float>::max();
  float highest = std::numeric_limits<float>::min();  // above 0, as upstream
  for (size_t id = 0; id < names.size(); ++id) {
    if (types[id] != Piece::NORMAL) continue;
    lowest = std::min(lowest, table.scores[id]);
    highest = std::max(highest, table.scores[id]);
  }
  std::vector<UnigramModel::Piece> pieces;
  for (size_t id = 0; id < names.size(); ++id) {
    if (types[id] != Piece::NORMAL && types[id] != Piece::USER_DEFINED) {
      continue;
    }
    if (names[id].size() > UnigramModel::kLongestPiece) {
      return InvalidArgument(
          At(name, static_cast<int>(id)) + ": " +
          std::to_string(names[id].size()) + " bytes; at most " +
          std::to_string(UnigramModel::kLongestPiece) + " expected");
    }
    // User-defined pieces win over any path through others.
    const double score =
        types[id] == Piece::NORMAL
            ? table.scores[id]
            : static_cast<float>(names[id].size()) * highest - 0.1;
    pieces.push_back({names[id], static_cast<int32_t>(id), score});
  }
  unigram.emplace(std::move(pieces), lowest, UnigramModel::Sums::kFloat);
  return absl::OkStatus();
}

std::vector<int32_t> SentencePieceTokenizer::Model::Encode(
    std::string_view text, bool continuation) const {
  const std::string normalized = normalizer.Normalize(text, continuation);
  std::vector<int32_t> out;
  out.reserve(normalized.size() / 3 + 1);
  bool after_unknown = false;
  const auto take = [&](std::string_view piece, int32_t id) {
    if (id >= 0) {
      out.push_back(id);
    } else if (byte_fallback) {
      for (const char c : piece) {
        out.push_back(byte_ids[static_cast<uint8_t>(c)]);
      }
    } else if (!after_unknown) {
      out.push_back(unknown);
    }
    after_unknown = id < 0;
  };
  if (unigram) {
    for (const UnigramPiece& piece : unigram->Segment(normalized)) {
      take(piece.text, piece.id);
    }
    return out;
  }
  for (const MergedPiece& piece : MergePieces(normalized, table, normalizer)) {
    take(piece.text, piece.id);
  }
  return out;
}

absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>>
SentencePieceTokenizer::Load(const std::string& path) {
  ALIGN_ASSIGN_OR_RETURN(const std::string bytes,
                         ReadFile(path, kMaxModelBytes));
  return Parse(bytes, path);
}

absl::StatusOr<std::unique_ptr<SentencePieceTokenizer>>
SentencePieceTokenizer::Parse(std::string_view bytes, const std::string& name) {
  pb::SentencePieceModel proto;
  if (static_cast<int64_t>(bytes.size()) > kMaxModelBytes ||
      !proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return InvalidArgument(name + ": not a SentencePiece model, or truncated");
  }
  if (proto.pieces().empty()) {
    return InvalidArgument(name +
                           ": no pieces; a SentencePiece model expected");
  }
  ALIGN_RETURN_IF_ERROR(CheckSupported(proto, name));
  const auto& spec = proto.normalizer_spec();
  SentencePieceNormalizer::Options options{
      .charsmap = spec.precompiled_charsmap(),
      .add_dummy_prefix = spec.add_dummy_prefix(),
      .remove_extra_whitespaces = spec.remove_extra_whitespaces(),
      .escape_whitespaces = spec.escape_whitespaces(),
      .verbatim = {}};
  for (const Piece& piece : proto.pieces()) {
    if (piece.type() == Piece::USER_DEFINED && !piece.piece().empty()) {
      options.verbatim.push_back(piece.piece());
    }
  }
  auto normalizer = SentencePieceNormalizer::Make(std::move(options));
  if (!normalizer.ok()) return Annotate(normalizer.status(), name);
  auto model = std::make_unique<Model>(std::move(*normalizer));
  ALIGN_RETURN_IF_ERROR(model->Fill(proto, name));
  return std::unique_ptr<SentencePieceTokenizer>(
      new SentencePieceTokenizer(std::move(model)));
}

SentencePieceTokenizer::SentencePieceTokenizer(std::unique_ptr<Model> model)
    : model_(std::move(model)) {}

SentencePieceTokenizer::~SentencePieceTokenizer() = default;

std::vector<int32_t> SentencePieceTokenizer::Encode(
    std::string_view text) const {
  return model_->Encode(text, /*continuation=*/false);
}

std::vector<int32_t> SentencePieceTokenizer::EncodeContinuation(
    std::string_view text) const {
  return model_->Encode(text, /*continuation=*/true);
}

std::string SentencePieceTokenizer::Decode(std::span<const int32_t> ids) const {
  std::string text = DecodeContinuation(ids);
  if (!model_->normalizer.strips_leading_space()) return text;
  // The first piece with text lost a space only if it began with one.
  for (const int32_t id : ids) {
    if (model_->types[id] == Piece::CONTROL) continue;
    if (model_->names[id].starts_with(kSpaceSymbol)) text.erase(0, 1);
    break;
  }
  return text;
}

std::string SentencePieceTokenizer::DecodePiece(int32_t id) const {
  ALIGN_CHECK(id >= 0 && id < vocab_size())
      << "[SentencePieceTokenizer] id " << id << " of " << vocab_size();
  const std::string& name = model_->names[id];
  switch (model_->types[id]) {
    case Piece::CONTROL:
      return {};
    case Piece::UNKNOWN:
      return std::string(kUnknownSurface);
    case Piece::BYTE:
      return std::string(1, static_cast<char>(model_->byte_values[id]));
    default:
      break;
  }
  std::string text;
  for (size_t i = 0; i < name.size();) {
    if (std::string_view(name).substr(i).starts_with(kSpaceSymbol)) {
      text += ' ';
      i += kSpaceSymbol.size();
    } else {
      text += name[i++];
    }
  }
  return text;
}

std::string SentencePieceTokenizer::PieceName(int32_t id) const {
  ALIGN_CHECK(id >= 0 && id < vocab_size())
      << "[SentencePieceTokenizer] id " << id << " of " << vocab_size();
  return model_->names[id];
}

int32_t SentencePieceTokenizer::vocab_size() const {
  return static_cast<int32_t>(model_->names.size());
}

std::optional<int32_t> SentencePieceTokenizer::bos_id() const {
  return model_->bos;
}

std::optional<int32_t> SentencePieceTokenizer::eos_id() const {
  return model_->eos;
}

}  // namespace align
