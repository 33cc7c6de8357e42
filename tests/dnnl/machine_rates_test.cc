#include "align/dnnl/machine_rates.h"

#include <gtest/gtest.h>

#include "align/dnnl/precision.h"

namespace align {
namespace {

// A tiny part of the work takes less time: the clock is around the product.
TEST(MachineRatesTest, ALargerProductTakesLonger) {
  for (const Precision precision : {Precision::kF32, Precision::kBf16}) {
    SCOPED_TRACE(PrecisionName(precision));
    const double small = PackedProductSeconds(16, 16, 16, precision, 20);
    const double large = PackedProductSeconds(512, 512, 512, precision);
    EXPECT_GT(small, 0);
    EXPECT_GT(large, small);
  }
}

TEST(MachineRatesTest, BestRatesAreThoseOfAComputer) {
  const MachineRates rates = MeasureBestRates(Precision::kF32);
  EXPECT_GT(rates.flops_per_second, 1e8);
  EXPECT_LT(rates.flops_per_second, 1e15);
  EXPECT_GT(rates.bytes_per_second, 1e8);
  EXPECT_LT(rates.bytes_per_second, 1e13);
}

}  // namespace
}  // namespace align
