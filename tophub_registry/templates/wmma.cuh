// What a warp does on tensor cores by the PTX ISA's `wmma` instructions for float16: 16 products are added to each of
// M x N sums, which are float32 or float16. How tiles are spread over the warp's threads is the device's business; each
// thread keeps its part in the first elements of a local array: 16 factors of both sides, and 8 sums.
//
// Weights are read by `row`, N columns for each product, or by `col`, 16 products for each column.
#ifndef TOPHUB_WMMA
#define TOPHUB_WMMA

#ifndef TOPHUB_WMMA_SHAPE
#define TOPHUB_4(constraint, x) constraint((x)[0]), constraint((x)[1]), constraint((x)[2]), constraint((x)[3])
#define TOPHUB_8(constraint, x) TOPHUB_4(constraint, x), TOPHUB_4(constraint, (x) + 4)

#define TOPHUB_WMMA_LOAD(name, matrix, layout, shape)                                                             \
  __device__ __forceinline__ void name(half* tile, const half* from, int stride) {                                \
    unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(from));                                          \
    unsigned* to = reinterpret_cast<unsigned*>(tile);                                                             \
    asm volatile("wmma.load." matrix ".sync.aligned." layout "." shape                                            \
                 ".shared.f16 {%0, %1, %2, %3, %4, %5, %6, %7}, [%8], %9;"                                        \
                 : TOPHUB_8("=r", to)                                                                             \
                 : "r"(at), "r"(stride)                                                                           \
                 : "memory");                                                                                     \
  }

#define TOPHUB_WMMA_ADD(name, layout, shape)                                                                      \
  __device__ __forceinline__ void name(float* sums, const half* data, const half* weights) {                      \
    const unsigned* a = reinterpret_cast<const unsigned*>(data);                                                  \
    const unsigned* b = reinterpret_cast<const unsigned*>(weights);                                               \
    asm volatile("wmma.mma.sync.aligned.row." layout "." shape                                                    \
                 ".f32.f32 {%0, %1, %2, %3, %4, %5, %6, %7}, {%8, %9, %10, %11, %12, %13, %14, %15}, "            \
                 "{%16, %17, %18, %19, %20, %21, %22, %23}, {%0, %1, %2, %3, %4, %5, %6, %7};"                    \
                 : TOPHUB_8("+f", sums)                                                                           \
                 : TOPHUB_8("r", a), TOPHUB_8("r", b));                                                           \
  }                                                                                                               \
  __device__ __forceinline__ void name(half* sums, const half* data, const half* weights) {                       \
    const unsigned* a = reinterpret_cast<const unsigned*>(data);                                                  \
    const unsigned* b = reinterpret_cast<const unsigned*>(weights);                                               \
    unsigned* c = reinterpret_cast<unsigned*>(sums);                                                              \
    asm volatile("wmma.mma.sync.aligned.row." layout "." shape                                                    \
                 ".f16.f16 {%0, %1, %2, %3}, {%4, %5, %6, %7, %8, %9, %10, %11}, "                                \
                 "{%12, %13, %14, %15, %16, %17, %18, %19}, {%0, %1, %2, %3};"                                    \
                 : TOPHUB_4("+r", c)                                                                              \
                 : TOPHUB_8("r", a), TOPHUB_8("r", b));                                                           \
  }

#define TOPHUB_WMMA_STORE(name, shape)                                                                            \
  __device__ __forceinline__ void name(float* to, const float* sums, int stride) {                                \
    unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));                                            \
    asm volatile("wmma.store.d.sync.aligned.row." shape                                                           \
                 ".shared.f32 [%0], {%2, %3, %4, %5, %6, %7, %8, %9}, %1;" ::"r"(at),                             \
                 "r"(stride), TOPHUB_8("f", sums)                                                                 \
                 : "memory");                                                                                     \
  }                                                                                                               \
  __device__ __forceinline__ void name(half* to, const half* sums, int stride) {                                  \
    unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));                                            \
    const unsigned* c = reinterpret_cast<const unsigned*>(sums);                                                  \
    asm volatile("wmma.store.d.sync.aligned.row." shape ".shared.f16 [%0], {%2, %3, %4, %5}, %1;" ::"r"(at),      \
                 "r"(stride), TOPHUB_4("r", c)                                                                    \
                 : "memory");                                                                                     \
  }

#define TOPHUB_WMMA_SHAPE(M, N)                                                                                   \
  TOPHUB_WMMA_LOAD(tophub_load_data_m##M##n##N, "a", "row", "m" #M "n" #N "k16")                                  \
  TOPHUB_WMMA_LOAD(tophub_load_weights_row_m##M##n##N, "b", "row", "m" #M "n" #N "k16")                           \
  TOPHUB_WMMA_LOAD(tophub_load_weights_col_m##M##n##N, "b", "col", "m" #M "n" #N "k16")                           \
  TOPHUB_WMMA_ADD(tophub_add_row_m##M##n##N, "row", "m" #M "n" #N "k16")                                          \
  TOPHUB_WMMA_ADD(tophub_add_col_m##M##n##N, "col", "m" #M "n" #N "k16")                                          \
  TOPHUB_WMMA_STORE(tophub_store_m##M##n##N, "m" #M "n" #N "k16")
#endif  // TOPHUB_WMMA_SHAPE

TOPHUB_WMMA_SHAPE(16, 16)
TOPHUB_WMMA_SHAPE(32, 8)
TOPHUB_WMMA_SHAPE(8, 32)

template <typename Sum>
__device__ __forceinline__ void tophub_clear_wmma(Sum* sums) {
#pragma unroll
  for (int i = 0; i < 8; ++i) sums[i] = Sum(0.0f);
}
#endif  // TOPHUB_WMMA
