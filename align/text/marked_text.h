#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace align {

// What is known about a byte of a rendered text: a set of these.
enum TextMark : uint8_t {
  kMarkup = 1,  // a template wrote it, not its data
  kReply = 2,   // of an assistant's reply: the model learns it
};

// A text that knows where each of its bytes comes from, through everything a
// template does to it. A value.
class MarkedText {
 public:
  // Bytes up to `end` with the same marks.
  struct Run {
    size_t end;
    uint8_t marks;
    bool operator==(const Run&) const = default;
  };

  MarkedText() = default;
  MarkedText(std::string text, uint8_t marks);

  const std::string& text() const { return text_; }
  size_t size() const { return text_.size(); }
  bool empty() const { return text_.empty(); }
  // In order, none empty; neighbours differ, and the last one ends the text.
  const std::vector<Run>& runs() const { return runs_; }

  void Append(const MarkedText& other);
  void Append(std::string_view text, uint8_t marks);
  // Bytes [begin, end) with their marks.
  MarkedText Slice(size_t begin, size_t end) const;

  // Whether every byte of [begin, end) has the mark.
  bool AllHave(TextMark mark, size_t begin, size_t end) const;
  bool AnyHas(TextMark mark) const;
  // Adds the mark to the bytes [begin, end).
  void Add(TextMark mark, size_t begin, size_t end);

 private:
  // The run that byte `at` belongs to.
  size_t RunAt(size_t at) const;

  std::string text_;
  std::vector<Run> runs_;
};

}  // namespace align
