#pragma once

// Small tokenizer files that are in order, for tests to damage.

#include <string>
#include <vector>

#include "proto/sentencepiece.pb.h"
#include "tests/support/tokenizer_json.h"

namespace align {

// Of each kind of model, normalizer and pre-tokenizer something.
inline std::vector<std::string> TokenizerJsonSeeds() {
  std::vector<std::string> seeds = {ByteLevelJson().Text()};
  TokenizerJson json = ByteLevelJson();
  json.normalizer = R"({"type": "Sequence", "normalizers": [
    {"type": "NFC"}, {"type": "Replace", "pattern": {"Regex": " {2,}"},
                      "content": " "}, {"type": "Lowercase"}]})";
  json.pre_tokenizer = R"x({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|\\p{L}+|\\s+(?!\\S)"},
     "behavior": "Isolated", "invert": false},
    {"type": "Digits", "individual_digits": true},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
     "use_regex": false}]})x";
  json.post_processor = R"({"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [262],
                                   "tokens": ["<|end|>"]}}})";
  seeds.push_back(json.Text());
  TokenizerJson small;
  small.pre_tokenizer = R"({"type": "Metaspace", "replacement": "_",
    "prepend_scheme": "first", "split": true})";
  small.decoder = R"({"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "_"}, "content": " "},
    {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]})";
  small.model =
      BpeModel({"<unk>", "_", "t", "h", "e", "th", "the", "<0x41>"},
               {"t h", "th e"}, R"(, "unk_token": "<unk>", "fuse_unk": true)");
  seeds.push_back(small.Text());
  small.model = UnigramModelJson(
      {{"<unk>", "0"}, {"_", "-1"}, {"the", "-2.5"}, {"e", "-3"}});
  seeds.push_back(small.Text());
  return seeds;
}

// A model of bytes as SentencePiece writes it.
inline std::string SentencePieceSeed(bool unigram) {
  using Model = pb::SentencePieceModel;
  Model model;
  const auto add = [&](const std::string& text, float score,
                       Model::Piece::Type type) {
    Model::Piece* piece = model.add_pieces();
    piece->set_piece(text);
    piece->set_score(score);
    piece->set_type(type);
  };
  add("<unk>", 0, Model::Piece::UNKNOWN);
  add("<s>", 0, Model::Piece::CONTROL);
  add("</s>", 0, Model::Piece::CONTROL);
  add("user", 0, Model::Piece::USER_DEFINED);
  float score = 0;
  for (const char* text : {"\xe2\x96\x81", "t", "h", "e", "he", "the", "a"}) {
    add(text, --score, Model::Piece::NORMAL);
  }
  model.mutable_trainer_spec()->set_model_type(unigram ? Model::Trainer::UNIGRAM
                                                       : Model::Trainer::BPE);
  model.mutable_normalizer_spec()->set_add_dummy_prefix(true);
  return model.SerializeAsString();
}

}  // namespace align
