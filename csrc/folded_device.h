// What the GPU kernels of the `folded` scan share: exact codes as floats, signals, loads that need no alignment, and the
// one order in which the contraction is summed.
#pragma once
#include "folded.h"

namespace folded {

struct Arguments {
  const signed char *u, *dt, *B, *C, *z, *A_log, *D, *bias;       // z, D, bias may be null
  const float *s_u, *s_dt, *s_B, *s_C, *s_z, *s_A, *s_D, *s_bias, *s_state;  // s_state null: the state as FP32
  const float *initial;                                           // (b, d, n) in real units; null: zero
  void *y, *last_state;                                           // half (b, l, d); float or int8 (b, d, n)
  float *taps;                                                    // of the tapped build, see folded.cu
  int batch, channels, length, states, groups, group_channels, softplus;
  unsigned exponent;
};

template <int K> struct Number { static constexpr int value = K; };  // a constant as an argument

__host__ __device__ constexpr int log2_of(int v) { return v <= 1 ? 0 : 1 + log2_of(v / 2); }

constexpr float kMagic = 8388608.0f + 128.0f;                     // 0x4B0000qq is 2^23 + q; q is biased by 128

// Byte k of a word of biased codes: a byte permute and an exact sum.  A conversion would use the pipe of ex2.
// `exponent`: 0x4B000000, from a register: an instruction has room for one constant, and k takes it.
__device__ __forceinline__ float code(unsigned biased, unsigned k, unsigned exponent) {
  return __fadd_rn(__uint_as_float(__byte_perm(biased, exponent, 0x7440 | k)), -kMagic);
}

__device__ __forceinline__ float ex2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Whichever: left alone, the compiler makes of a pair of these three moves under a predicate.
__device__ __forceinline__ float either(bool first, float a, float b) {
  float chosen;
  asm("{\n.reg .pred p;\nsetp.ne.u32 p, %3, 0;\nselp.f32 %0, %1, %2, p;\n}"
      : "=f"(chosen) : "f"(a), "f"(b), "r"(unsigned(first)));
  return chosen;
}

__device__ __forceinline__ unsigned short to_half(float x) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}

template <int T>
__device__ __forceinline__ void barrier(int id) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(T) : "memory");
}
template <int T>
__device__ __forceinline__ void arrive(int id) {                  // and do not wait
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "n"(T) : "memory");
}

