#include "align/dnnl/machine_rates.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <vector>

#include "align/base/storage.h"
#include "align/base/threads.h"
#include "align/dnnl/packed_matrix.h"

namespace align {
namespace {

// The least seconds of `tries` calls, after one that is not counted.
template <class Body>
double LeastSeconds(int tries, const Body& body) {
  using Clock = std::chrono::steady_clock;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i <= tries; ++i) {
    const Clock::time_point start = Clock::now();
    body();
    const double seconds =
        std::chrono::duration<double>(Clock::now() - start).count();
    if (i > 0) least = std::min(least, seconds);
  }
  return least;
}

// Changes memory in place: where a write goes to a line that was not read, the
// CPU reads it first, and a copy moves half more than it says.
double StreamBytesPerSecond() {
  constexpr int64_t kBlock = int64_t{1} << 18;  // floats
  constexpr int64_t kBlocks = 128;
  constexpr int64_t kFloats = kBlocks * kBlock;
  // Tensors' own kind, in huge pages.
  const Storage memory = AllocateStorage(kFloats);
  std::fill_n(memory.get(), kFloats, 0.0f);
  const double seconds = LeastSeconds(4, [&] {
    ParallelFor(kBlocks, [&](int64_t block) {
      float* x = memory.get() + block * kBlock;
      for (int64_t i = 0; i < kBlock; ++i) x[i] += 1.0f;
    });
  });
  return 2.0 * sizeof(float) * kFloats / seconds;
}

}  // namespace

double PackedProductSeconds(int64_t m, int64_t k, int64_t n,
                            Precision precision, int tries) {
  const std::vector<float> b(k * n, 0.5f);
  const PackedMatrix packed(RowMajor(b.data(), k, n), precision);
  const std::vector<float> a(m * k, 0.5f);
  const std::vector<Bf16> rounded(m * k, Bf16{0x3f00});  // 0.5
  std::vector<float> c(m * n);
  return LeastSeconds(tries, [&] {
    if (precision == Precision::kBf16) {
      packed.MultiplyInOneCall(rounded.data(), m, c.data());
    } else {
      packed.MultiplyInOneCall(a.data(), m, c.data());
    }
  });
}

MachineRates MeasureBestRates(Precision precision) {
  constexpr int64_t kSide = 1024;
  return {
      .flops_per_second = 2.0 * kSide * kSide * kSide /
                          PackedProductSeconds(kSide, kSide, kSide, precision),
      .bytes_per_second = StreamBytesPerSecond()};
}

}  // namespace align
