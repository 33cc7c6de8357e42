#pragma once

#include <span>
#include <string>

#include "align/ops/packed_batch.h"
#include "align/text/tokenizer.h"

namespace align {

// What a model gets to see and learn, for people: a line of totals, then two
// lines a segment, such as
//
//   rows 7, segments 3, sequences 2, scored 4
//   segment 0: prompt, positions 0-2
//     <s>Hi
//   segment 1: sequence 0 on segment 0, positions 3-4, scored 2 of 2
//     ⟦!</s>⟧
//
// Tokens that are scored stand between ⟦ and ⟧. Control tokens are shown by
// name; line ends, tabs, backslashes and bytes that are not printable UTF-8 by
// an escape (\n, \t, \\, \xNN). The tokenizer must know every id of the batch.
// `notes`, one a sequence unless empty, follow the sequence's number:
// "segment 1: sequence 0, desirable, on segment 0, ...".
std::string ShowBatch(const PackedBatch& batch, const Tokenizer& tokenizer,
                      std::span<const std::string> notes = {});

}  // namespace align