// A signal in shared memory: when so many warps have arrived a phase ends, which others wait for without arriving.
constexpr unsigned kArrivals = 1;                                 // a warp: one lane arrives for all
__device__ __forceinline__ void signal_init(unsigned at, unsigned warps) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(at), "r"(kArrivals * warps) : "memory");
}
__device__ __forceinline__ void signal_arrive(unsigned at) {
  __syncwarp();
  if (threadIdx.x % 32 < kArrivals)
    asm volatile("{\n.reg .b64 phase;\nmbarrier.arrive.shared.b64 phase, [%0];\n}" ::"r"(at) : "memory");
}
__device__ __forceinline__ bool signal_over(unsigned at, unsigned parity) {  // whether that phase has ended, now
  unsigned over;
  asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
               : "=r"(over) : "r"(at), "r"(parity) : "memory");
  return over;
}
__device__ __forceinline__ void signal_wait(unsigned at, unsigned parity) {
  unsigned over;
  do {
#if __CUDA_ARCH__ >= 900
    asm volatile("{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(over) : "r"(at), "r"(parity) : "memory");
#else
    asm volatile("{\n.reg .pred p;\nmbarrier.test_wait.parity.shared.b64 p, [%1], %2;\nselp.u32 %0, 1, 0, p;\n}"
                 : "=r"(over) : "r"(at), "r"(parity) : "memory");
#endif
  } while (!over);
}

__device__ __forceinline__ unsigned shared_address(const void *p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}
__device__ __forceinline__ void copy_async(void *to, const void *from) {  // 16 bytes of global memory to shared memory
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

// First thing in a kernel: the stream's next kernel may be made ready beside this one, which itself has been made ready
// beside the last one, whose results are there from here on (programmatic dependent launch).  Meanwhile the parameters
// come into the constant cache: what is asked of them later does not wait.
__device__ __forceinline__ void take_turn(const Arguments &x) {
  asm volatile("" ::"l"(x.u), "l"(x.s_u), "l"(x.initial), "r"(x.batch), "r"(x.exponent));
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\ngriddepcontrol.wait;" ::: "memory");
#endif
}

// ---------------------------------------------------------------------------------------------------------- loading

template <int R>
struct Run {
  unsigned w[R / 4];
};

template <int R>
__device__ __forceinline__ Run<R> load_granule(const signed char *at) {
  Run<R> r;
  if constexpr (R == 16) {
    const uint4 v = *reinterpret_cast<const uint4 *>(at);
    r.w[0] = v.x; r.w[1] = v.y; r.w[2] = v.z; r.w[3] = v.w;
  } else if constexpr (R == 8) {
    const uint2 v = *reinterpret_cast<const uint2 *>(at);
    r.w[0] = v.x; r.w[1] = v.y;
  } else {
    r.w[0] = *reinterpret_cast<const unsigned *>(at);
  }
  return r;
}

template <int R>
__device__ __forceinline__ void move_granule(void *to, const void *from) {
  if constexpr (R == 16) *static_cast<uint4 *>(to) = *static_cast<const uint4 *>(from);
  else *static_cast<uint2 *>(to) = *static_cast<const uint2 *>(from);
}

// The 16 bytes at `from`, or of those around it that begin at a multiple of 16, as far as they lie before `end`.
template <bool ALIGNED>
__device__ __forceinline__ void copy_granule(unsigned char *to, const signed char *from, const signed char *end) {
  if constexpr (!ALIGNED) from -= static_cast<unsigned>(reinterpret_cast<unsigned long long>(from)) & 15;
  if (ALIGNED || end - from >= 16) {
    copy_async(to, from);
  } else {
#pragma unroll 1
    for (int k = 0; k < end - from; ++k) to[k] = from[k];             // the last codes of the tensor
  }
}

// R codes at an address in shared memory.
template <int R>
__device__ __forceinline__ void read_codes(Run<R> &r, const unsigned char *at) {
  constexpr int kPiece = R < 16 ? R : 16;
#pragma unroll
  for (int k = 0; k < R; k += kPiece) {
    const Run<kPiece> piece = load_granule<kPiece>(reinterpret_cast<const signed char *>(at + k));
#pragma unroll
    for (int j = 0; j < kPiece / 4; ++j) r.w[k / 4 + j] = piece.w[j];
  }
}

// R codes that begin `shift` bytes after an address in shared memory.
template <int R>
__device__ __forceinline__ void read_shifted(Run<R> &r, const unsigned char *at, unsigned shift) {
  const unsigned *words = reinterpret_cast<const unsigned *>(at + (shift & 12));
  unsigned w[R / 4 + 1];
#pragma unroll
  for (int k = 0; k <= R / 4; ++k) w[k] = words[k];
#pragma unroll
  for (int k = 0; k < R / 4; ++k) r.w[k] = __funnelshift_r(w[k], w[k + 1], 8 * (shift & 3));
}

// R bytes of [first, end), 0 outside.
template <int R>
__device__ __forceinline__ Run<R> load_guarded(const signed char *at, const signed char *first,
                                               const signed char *end) {
  if (at >= first && at + R <= end) return load_granule<R>(at);
  Run<R> r;
#pragma unroll
  for (int j = 0; j < R / 4; ++j) r.w[j] = 0;
#pragma unroll 1                                                      // rare: at the two ends of a tensor only
  for (int k = R - 1; k >= 0; --k) {
    const signed char *p = at + k;
    const unsigned byte = p >= first && p < end ? static_cast<unsigned char>(*p) : 0u;
#pragma unroll
    for (int j = R / 4 - 1; j > 0; --j) r.w[j] = __funnelshift_l(r.w[j - 1], r.w[j], 8);
    r.w[0] = r.w[0] << 8 | byte;
  }
  return r;
}

// A run of R codes on its way from memory: `fetch` only loads, `take` shifts and biases, so that nothing waits before
// it must.  ALIGNED: every row starts on 16 bytes and is whole granules long; otherwise two granules are loaded.
template <int R, bool ALIGNED>
struct Pending {
  Run<R> a, b;
  __device__ __forceinline__ void clear() {                       // codes of 0 where nothing is fetched
#pragma unroll
    for (int j = 0; j < R / 4; ++j) a.w[j] = b.w[j] = 0;
  }
  __device__ __forceinline__ void fetch(const signed char *at, bool inside, const signed char *first,
                                        const signed char *end) {
    if constexpr (ALIGNED) {
      if (inside) a = load_granule<R>(at);
    } else if (inside) {
      const signed char *base = at - (static_cast<unsigned>(reinterpret_cast<unsigned long long>(at)) & (R - 1));
      a = load_guarded<R>(base, first, end);
      b = load_guarded<R>(base + R, first, end);
    }
  }
  __device__ __forceinline__ Run<R> take(const signed char *at) const {
    Run<R> r;
    if constexpr (ALIGNED) {
      r = a;
    } else {
      const unsigned shift = static_cast<unsigned>(reinterpret_cast<unsigned long long>(at)) & (R - 1);
      unsigned w[2 * R / 4];
#pragma unroll
      for (int j = 0; j < R / 4; ++j) { w[j] = a.w[j]; w[R / 4 + j] = b.w[j]; }
#pragma unroll
      for (int step = R / 8; step >= 1; step /= 2) {
        const bool move = (shift / 4) & step;
#pragma unroll
        for (int j = 0; j + step < 2 * R / 4; ++j) w[j] = move ? w[j + step] : w[j];
      }
#pragma unroll
      for (int j = 0; j < R / 4; ++j) r.w[j] = __funnelshift_r(w[j], w[j + 1], 8 * (shift & 3));
    }
#pragma unroll
    for (int j = 0; j < R / 4; ++j) r.w[j] ^= 0x80808080u;
    return r;
  }
};

// Where a walk over a block's items and the tiles of each stands.
struct Cursor {
  int item, t0;
  __device__ __forceinline__ bool next(int tile, int length, int stride) {  // whether another item begins
    t0 += tile;
    if (t0 < length) return false;
    t0 = 0;
    item += stride;
    return true;
  }
};

// W of a lane's S states of a step in shared memory: for each lane of a channel its S values of B, then those of C.
template <int S, int W>
__device__ __forceinline__ void load_weights(const float *at, float (&B)[W], float (&C)[W]) {
  float w[2 * W];
#pragma unroll
  for (int i = 0; i < W / 2; ++i) {
    const float4 v = reinterpret_cast<const float4 *>(at + (4 * i < W ? 0 : S - W))[i];
    w[4 * i] = v.x; w[4 * i + 1] = v.y; w[4 * i + 2] = v.z; w[4 * i + 3] = v.w;
  }
#pragma unroll
  for (int i = 0; i < W; ++i) { B[i] = w[i]; C[i] = w[W + i]; }
}

// Code k of V states in turn, as floats side by side.
template <int V, int R>
__device__ __forceinline__ void store_codes(float *to, const Run<R> (&r)[V], int k, unsigned exponent) {
  float v[V];
#pragma unroll
  for (int i = 0; i < V; ++i) v[i] = code(r[i].w[k / 4], k % 4, exponent);
  if constexpr (V == 4) *reinterpret_cast<float4 *>(to) = make_float4(v[0], v[1], v[2], v[3]);
  else *reinterpret_cast<float2 *>(to) = make_float2(v[0], v[1]);
}

// --------------------------------------------------------------------------------------------------------- the order

// sum h C over the S states of a lane: pairs, then a binary tree, which goes on over the lanes of a channel.  Every
// layout adds in the same order, so y has the same bits.
__device__ __forceinline__ float sum_pair(float h0, float C0, float h1, float C1) {
  return __fmaf_rn(h1, C1, __fmul_rn(h0, C0));
}

template <int PAIRS>
__device__ __forceinline__ float sum_pairs(float (&pair)[PAIRS]) {
#pragma unroll
  for (int width = PAIRS / 2; width >= 1; width /= 2)
#pragma unroll
    for (int i = 0; i < width; ++i) pair[i] = __fadd_rn(pair[2 * i], pair[2 * i + 1]);
  return pair[0];
}

template <int S>
__device__ __forceinline__ float contract(const float (&h)[S], const float (&C)[S]) {
  float pair[S / 2];
#pragma unroll
  for (int i = 0; i < S; i += 2) pair[i / 2] = sum_pair(h[i], C[i], h[i + 1], C[i + 1]);
  return sum_pairs(pair);
}

// The sums of P lanes, four steps of each, in the same tree.
template <int P>
__device__ __forceinline__ void add_lanes(float4 (&part)[P], float (&sums)[4]) {
#pragma unroll
  for (int width = 1; width < P; width *= 2)
#pragma unroll
    for (int j = 0; j + width < P; j += 2 * width)
      part[j] = make_float4(__fadd_rn(part[j].x, part[j + width].x), __fadd_rn(part[j].y, part[j + width].y),
                            __fadd_rn(part[j].z, part[j + width].z), __fadd_rn(part[j].w, part[j + width].w));
  sums[0] = part[0].x; sums[1] = part[0].y; sums[2] = part[0].z; sums[3] = part[0].w;
}

// ------------------------------------------------------------------------------------------------------- the results

// The last state in real units: FP32, or INT8 with ties away from zero, saturated.
__device__ __forceinline__ void store_state(const Arguments &x, long long at, float h, double unit) {
  const double value = h * unit;
  if (x.s_state) {
    const double whole = round(value / static_cast<double>(*x.s_state));
    static_cast<signed char *>(x.last_state)[at] = static_cast<signed char>(fmin(fmax(whole, -128.0), 127.0));
  } else {
    static_cast<float *>(x.last_state)[at] = static_cast<float>(value);
  }
}

}  // namespace folded
