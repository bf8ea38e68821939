// What four warps do together on Hopper's tensor cores: see wgmma.py. Uses mma.cuh.
#ifndef TOPHUB_WGMMA_SHARED
#define TOPHUB_WGMMA_SHARED

template <int N>
struct tophub_columns {};

#ifndef TOPHUB_MMA_EMULATED
// Where 16 bytes lie in shared memory with rows of 128 bytes that are swizzled.
__device__ __forceinline__ unsigned tophub_swizzled(unsigned at) { return at ^ (at >> 3 & 0x70); }

__device__ __forceinline__ void tophub_copy_swizzled(void* to, const void* from, bool inside) {
  unsigned at = tophub_swizzled(static_cast<unsigned>(__cvta_generic_to_shared(to)));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(inside ? 16 : 0));
}

__device__ __forceinline__ void tophub_load_swizzled(unsigned* to, const void* row) {
  unsigned at = tophub_swizzled(static_cast<unsigned>(__cvta_generic_to_shared(row)));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(at));
}

// Describes rows in shared memory to an instruction, as the PTX ISA says under "Matrix Descriptor Format": groups of
// eight rows are 1,024 bytes apart, with the swizzling of 128 bytes. They begin at multiples of 1,024 bytes: all tiles
// have multiples of eight rows, and on these GPUs a block's dynamic shared memory begins at one.
__device__ __forceinline__ unsigned long long tophub_rows(const void* first) {
  unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(first));
  return (1ull << 62) | (64ull << 32) | (1ull << 16) | (at >> 4 & 0x3fff);
}

// What copies wrote becomes visible to the instructions, which read shared memory by another way.
__device__ __forceinline__ void tophub_publish() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// Waits for this thread's copies but those of the last so many steps, and publishes them. It takes long where copies
// have just begun.
template <int STEPS>
__device__ __forceinline__ void tophub_arrived() {
  asm volatile("cp.async.wait_group %0;" ::"n"(STEPS) : "memory");
  tophub_publish();
}

__device__ __forceinline__ void tophub_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void tophub_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

__device__ __forceinline__ void tophub_finish() { asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory"); }

template <int N, typename Half>
__device__ __forceinline__ void tophub_add_shared(float* sums, const Half* data, const Half* weights) {
  // The four warps' rows, as one instruction takes them.
  unsigned long long a = tophub_rows(data - (threadIdx.y & 3) * 16 * 64), b = tophub_rows(weights);
  tophub_publish();
  tophub_begin();
#pragma unroll
  for (int i = 0; i < 4; ++i) tophub_multiply(tophub_columns<N>(), sums, a + 2 * i, b + 2 * i);
  tophub_commit();
}

template <int N>
__device__ __forceinline__ void tophub_add_rounded(float* sums, const float* data, const float* weights) {
  unsigned a[4][4];
  int lane = threadIdx.x;
  const float* row = data + (lane & 15) * 32 + (lane >> 4) * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    tophub_load_swizzled(a[i], row + 8 * i);
#pragma unroll
    for (int j = 0; j < 4; ++j) a[i][j] = tophub_tf32(__uint_as_float(a[i][j]));
  }
  unsigned long long b = tophub_rows(weights);
  tophub_publish();
  tophub_begin();
#pragma unroll
  for (int i = 0; i < 4; ++i) tophub_multiply(tophub_columns<N>(), sums, a[i], b + 2 * i);
  tophub_commit();
}

// Of weights there are both parts. While tensor cores work, the next eight columns of the data are split.
template <int N, bool PUBLISHED>
__device__ __forceinline__ void tophub_multiply_split(float* added, const float* data, const float* weights, int apart) {
  unsigned numbers[4][4], a[4][4], rest[4][4];
  int lane = threadIdx.x;
  const float* row = data + (lane & 15) * 32 + (lane >> 4) * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) tophub_load_swizzled(numbers[i], row + 8 * i);
  unsigned long long b = tophub_rows(weights), rest_of_b = tophub_rows(weights + apart);
  if (!PUBLISHED) tophub_publish();
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) tophub_split(__uint_as_float(numbers[i][j]), a[i][j], rest[i][j]);
    tophub_begin();
    tophub_multiply(tophub_columns<N>(), added, rest[i], b + 2 * i, i > 0);
    tophub_multiply(tophub_columns<N>(), added, a[i], rest_of_b + 2 * i);
    tophub_multiply(tophub_columns<N>(), added, a[i], b + 2 * i);
  }
  tophub_commit();
}
#endif  // TOPHUB_MMA_EMULATED

// As in `tophub_add_3xtf32`: tensor cores add up a step's products only.
template <int N>
__device__ __forceinline__ void tophub_collect(float* sums, const float* added) {
  tophub_finish();
#pragma unroll
  for (int i = 0; i < N / 2; ++i) sums[i] += added[i];
}

// The functions for tiles of N columns, of which tensor intrinsics know the names.
#define TOPHUB_WGMMA(N)                                                                                            \
  template <typename Half>                                                                                         \
  __device__ __forceinline__ void tophub_wgmma_float16_##N(float* sums, const Half* data, const Half* weights) {   \
    tophub_add_shared<N>(sums, data, weights);                                                                     \
  }                                                                                                                \
  __device__ __forceinline__ void tophub_wgmma_tf32_##N(float* sums, const float* data, const float* weights) {    \
    tophub_add_rounded<N>(sums, data, weights);                                                                    \
  }                                                                                                                \
  __device__ __forceinline__ void tophub_wgmma_3xtf32_##N(                                                         \
      float* sums, const float* data, const float* weights, int apart) {                                           \
    float added[N / 2];                                                                                            \
    tophub_multiply_split<N, false>(added, data, weights, apart);                                                  \
    tophub_collect<N>(sums, added);                                                                                \
  }                                                                                                                \
  /* Leaves a step's sums behind those of all steps, until they are collected. */                                  \
  __device__ __forceinline__ void tophub_wgmma_3xtf32_begin_##N(                                                   \
      float* sums, const float* data, const float* weights, int apart) {                                           \
    tophub_multiply_split<N, true>(sums + N / 2, data, weights, apart);                                            \
  }                                                                                                                \
  __device__ __forceinline__ void tophub_wgmma_3xtf32_collect_##N(float* sums) {                                   \
    tophub_collect<N>(sums, sums + N / 2);                                                                         \
  }                                                                                                                \
  __device__ __forceinline__ void tophub_wgmma_clear_##N(float* sums) {                                            \
    _Pragma("unroll") for (int i = 0; i < N / 16; ++i) tophub_clear(sums + 8 * i);                                 \
  }                                                                                                                \
  __device__ __forceinline__ void tophub_wgmma_store_##N(float* to, const float* sums, int stride) {               \
    _Pragma("unroll") for (int i = 0; i < N / 16; ++i) tophub_store(to + 16 * i, sums + 8 * i, stride);            \
  }
#endif  // TOPHUB_WGMMA_SHARED
