// What a warp does on tensor cores. Its tiles of 16 x 16 sums and of 16 x K factors (K is 16 for float16, 8 for TF32)
// are spread over its 32 threads as the PTX ISA says under "Matrix Fragments for mma.m16n8k16" and "mma.m16n8k8", two
// of which make 16 columns. Each thread keeps its part in the first elements of a local array.
#ifndef TOPHUB_MMA
#define TOPHUB_MMA

#ifndef TOPHUB_MMA_EMULATED
// Reads four 8 x 8 matrices of 16 bits; each thread gives the address of one row of 16 bytes.
__device__ __forceinline__ void tophub_ldmatrix(unsigned* to, const void* row) {
  unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(at));
}

// Begins to copy 16 bytes into shared memory, zeros if they are not inside.
__device__ __forceinline__ void tophub_copy(void* to, const void* from, bool inside) {
  unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(inside ? 16 : 0));
}

__device__ __forceinline__ void tophub_mma_f16(float* sums, const unsigned* a, const unsigned* b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void tophub_mma_tf32(float* sums, const unsigned* a, const unsigned* b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Rounds to ten bits of mantissa, halves away from zero.
__device__ __forceinline__ unsigned tophub_tf32(float number) {
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(number));
  return rounded;
}
#endif  // TOPHUB_MMA_EMULATED

// Rows 0 to 15 of the first half of the columns, then of the second.
template <typename Number>
__device__ __forceinline__ void tophub_load_data(Number* tile, const Number* from, int stride) {
  int lane = threadIdx.x;
  tophub_ldmatrix(reinterpret_cast<unsigned*>(tile), from + (lane & 15) * stride + (lane >> 4) * (16 / sizeof(Number)));
}

// A row for each column of the sums: of rows 0 to 7 the first half and the second, then of rows 8 to 15.
template <typename Number>
__device__ __forceinline__ void tophub_load_weights(Number* tile, const Number* from, int stride) {
  int lane = threadIdx.x;
  int row = (lane & 7) + (lane >> 4) * 8;
  tophub_ldmatrix(reinterpret_cast<unsigned*>(tile), from + row * stride + (lane >> 3 & 1) * (16 / sizeof(Number)));
}

__device__ __forceinline__ void tophub_round(float* tile) {
#pragma unroll
  for (int i = 0; i < 4; ++i) tile[i] = __uint_as_float(tophub_tf32(tile[i]));
}

__device__ __forceinline__ void tophub_load_data_rounded(float* tile, const float* from, int stride) {
  tophub_load_data(tile, from, stride);
  tophub_round(tile);
}

__device__ __forceinline__ void tophub_load_weights_rounded(float* tile, const float* from, int stride) {
  tophub_load_weights(tile, from, stride);
  tophub_round(tile);
}

template <typename Number>
__device__ __forceinline__ void tophub_add_float16(float* sums, const Number* data, const Number* weights) {
  const unsigned* a = reinterpret_cast<const unsigned*>(data);
  const unsigned* b = reinterpret_cast<const unsigned*>(weights);
  tophub_mma_f16(sums, a, b);
  tophub_mma_f16(sums + 4, a, b + 2);
}

__device__ __forceinline__ void tophub_add_tf32(float* sums, const float* data, const float* weights) {
  const unsigned* a = reinterpret_cast<const unsigned*>(data);
  const unsigned* b = reinterpret_cast<const unsigned*>(weights);
  tophub_mma_tf32(sums, a, b);
  tophub_mma_tf32(sums + 4, a, b + 2);
}

// Splits a number into a rounded one and the rest, whose lower bits tensor cores leave out. The rest of what is not a
// number is none either.
__device__ __forceinline__ void tophub_split(float number, unsigned& rounded, unsigned& rest) {
  rounded = (__float_as_uint(number) + 0x1000u) & 0xffffe000u;
  rest = __float_as_uint(number - __uint_as_float(rounded));
}

// Each factor is the sum of two of TF32; the product of the two small parts is left out.
// Tensor cores round sums towards zero, which over thousands of channels costs more digits than the products do: they
// add up a tile's products only, and what these come to is added here, rounded to nearest.
__device__ __forceinline__ void tophub_add_3xtf32(float* sums, const float* data, const float* weights) {
  unsigned a[4], b[4], rest_of_a[4], rest_of_b[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    tophub_split(data[i], a[i], rest_of_a[i]);
    tophub_split(weights[i], b[i], rest_of_b[i]);
  }
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    float added[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    tophub_mma_tf32(added, rest_of_a, b + 2 * i);
    tophub_mma_tf32(added, a, rest_of_b + 2 * i);
    tophub_mma_tf32(added, a, b + 2 * i);
#pragma unroll
    for (int j = 0; j < 4; ++j) sums[4 * i + j] += added[j];
  }
}

__device__ __forceinline__ void tophub_clear(float* sums) {
#pragma unroll
  for (int i = 0; i < 8; ++i) sums[i] = 0.0f;
}

// Writes sums: a thread has two neighbours in a row, the same eight rows on, and both eight columns on.
__device__ __forceinline__ void tophub_store(float* to, const float* sums, int stride) {
  int lane = threadIdx.x;
  float* first = to + (lane >> 2) * stride + (lane & 3) * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float* at = first + (i & 1) * 8 * stride + (i >> 1) * 8;
    *reinterpret_cast<float2*>(at) = make_float2(sums[2 * i], sums[2 * i + 1]);
  }
}
#endif  // TOPHUB_MMA
