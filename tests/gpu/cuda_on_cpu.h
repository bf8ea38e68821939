// What CUDA code needs to run on a processor: one thread at a time, each a context of its own, block after block.
//
// A thread runs until it waits for its warp or its block. When no thread can go on, those that wait for a warp do, for
// all the others of the warp are further or wait for the block; when none does, those that wait for the block do.
// Threads take turns in one order and then in the other, so that a missing barrier can show in the results.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __align__(bytes) alignas(bytes)
#define __forceinline__ inline
#define __launch_bounds__(threads)
#define __shared__ static
#define alignas(bytes) __attribute__((aligned(bytes)))  // C++ would have it stand before `static`

using std::max;
using std::min;

struct dim3 {
  int x, y, z;
};
static dim3 threadIdx, blockIdx, blockDim, gridDim;

#define VECTOR_TYPE(type)                                                          \
  struct type##2 { type x, y; };                                                   \
  struct type##3 { type x, y, z; };                                                \
  struct type##4 { type x, y, z, w; };                                             \
  static inline type##2 make_##type##2(type x, type y) { return {x, y}; }          \
  static inline type##3 make_##type##3(type x, type y, type z) { return {x, y, z}; } \
  static inline type##4 make_##type##4(type x, type y, type z, type w) { return {x, y, z, w}; }
VECTOR_TYPE(float)
VECTOR_TYPE(int)
VECTOR_TYPE(uint)

typedef _Float16 half;
typedef half __half;
struct __half2 { half x, y; };
typedef __half2 half2;
static inline half2 make_half2(half x, half y) { return {x, y}; }
static inline bool __hgt(half a, half b) { return a > b; }
static inline bool __hlt(half a, half b) { return a < b; }
static inline float __half2float(half x) { return x; }
static inline half __float2half(float x) { return x; }
static inline half __float2half_rn(float x) { return x; }

