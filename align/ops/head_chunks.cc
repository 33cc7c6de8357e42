#include "align/ops/head_chunks.h"

#include "align/dnnl/matmul.h"
#include "align/kernels/log_softmax.h"

namespace align {

namespace {

// The rows [begin, begin + n) of the head, [n, D].
MatrixView HeadRows(const LogitHead& head, int64_t begin, int64_t n) {
  return RowMajor(head.data() + begin * head.dim(1), n, head.dim(1));
}

}  // namespace

void ComputeChunkLogits(const Tensor& rows, const LogitHead& head,
                        int64_t begin, int64_t n, double temperature,
                        float* out) {
  MultiplyByWeight(ProductRows(rows, PrecisionOf(head)), head,
                   Transposed(HeadRows(head, begin, n)), out);
  if (temperature == 1 && head.soft_cap == 0) return;
  ForHeadRows(rows.dim(0), [&](int64_t row) {
    kernels::ScaleLogits(out + row * n, n, static_cast<float>(temperature),
                         static_cast<float>(head.soft_cap));
  });
}

Tensor HeadChunks::Logits(int64_t chunk) const {
  // While chunks are being kept, the next ones are not there yet.
  if (chunk < static_cast<int64_t>(kept_.size())) return kept_[chunk];
  const int64_t begin = chunk * kHeadChunk;
  const int64_t n = std::min(kHeadChunk, vocab() - begin);
  Tensor logits = Tensor::Empty({count(), n});
  ComputeChunkLogits(rows_, head_, begin, n, temperature_, logits.data());
  return logits;
}

void HeadChunks::AddProducts(int64_t chunk, const ProductRows& dz) const {
  const int64_t begin = chunk * kHeadChunk;
  if (rows_.requires_grad()) {
    const Tensor::GradTarget target = rows_.TakeGrad();
    MultiplyByWeight(dz, head_, HeadRows(head_, begin, dz.width()), target.data,
                     target.accumulate);
  }
  if (head_.requires_grad()) {
    const Precision precision = PrecisionOf(head_);
    AddOuterProducts(dz, ProductRows(rows_, precision), precision,
                     head_.grad() + begin * head_.dim(1));
  }
}

}  // namespace align
