#pragma once

#include <cstdint>

namespace align {

// The bytes that AllocateStorage(count) takes: up to a quarter more than the
// floats need. For predictions of memory.
int64_t StorageBytes(int64_t count);

}  // namespace align
