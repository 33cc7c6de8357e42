#include "align/text/marked_text.h"

#include <algorithm>
#include <utility>

#include "align/base/check.h"

namespace align {

MarkedText::MarkedText(std::string text, uint8_t marks)
    : text_(std::move(text)) {
  if (!text_.empty()) runs_.push_back({text_.size(), marks});
}

size_t MarkedText::RunAt(size_t at) const {
  const auto run = std::upper_bound(
      runs_.begin(), runs_.end(), at,
      [](size_t position, const Run& r) { return position < r.end; });
  return static_cast<size_t>(run - runs_.begin());
}

void MarkedText::Append(std::string_view text, uint8_t marks) {
  if (text.empty()) return;
  text_ += text;
  if (!runs_.empty() && runs_.back().marks == marks) {
    runs_.back().end = text_.size();
  } else {
    runs_.push_back({text_.size(), marks});
  }
}

void MarkedText::Append(const MarkedText& other) {
  size_t begin = 0;
  for (const Run& run : other.runs_) {
    Append(std::string_view(other.text_).substr(begin, run.end - begin),
           run.marks);
    begin = run.end;
  }
}

MarkedText MarkedText::Slice(size_t begin, size_t end) const {
  ALIGN_CHECK(begin <= end && end <= size())
      << "[MarkedText] " << begin << "-" << end << " of " << size();
  MarkedText slice;
  if (begin == end) return slice;
  slice.text_ = text_.substr(begin, end - begin);
  for (size_t i = RunAt(begin); i < runs_.size(); ++i) {
    slice.runs_.push_back(
        {std::min(runs_[i].end, end) - begin, runs_[i].marks});
    if (runs_[i].end >= end) break;
  }
  return slice;
}

bool MarkedText::AllHave(TextMark mark, size_t begin, size_t end) const {
  for (size_t i = RunAt(begin); begin < end && i < runs_.size(); ++i) {
    if ((runs_[i].marks & mark) == 0) return false;
    begin = runs_[i].end;
  }
  return true;
}

bool MarkedText::AnyHas(TextMark mark) const {
  return std::any_of(runs_.begin(), runs_.end(), [mark](const Run& run) {
    return (run.marks & mark) != 0;
  });
}

void MarkedText::Add(TextMark mark, size_t begin, size_t end) {
  const MarkedText before = Slice(0, begin), after = Slice(end, size());
  MarkedText middle = Slice(begin, end);
  for (Run& run : middle.runs_) run.marks |= mark;
  *this = before;
  size_t at = 0;
  for (const Run& run : middle.runs_) {
    Append(std::string_view(middle.text_).substr(at, run.end - at), run.marks);
    at = run.end;
  }
  Append(after);
}

}  // namespace align