static inline float __uint_as_float(unsigned bits) {
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

static inline unsigned __float_as_uint(float number) {
  unsigned bits;
  std::memcpy(&bits, &number, sizeof bits);
  return bits;
}

static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
#define __expf expf

namespace gpu {

constexpr int kWarp = 32;
constexpr size_t kStack = 4 << 20;  // touched as far as a kernel needs it

struct Copy {
  void* to;
  const void* from;
  size_t bytes;
};

enum class State { kReady, kAtWarp, kAtBlock, kDone };

struct Thread {
  dim3 index;
  State state;
  bool started;
  jmp_buf here;
  ucontext_t first;
  std::unique_ptr<char[]> stack;
  char said[32] alignas(16);  // what it lets its warp know
  std::deque<std::vector<Copy>> groups;  // of asynchronous copies; the last is not committed yet
  std::vector<std::function<void()>> products;  // that its warpgroup has begun
};

static std::vector<Thread> threads;
static size_t current;
static jmp_buf scheduler;
static std::function<void()> kernel;

static void wait(State state) {
  Thread& thread = threads[current];
  thread.state = state;
  if (!_setjmp(thread.here)) _longjmp(scheduler, 1);
}

static void main_of_thread() {
  for (;;) {
    kernel();
    wait(State::kDone);
  }
}

static void go_on(size_t index) {
  current = index;
  Thread& thread = threads[index];
  threadIdx = thread.index;
  if (_setjmp(scheduler)) return;
  if (thread.started) _longjmp(thread.here, 1);
  thread.started = true;
  setcontext(&thread.first);
}

static bool release(State state) {
  bool any = false;
  for (Thread& thread : threads) {
    if (thread.state == state) thread.state = State::kReady, any = true;
  }
  return any;
}

static void run_block() {
  for (Thread& thread : threads) thread.state = State::kReady;
  bool backwards = false;
  do {
    for (size_t i = 0; i < threads.size(); ++i) {
      size_t index = backwards ? threads.size() - 1 - i : i;
      if (threads[index].state == State::kReady) go_on(index);
    }
    backwards = !backwards;
  } while (release(State::kAtWarp) || release(State::kAtBlock));
}

// Whether any GPU of compute capability 3.0 or more takes such a launch.
static bool possible(dim3 grid, dim3 block) {
  bool positive = grid.x > 0 && grid.y > 0 && grid.z > 0 && block.x > 0 && block.y > 0 && block.z > 0;
  return positive && grid.y <= 65535 && grid.z <= 65535 && block.z <= 64 && block.x * block.y * block.z <= 1024;
}

static void launch(dim3 grid, dim3 block, std::function<void()> body) {
  if (!possible(grid, block)) {
    std::fprintf(stderr, "no GPU takes %d x %d x %d blocks of %d x %d x %d threads\n", grid.x, grid.y, grid.z, block.x,
                 block.y, block.z);
    std::abort();
  }
  gridDim = grid, blockDim = block, kernel = std::move(body);
  threads = std::vector<Thread>(block.x * block.y * block.z);
  for (size_t i = 0; i < threads.size(); ++i) {
    Thread& thread = threads[i];
    int n = static_cast<int>(i);
    thread.index = {n % block.x, n / block.x % block.y, n / (block.x * block.y)};
    thread.stack.reset(new char[kStack]);
    getcontext(&thread.first);
    thread.first.uc_stack.ss_sp = thread.stack.get();
    thread.first.uc_stack.ss_size = kStack;
    makecontext(&thread.first, main_of_thread, 0);
  }
  for (int z = 0; z < grid.z; ++z)
    for (int y = 0; y < grid.y; ++y)
      for (int x = 0; x < grid.x; ++x) {
        blockIdx = {x, y, z};
        run_block();
      }
}

// Gives every thread of the warp what thread `lane` of its part, `width` wide, says; its own where there is none.
template <typename T>
static T shuffle(T value, int lane, int width) {
  int part = static_cast<int>(current) / width * width;
  std::memcpy(threads[current].said, &value, sizeof(T));
  wait(State::kAtWarp);
  size_t other = part + lane;
  if (lane >= 0 && lane < width && other < threads.size()) std::memcpy(&value, threads[other].said, sizeof(T));
  wait(State::kAtWarp);
  return value;
}

static inline int lane_of(int width) { return static_cast<int>(current) % width; }

// Lets all threads of the warp say something; returns the first of them, whose words count until `heard`.
template <typename T>
static const Thread* say(const T& words) {
  static_assert(sizeof(T) <= sizeof(Thread::said));
  std::memcpy(threads[current].said, &words, sizeof(T));
  wait(State::kAtWarp);
  return &threads[current / kWarp * kWarp];
}

static void heard() { wait(State::kAtWarp); }

// Copies as late as the code allows: when it waits for the group.
static void copy_async(void* to, const void* from, size_t bytes) {
  std::deque<std::vector<Copy>>& groups = threads[current].groups;
  if (groups.empty()) groups.emplace_back();
  groups.back().push_back({to, from, bytes});
}

static void commit() { threads[current].groups.emplace_back(); }

static void wait_group(size_t pending) {
  std::deque<std::vector<Copy>>& groups = threads[current].groups;
  while (groups.size() > pending + 1) {
    for (const Copy& copy : groups.front()) std::memcpy(copy.to, copy.from, copy.bytes);
    groups.pop_front();
  }
}

struct Factors {
  unsigned a[4], b[2];
};

template <typename Product>
static void add_products(float* sums, const unsigned* a, const unsigned* b, int depth, Product product) {
  Factors mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const Thread* warp = say(mine);
  int lane = lane_of(kWarp);
  for (int i = 0; i < 4; ++i) {
    int row = (lane >> 2) + (i >> 1) * 8, column = (lane & 3) * 2 + (i & 1);
    for (int k = 0; k < depth; ++k) {
      int half_of_depth = depth / 2, of_half = k % half_of_depth * 4 / half_of_depth;
      Factors left, right;
      std::memcpy(&left, warp[row % 8 * 4 + of_half].said, sizeof left);
      std::memcpy(&right, warp[column * 4 + of_half].said, sizeof right);
      sums[i] += product(left.a[row / 8 + k / half_of_depth * 2], right.b[k / half_of_depth], k);
    }
  }
  heard();
}

}  // namespace gpu

// The instructions of `tophub_registry/templates/mma.cuh`.
#define TOPHUB_MMA_EMULATED

static void tophub_ldmatrix(unsigned* to, const void* row) {
  const gpu::Thread* warp = gpu::say(row);
  int lane = gpu::lane_of(gpu::kWarp);
  for (int i = 0; i < 4; ++i) {
    const unsigned* its;
    std::memcpy(&its, warp[i * 8 + lane / 4].said, sizeof its);
    to[i] = its[lane % 4];
  }
  gpu::heard();
}

static void tophub_copy(void* to, const void* from, bool inside) {
  static const char zeros[16] = {};
  gpu::copy_async(to, inside ? from : zeros, 16);
}

static void tophub_mma_f16(float* sums, const unsigned* a, const unsigned* b) {
  gpu::add_products(sums, a, b, 16, [](unsigned left, unsigned right, int k) {
    half one[2], other[2];
    std::memcpy(one, &left, sizeof one);
    std::memcpy(other, &right, sizeof other);
    return static_cast<float>(one[k % 2]) * static_cast<float>(other[k % 2]);
  });
}

static void tophub_mma_tf32(float* sums, const unsigned* a, const unsigned* b) {
  gpu::add_products(sums, a, b, 8, [](unsigned left, unsigned right, int) {
    return __uint_as_float(left & 0xffffe000u) * __uint_as_float(right & 0xffffe000u);
  });
}

static unsigned tophub_tf32(float number) { return (__float_as_uint(number) + 0x1000u) & 0xffffe000u; }

// The instructions of `tophub_registry/templates/wgmma.cuh`. Products are computed as late as the code allows: when it
// waits for them.
namespace gpu {

static uintptr_t swizzled(const void* at) {
  uintptr_t address = reinterpret_cast<uintptr_t>(at);
  return address ^ (address >> 3 & 0x70);
}

// Adds what a thread computes of its warp's 16 rows of N sums: two rows, and two of eight columns.
template <int N, typename Number, typename Left, typename Right>
static void add_swizzled(float* sums, const Number* data, const Number* weights, Left left, Right right) {
  constexpr int kDepth = 128 / sizeof(Number);
  const int lane = lane_of(kWarp);
  auto read = [](const Number* row, int k) { return *reinterpret_cast<const Number*>(swizzled(row + k)); };
  threads[current].products.push_back([=] {
    float factors[2][kDepth];
    for (int k = 0; k < kDepth; ++k) {
      for (int i = 0; i < 2; ++i) factors[i][k] = left(read(data + (lane / 4 + 8 * i) * kDepth, k));
    }
    for (int i = 0; i < N / 4; ++i) {
      const Number* column = weights + (i / 2 * 8 + lane % 4 * 2 + i % 2) * kDepth;
      float* sum = sums + i / 2 * 4 + i % 2;
      for (int k = 0; k < kDepth; ++k) {
        float weight = right(read(column, k));
        sum[0] += factors[0][k] * weight;
        sum[2] += factors[1][k] * weight;
      }
    }
  });
}

}  // namespace gpu

static void tophub_copy_swizzled(void* to, const void* from, bool inside) {
  tophub_copy(reinterpret_cast<void*>(gpu::swizzled(to)), from, inside);
}

template <int N, typename Half>
static void tophub_add_shared(float* sums, const Half* data, const Half* weights) {
  auto exact = [](Half number) { return static_cast<float>(number); };
  gpu::add_swizzled<N>(sums, data, weights, exact, exact);
}

template <int N>
static void tophub_add_rounded(float* sums, const float* data, const float* weights) {
  gpu::add_swizzled<N>(
      sums, data, weights, [](float number) { return __uint_as_float(tophub_tf32(number)); },
      [](float number) { return __uint_as_float(__float_as_uint(number) & 0xffffe000u); });
}

template <int STEPS>
static void tophub_arrived() {
  gpu::wait_group(STEPS);
}

template <int N, bool PUBLISHED>
static void tophub_multiply_split(float* added, const float* data, const float* weights, int apart) {
  std::fill_n(added, N / 2, 0.0f);
  auto large = [](float number) { return __uint_as_float(tophub_tf32(number)); };
  auto small = [large](float number) { return number - large(number); };
  auto taken = [](float number) { return __uint_as_float(__float_as_uint(number) & 0xffffe000u); };
  gpu::add_swizzled<N>(added, data, weights, [=](float number) { return taken(small(number)); }, taken);
  gpu::add_swizzled<N>(added, data, weights + apart, large, taken);
  gpu::add_swizzled<N>(added, data, weights, large, taken);
}

static void tophub_finish() {
  for (const std::function<void()>& add : gpu::threads[gpu::current].products) add();
  gpu::threads[gpu::current].products.clear();
}

// The instructions of `tophub_registry/templates/wmma.cuh`: thread i of a warp has every 32nd element of a tile from the
// i-th, row by row.
namespace gpu {

static void load_tile(half* tile, const half* from, int rows, int columns, int row, int column) {
  for (int i = lane_of(kWarp); i < rows * columns; i += kWarp) {
    *tile++ = from[i / columns * row + i % columns * column];
  }
}

template <typename Sum>
static void add_tile(Sum* sums, const half* data, const half* weights, int rows, int columns) {
  struct Tiles {
    const half *data, *weights;
  };
  const Thread* warp = say(Tiles{data, weights});
  auto its = [warp](int thread) {
    Tiles tiles;
    std::memcpy(&tiles, warp[thread].said, sizeof tiles);
    return tiles;
  };
  for (int i = lane_of(kWarp); i < rows * columns; i += kWarp) {
    float sum = *sums;
    for (int k = 0; k < 16; ++k) {
      int left = i / columns * 16 + k, right = k * columns + i % columns;
      sum += float(its(left % kWarp).data[left / kWarp]) * float(its(right % kWarp).weights[right / kWarp]);
    }
    *sums++ = sum;
  }
  heard();
}

template <typename Sum>
static void store_tile(Sum* to, const Sum* sums, int rows, int columns, int row) {
  for (int i = lane_of(kWarp); i < rows * columns; i += kWarp) to[i / columns * row + i % columns] = *sums++;
}

}  // namespace gpu

#define TOPHUB_WMMA_SHAPE(M, N)                                                              \
  static void tophub_load_data_m##M##n##N(half* tile, const half* from, int stride) {        \
    gpu::load_tile(tile, from, M, 16, stride, 1);                                            \
  }                                                                                          \
  static void tophub_load_weights_row_m##M##n##N(half* tile, const half* from, int stride) { \
    gpu::load_tile(tile, from, 16, N, stride, 1);                                            \
  }                                                                                          \
  static void tophub_load_weights_col_m##M##n##N(half* tile, const half* from, int stride) { \
    gpu::load_tile(tile, from, 16, N, 1, stride);                                            \
  }                                                                                          \
  template <typename Sum>                                                                    \
  static void tophub_add_row_m##M##n##N(Sum* sums, const half* data, const half* weights) {  \
    gpu::add_tile(sums, data, weights, M, N);                                                \
  }                                                                                          \
  template <typename Sum>                                                                    \
  static void tophub_add_col_m##M##n##N(Sum* sums, const half* data, const half* weights) {  \
    gpu::add_tile(sums, data, weights, M, N);                                                \
  }                                                                                          \
  template <typename Sum>                                                                    \
  static void tophub_store_m##M##n##N(Sum* to, const Sum* sums, int stride) {                \
    gpu::store_tile(to, sums, M, N, stride);                                                 \
  }

static inline void __syncthreads() { gpu::wait(gpu::State::kAtBlock); }
static inline void __syncwarp() { gpu::wait(gpu::State::kAtWarp); }
static inline unsigned __activemask() { return ~0u; }

template <typename T>
static T __shfl_sync(unsigned, T value, int lane, int width = gpu::kWarp) {
  return gpu::shuffle(value, lane, width);
}
template <typename T>
static T __shfl_down_sync(unsigned, T value, int by, int width = gpu::kWarp) {
  return gpu::shuffle(value, gpu::lane_of(width) + by, width);
}
template <typename T>
static T __shfl_up_sync(unsigned, T value, int by, int width = gpu::kWarp) {
  return gpu::shuffle(value, gpu::lane_of(width) - by, width);
}
