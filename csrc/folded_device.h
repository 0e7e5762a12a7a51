// What the two GPU kernels of the `folded` scan share: exact codes as floats, loads that need no alignment, softplus
// in FP64 without the slow units, and the one order in which the contraction is summed.
#pragma once
#include "folded.h"

namespace folded {

struct Arguments {
  const signed char *u, *dt, *B, *C, *z, *A_log, *D, *bias;       // z, D, bias may be null
  const float *s_u, *s_dt, *s_B, *s_C, *s_z, *s_A, *s_D, *s_bias, *s_state;  // s_state null: the state as FP32
  const float *initial;                                           // (b, d, n) in real units; null: zero
  void *y, *last_state;                                           // half (b, l, d); float or int8 (b, d, n)
  float *taps;                                                    // of the tapped build, see folded.cu
  int batch, channels, length, states, groups, softplus;
};

constexpr float kMagic = 8388608.0f + 128.0f;                     // 0x4B0000qq is 2^23 + q; q is biased by 128

// Byte k of a word of biased codes: a byte permute and an exact sum.  A conversion would use the pipe of ex2.
__device__ __forceinline__ float code(unsigned biased, int k) {
  return __fadd_rn(__uint_as_float(__byte_perm(biased, 0x4B000000u, 0x7440 | k)), -kMagic);
}

__device__ __forceinline__ float ex2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
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

// ---------------------------------------------------------------------------------------------------------- loading

// Of the T threads of a team: a barrier of their own, or of the warp that they are.
template <int T>
__device__ __forceinline__ void team_barrier(int id) {
  if constexpr (T == 32) __syncwarp();
  else barrier<T>(id);
}

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

// R bytes of [first, end), 0 outside.
template <int R>
__device__ __forceinline__ Run<R> load_guarded(const signed char *at, const signed char *first,
                                               const signed char *end) {
  if (at >= first && at + R <= end) return load_granule<R>(at);
  Run<R> r;
#pragma unroll
  for (int j = 0; j < R / 4; ++j) {
    unsigned word = 0;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      const signed char *p = at + 4 * j + k;
      if (p >= first && p < end) word |= static_cast<unsigned>(static_cast<unsigned char>(*p)) << (8 * k);
    }
    r.w[j] = word;
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

// B and C of a step in shared memory: for each lane of a channel its S values of B, then its S values of C.
template <int S>
__device__ __forceinline__ void store_weights(float *step, int n, float B, float C) {
  step[n / S * 2 * S + n % S] = B;
  step[n / S * 2 * S + n % S + S] = C;
}

template <int S>
__device__ __forceinline__ void load_weights(const float *at, float (&B)[S], float (&C)[S]) {
  float w[2 * S];
#pragma unroll
  for (int i = 0; i < S / 2; ++i) {
    const float4 v = reinterpret_cast<const float4 *>(at)[i];
    w[4 * i] = v.x; w[4 * i + 1] = v.y; w[4 * i + 2] = v.z; w[4 * i + 3] = v.w;
  }
#pragma unroll
  for (int i = 0; i < S; ++i) { B[i] = w[i]; C[i] = w[S + i]; }
}

// ------------------------------------------------------------------------------------------------------------ tables

// FP64 to FP32, to nearest, in integer arithmetic: the conversion unit shares its pipe with ex2.  From 2^-126 up.
__device__ __forceinline__ float narrow(double value) {
  const int hi = max(__double2hiint(value), 897 << 20) - (896 << 20);
  const unsigned lo = __double2loint(value);
  return __uint_as_float(__funnelshift_l(lo, hi, 3) + ((lo >> 28) & 1));
}

// softplus(bias + s (q - 128)), q = 0..255: exp(bias) times a table of exp(s (q - 128)), then log1p by a table of 128
// and a polynomial, in FP64 to about 2^-37, rounded once.
struct Softplus {
  const double *powers;                                           // [256] exp(s (q - 128))
  const double2 *logs;                                            // [128] {1 / c, log c}, c = 1 + i / 128
  double unit;                                                    // exp(bias)
  __device__ __forceinline__ float operator()(unsigned q) const {
    const double x = unit * powers[q], f = 1.0 + x;
    const int high = __double2hiint(f);
    const double2 t = logs[(high >> 13) & 127];
    const double exponent = __hiloint2double(0x43300000, high >> 20) - (4503599627370496.0 + 1023.0);
    const double r = fma(__hiloint2double((high & 0xFFFFF) | 0x3FF00000, __double2loint(f)), t.x, -1.0);
    const double p = fma(fma(fma(fma(r, 0.2, -0.25), r, 1.0 / 3.0), r, -0.5), r, 1.0);
    double value = fma(exponent, 0.6931471805599453094, fma(p, r, t.y));
    if (high == 0x3FF00000) value = fma(x * x, fma(x, 1.0 / 3.0, -0.5), x);  // below 2^-20, 1 + x lost the end of x
    return narrow(value);
  }
};

// The step without softplus, and the one whose exponential would overflow.
__device__ __noinline__ float plain_step(double x, bool softplus) { return static_cast<float>(step_size(x, softplus)); }

// The mean error of ex2.approx in 2^-24, as measured (csrc/README.md): eight bins an octave of -p, from 2^-9 to 2^1.
__device__ const float kEx2Errors[80] = {
    0.115f, 0.106f, 0.117f, 0.109f, 0.139f, 0.135f, 0.150f, 0.149f, 0.208f, 0.225f, 0.259f, 0.276f, 0.329f, 0.348f,
    0.381f, 0.398f, 0.477f, 0.508f, 0.535f, 0.529f, 0.515f, 0.436f, 0.340f, 0.181f, 0.344f, 0.310f, 0.366f, 0.443f,
    0.541f, 0.561f, 0.504f, 0.301f, 0.399f, 0.478f, 0.569f, 0.308f, 0.208f, -0.049f, 0.046f, 0.144f, 0.210f, 0.499f,
    0.178f, 0.052f, 0.428f, 0.375f, 0.311f, 0.402f, 0.141f, 0.258f, -0.034f, 0.431f, -0.041f, 0.099f, 0.366f, 0.195f,
    0.244f, 0.188f, 0.075f, 0.303f, 0.192f, 0.291f, 0.092f, -0.073f, 0.267f, 0.092f, 0.045f, 0.120f, 0.001f, 0.188f,
    -0.138f, -0.019f, 1.002f, 0.866f, 0.892f, 0.815f, 0.869f, 0.772f, 0.783f, 0.611f};

constexpr int kProbes = 5;                                        // codes of dt that stand for all: 88, 108, ... 168
__device__ __forceinline__ unsigned probe_code(int k) { return 88u + 20u * k; }

// What to add to the exponent so that ex2.approx errs to neither side: minus its mean error over the steps that a
// channel takes.  Without it slow states drift: an error of one side adds up over the 1 / |p| steps they remember.
__device__ __forceinline__ float ex2_centre(const float (&steps)[kProbes], float rate) {
  float sum = 0.0f;
#pragma unroll
  for (int k = 0; k < kProbes; ++k) {
    const int bin = (__float_as_int(-__fmul_rn(steps[k], rate)) >> 20) - ((127 - 9) << 3);
    sum = __fadd_rn(sum, bin < 0 ? 0.09f : kEx2Errors[min(bin, 79)]);
  }
  return __fmul_rn(sum, 1.4426950408889634f / (16777216.0f * kProbes));
}

// --------------------------------------------------------------------------------------------------------- the order

// sum h C over the S states of a lane: chains of four, then a binary tree.  With four states a lane or more every
// layout adds in the same order, so y has the same bits.
template <int S>
__device__ __forceinline__ float contract(const float (&h)[S], const float (&C)[S]) {
  if constexpr (S == 2) {
    return __fmaf_rn(h[1], C[1], __fmul_rn(h[0], C[0]));
  } else {
    float p[S / 4];
#pragma unroll
    for (int i = 0; i < S / 4; ++i) {
      p[i] = __fmul_rn(h[4 * i], C[4 * i]);
#pragma unroll
      for (int k = 1; k < 4; ++k) p[i] = __fmaf_rn(h[4 * i + k], C[4 * i + k], p[i]);
    }
#pragma unroll
    for (int width = S / 8; width >= 1; width /= 2)
#pragma unroll
      for (int i = 0; i < width; ++i) p[i] = __fadd_rn(p[2 * i], p[2 * i + 1]);
    return p[0];
  }
}

// ------------------------------------------------------------------------------------------------------- the results

// The state before the first step, in units of s_B s_u; unit = 1 / (s_B s_u).
__device__ __forceinline__ float load_state(const Arguments &x, long long at, double unit) {
  return x.initial ? static_cast<float>(x.initial[at] * unit) : 0.0f;
}

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

// [steps][CB] halves in shared memory to rows of y: 16 bytes a thread where y allows it.
template <int TT, int CB, int T>
__device__ __forceinline__ void store_rows(const unsigned short *from, unsigned short *y, int todo, int count,
                                           int channels, bool wide, int tid) {
  constexpr int kRow = CB / 8 > 0 ? CB / 8 : 1;
  if (CB % 8 == 0 && wide) {
#pragma unroll
    for (int k = tid; k < TT * kRow; k += T)
      if (k / kRow < todo)
        *reinterpret_cast<uint4 *>(y + static_cast<long long>(k / kRow) * channels + k % kRow * 8) =
            *reinterpret_cast<const uint4 *>(from + k * 8);
  } else {
#pragma unroll 1
    for (int k = tid; k < todo * CB; k += T)
      if (k % CB < count) y[static_cast<long long>(k / CB) * channels + k % CB] = from[k];
  }
}

}  // namespace folded
