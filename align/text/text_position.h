#pragma once

// Internal to align/text.

namespace align {

// Where a stretch of text stands, for what is put before texts.
enum class TextPosition {
  kStart,         // the text begins with it
  kContinuation,  // the same, but the text continues another one
  kInside         // something stands before it
};

}  // namespace align
