#include "align/ops/head_chunks.h"

#include "align/dnnl/matmul.h"
#include "align/kernels/log_softmax.h"

namespace align {

void ComputeChunkLogits(const Tensor& rows, const LogitHead& head,
                        int64_t begin, int64_t n, double temperature,
                        float* out, int64_t stride) {
  const int64_t count = rows.dim(0), d = rows.dim(1);
  Matmul(RowMajor(rows.data(), count, d),
         Transposed(RowMajor(head.data() + begin * d, n, d)), out, stride);
  if (temperature == 1 && head.soft_cap == 0) return;
  ForHeadRows(count, [&](int64_t row) {
    kernels::ScaleLogits(out + row * stride, n, static_cast<float>(temperature),
                         static_cast<float>(head.soft_cap));
  });
}

Tensor HeadChunks::Logits(int64_t chunk) const {
  // While chunks are being kept, the next ones are not there yet.
  if (chunk < static_cast<int64_t>(kept_.size())) return kept_[chunk];
  const int64_t begin = chunk * kHeadChunk;
  const int64_t n = std::min(kHeadChunk, vocab() - begin);
  Tensor logits = Tensor::Empty({count(), n});
  ComputeChunkLogits(rows_, head_, begin, n, temperature_, logits.data(), n);
  return logits;
}

void HeadChunks::AddGradients(int64_t chunk, const Tensor& gradients) const {
  const int64_t begin = chunk * kHeadChunk, d = head_.dim(1);
  const int64_t n = gradients.dim(1);
  const MatrixView view = RowMajor(gradients.data(), count(), n);
  if (rows_.requires_grad()) {
    Matmul(view, RowMajor(head_.data() + begin * d, n, d), rows_.grad(), d,
           /*accumulate=*/true);
  }
  if (head_.requires_grad()) {
    Matmul(Transposed(view), RowMajor(rows_.data(), count(), d),
           head_.grad() + begin * d, d, /*accumulate=*/true);
  }
}

}  // namespace align
