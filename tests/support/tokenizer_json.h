#pragma once

// Small tokenizer.json files, made in tests.

#include <string>
#include <utility>
#include <vector>

namespace align {

// Member by member of a tokenizer.json, as JSON texts.
struct TokenizerJson {
  std::string added_tokens = "[]";
  std::string normalizer = "null";
  std::string pre_tokenizer = "null";
  std::string post_processor = "null";
  std::string decoder = R"({"type": "Fuse"})";
  std::string model;

  std::string Text() const {
    return R"({"version": "1.0", "truncation": null, "padding": null,
"added_tokens": )" +
           added_tokens + ",\n\"normalizer\": " + normalizer +
           ",\n\"pre_tokenizer\": " + pre_tokenizer +
           ",\n\"post_processor\": " + post_processor +
           ",\n\"decoder\": " + decoder + ",\n\"model\": " + model + "}";
  }
};

inline std::string Quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

// A BPE over `pieces` (ids in order) with merges "a b"; `more` are further
// members, each with a comma before it.
inline std::string BpeModel(const std::vector<std::string>& pieces,
                            const std::vector<std::string>& merges,
                            const std::string& more = "") {
  std::string vocab, list;
  for (size_t i = 0; i < pieces.size(); ++i) {
    vocab +=
        (i == 0 ? "" : ", ") + Quoted(pieces[i]) + ": " + std::to_string(i);
  }
  for (size_t i = 0; i < merges.size(); ++i) {
    list += (i == 0 ? "" : ", ") + Quoted(merges[i]);
  }
  return R"({"type": "BPE", "vocab": {)" + vocab + R"(}, "merges": [)" + list +
         "]" + more + "}";
}

inline std::string UnigramModelJson(
    const std::vector<std::pair<std::string, std::string>>& pieces,
    const std::string& more = "") {
  std::string vocab;
  for (const auto& [text, score] : pieces) {
    vocab += (vocab.empty() ? "[" : ", [") + Quoted(text) + ", " + score + "]";
  }
  return R"({"type": "Unigram", "unk_id": 0, "vocab": [)" + vocab + "]" + more +
         "}";
}

constexpr char kByteLevel[] =
    R"({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true})";

// The 256 symbols of the byte-level alphabet in the order of their bytes.
inline std::vector<std::string> ByteAlphabet() {
  std::vector<std::string> symbols;
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool prints = (byte >= '!' && byte <= '~') ||
                        (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    const int c = prints ? byte : next++;
    symbols.push_back(c < 0x80
                          ? std::string(1, static_cast<char>(c))
                          : std::string{static_cast<char>(0xC0 | c >> 6),
                                        static_cast<char>(0x80 | (c & 63))});
  }
  return symbols;
}

// A GPT-2 in small: ids 0-255 are the bytes, then
//   256 "he"  257 "ll"  258 "hell"  259 "hello"  260 " h"
//   261 " hello"  262 "<|end|>" (special, added)
inline TokenizerJson ByteLevelJson() {
  std::vector<std::string> pieces = ByteAlphabet();
  const std::string space = "\xc4\xa0";  // U+0120
  for (const std::string& piece :
       {std::string("he"), std::string("ll"), std::string("hell"),
        std::string("hello"), space + "h", space + "hello"}) {
    pieces.push_back(piece);
  }
  TokenizerJson json;
  json.added_tokens = R"([{"id": 262, "content": "<|end|>", "special": true,
    "single_word": false, "lstrip": false, "rstrip": false,
    "normalized": false}])";
  json.pre_tokenizer = kByteLevel;
  json.decoder = kByteLevel;
  json.model = BpeModel(pieces, {"h e", "l l", "he ll", "hell o", space + " h",
                                 space + " hello"});
  return json;
}

}  // namespace align
