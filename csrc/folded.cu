// The `folded` selective scan on the GPU: folded.h's formulas, sequential in time, one sum order for every layout.
//
// A block owns CB channels of one batch item; P = N / S lanes share a channel and hold S of its N states (the n states
// padded to a power of two) in registers.  Time advances in tiles of TT steps.  For each tile the block
//   1. turns codes into what the recurrence eats: (dt, dt u) and (u, gate) per channel and step, B and C as floats,
//   2. runs TT steps: per state one product, one ex2, one product, one fused multiply-add; the contraction is a binary
//      tree over n, inside a lane first, then across its P lanes, so y has the same bits for every S, CB and TT,
//   3. writes y as (b, l, d) rows.
// y of an item therefore never depends on its batch or on later tokens.
#include "folded.h"

namespace folded_gpu {

constexpr int kTile = 32;                                         // TT
constexpr float kMagic = 8388608.0f + 128.0f;                     // 2^23 + 128: the value of 0x4B0000qq with q biased

struct Arguments {
  const signed char *u, *dt, *B, *C, *z, *A_log, *D, *bias;       // z, D, bias may be null
  const float *s_u, *s_dt, *s_B, *s_C, *s_z, *s_A, *s_D, *s_bias, *s_state;
  void *y, *last_state;                                           // half (b, l, d); float or int8 (b, d, n), may be null
  float *taps;                                                    // see write order in `Taps`
  int batch, channels, length, states, groups, softplus;
};

__device__ __forceinline__ float ex2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Byte k of a word of codes biased by 128, as a float: a byte permute and an exact add instead of a conversion.
template <int k>
__device__ __forceinline__ float code(unsigned biased) {
  return __fadd_rn(__uint_as_float(__byte_perm(biased, 0x4B000000u, 0x7440 | k)), -kMagic);
}

__device__ __forceinline__ unsigned short to_half(float x) {
  unsigned short h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
  return h;
}

template <int R> struct Run { unsigned w[R / 4]; };

template <int R>
__device__ __forceinline__ Run<R> load_granule(const signed char *at) {
  Run<R> r;
  if constexpr (R == 16) {
    uint4 v = *reinterpret_cast<const uint4 *>(at);
    r.w[0] = v.x; r.w[1] = v.y; r.w[2] = v.z; r.w[3] = v.w;
  } else if constexpr (R == 8) {
    uint2 v = *reinterpret_cast<const uint2 *>(at);
    r.w[0] = v.x; r.w[1] = v.y;
  } else {
    r.w[0] = *reinterpret_cast<const unsigned *>(at);
  }
  return r;
}

// R granule bytes, those outside [first, end) as 0.
template <int R>
__device__ __forceinline__ Run<R> load_guarded(const signed char *at, const signed char *first, const signed char *end) {
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

// R codes from `at`, biased by 128.  ALIGNED: rows start on 16 bytes and are whole granules long.  Otherwise two
// aligned granules are shifted together; bytes outside [first, end) are never read.
template <int R, bool ALIGNED>
__device__ __forceinline__ Run<R> load_run(const signed char *at, const signed char *first, const signed char *end) {
  Run<R> r;
  if constexpr (R == 32) {
    Run<16> a = load_run<16, ALIGNED>(at, first, end), b = load_run<16, ALIGNED>(at + 16, first, end);
#pragma unroll
    for (int j = 0; j < 4; ++j) { r.w[j] = a.w[j]; r.w[4 + j] = b.w[j]; }
    return r;
  } else if constexpr (ALIGNED) {
    if (at >= end) {
#pragma unroll
      for (int j = 0; j < R / 4; ++j) r.w[j] = 0;
    } else {
      r = load_granule<R>(at);
    }
  } else {
    unsigned shift = static_cast<unsigned>(reinterpret_cast<unsigned long long>(at)) & (R - 1);
    Run<R> a = load_guarded<R>(at - shift, first, end), b = load_guarded<R>(at - shift + R, first, end);
    unsigned w[2 * R / 4];
#pragma unroll
    for (int j = 0; j < R / 4; ++j) { w[j] = a.w[j]; w[R / 4 + j] = b.w[j]; }
#pragma unroll
    for (int step = R / 8; step >= 1; step /= 2) {
      bool move = (shift / 4) & step;
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

// Sums of v[0..P-1] over the P lanes of a channel: lane j returns step j.  Neighbours first: the tree of the states.
template <int P, int G>
__device__ __forceinline__ float reduce(float (&v)[G], int lane) {
#pragma unroll
  for (int bit = 1, left = G; bit < P; bit *= 2) {
    if (left > 1) {
      bool odd = lane & bit;
#pragma unroll
      for (int i = 0; i < left / 2; ++i) {
        float keep = odd ? v[2 * i + 1] : v[2 * i], send = odd ? v[2 * i] : v[2 * i + 1];
        v[i] = __fadd_rn(keep, __shfl_xor_sync(0xFFFFFFFFu, send, bit));
      }
      left /= 2;
    } else {
      v[0] = __fadd_rn(v[0], __shfl_xor_sync(0xFFFFFFFFu, v[0], bit));
    }
  }
  return v[0];
}

template <int S>
__device__ __forceinline__ float tree(const float (&h)[S], const float *C) {
  float p[S];
#pragma unroll
  for (int i = 0; i < S; i += 2) p[i / 2] = __fmaf_rn(h[i + 1], C[i + 1], __fmul_rn(h[i], C[i]));
#pragma unroll
  for (int width = S / 4; width >= 1; width /= 2)
#pragma unroll
    for (int i = 0; i < width; ++i) p[i] = __fadd_rn(p[2 * i], p[2 * i + 1]);
  return p[0];
}

}  // namespace folded_gpu


// Shared memory, in bytes: see folded_cuda.py, which asks for as much.
using namespace folded_gpu;

template <int N, int S, int CB, bool TABLE, bool ALIGNED, bool TAPS>
__global__ void __launch_bounds__(CB *(N / S)) folded_scan(const Arguments x) {
  constexpr int P = N / S, T = CB * P, TT = kTile, R = TT / P < 4 ? 4 : TT / P, G = P < 8 ? P : 8, U = G < 4 ? 4 : G;
  constexpr int RB = 2 * N * TT / T < 4 ? 4 : 2 * N * TT / T > 16 ? 16 : 2 * N * TT / T;
  static_assert(S % 2 == 0 && P <= 32 && T % 32 == 0 && CB * TT % (T * R) == 0 || R == 4, "layout");
  extern __shared__ __align__(16) unsigned char shared[];
  float4 *steps = reinterpret_cast<float4 *>(shared);             // [TT / 2][CB] {dt, w, dt, w}
  float4 *gates = steps + TT / 2 * CB;                            // [TT / 2][CB] {u, gate, u, gate}
  float *weights = reinterpret_cast<float *>(gates + TT / 2 * CB);  // [TT][P][B S, C S]
  float *gate_table = weights + TT * 2 * N;                       // [256]
  unsigned short *rows = reinterpret_cast<unsigned short *>(gate_table + 256);  // [TT][CB]
  float *step_table = reinterpret_cast<float *>(rows + TT * CB);  // [256][CB], TABLE only

  const int tid = threadIdx.x, lane = tid & 31, c = tid / P, j = tid % P;
  const int per_group = x.channels / x.groups, blocks_of_group = (per_group + CB - 1) / CB;
  const int item = blockIdx.x / (blocks_of_group * x.groups), slot = blockIdx.x % (blocks_of_group * x.groups);
  const int group = slot / blocks_of_group, in_group = slot % blocks_of_group * CB;
  const int first_channel = group * per_group + in_group;
  const int count = min(CB, per_group - in_group);                // channels of this block
  const int length = x.length;

  const double s_u = *x.s_u, s_dt = *x.s_dt, s_B = *x.s_B, s_C = *x.s_C;
  for (int q = tid; q < 256; q += T)
    gate_table[q] = static_cast<float>(x.z ? folded::gate((q - 128) * static_cast<double>(*x.s_z), s_B, s_C, s_u)
                                           : s_B * s_C * s_u);

  // What this thread prepares: R steps of one channel, and RB bytes of one row of B or C.
  const int pc = tid % CB, pk = tid / CB;
  const int prep_channel = first_channel + min(pc, count - 1);
  const double bias = x.bias ? static_cast<double>(x.bias[prep_channel]) * *x.s_bias : 0.0;
  const bool softplus = x.softplus;
  if constexpr (TABLE)
    for (int q = pk; q < 256; q += P)
      step_table[q * CB + pc] = static_cast<float>(folded::step_size((q - 128) * s_dt + bias, softplus));

  // What this thread integrates: S states of one channel.
  const int channel = first_channel + min(c, count - 1);
  float rate[S], h[S];
#pragma unroll
  for (int i = 0; i < S; ++i) {
    int n = j * S + i;
    h[i] = 0.0f;
    rate[i] = n < x.states ? static_cast<float>(folded::decay_rate(
                                 static_cast<double>(x.A_log[static_cast<long long>(channel) * x.states + n]) * *x.s_A))
                           : 0.0f;
  }
  const float skip = x.D ? static_cast<float>(folded::skip(static_cast<double>(x.D[channel]) * *x.s_D, s_B, s_C)) : 0.0f;

  const long long row = (static_cast<long long>(item) * x.channels + prep_channel) * length;
  const long long total = static_cast<long long>(x.batch) * x.channels * length;
  const long long weight_total = static_cast<long long>(x.batch) * x.groups * x.states * length;
  constexpr int kWeightRuns = 2 * N * TT / RB, kWeightItems = (kWeightRuns + T - 1) / T;
  constexpr bool kAllPrepare = CB * TT / R >= T;                  // every thread has a run of steps
  const bool prepares = kAllPrepare || pk < TT / R;

  Run<R> raw_u, raw_dt, raw_z;
  Run<RB> raw_weights[kWeightItems];
  auto fetch = [&](int t0) {
    if (prepares) {
      const long long at = row + t0 + pk * R, end = ALIGNED ? row + length : total;
      raw_u = load_run<R, ALIGNED>(x.u + at, x.u, x.u + end);
      raw_dt = load_run<R, ALIGNED>(x.dt + at, x.dt, x.dt + end);
      if (x.z) raw_z = load_run<R, ALIGNED>(x.z + at, x.z, x.z + end);
    }
#pragma unroll
    for (int m = 0; m < kWeightItems; ++m) {
      int run = tid + m * T, which = run % (2 * N), n = which % N, t = t0 + run / (2 * N) * RB;
      const signed char *base = which < N ? x.B : x.C;
      if (kWeightRuns % T == 0 || run < kWeightRuns) {
        if (n < x.states) {
          long long first = ((static_cast<long long>(item) * x.groups + group) * x.states + n) * length;
          raw_weights[m] =
              load_run<RB, ALIGNED>(base + first + t, base, base + (ALIGNED ? first + length : weight_total));
        } else {
#pragma unroll
          for (int k = 0; k < RB / 4; ++k) raw_weights[m].w[k] = 0x80808080u;
        }
      }
    }
  };
#pragma unroll
  for (int k = 0; k < R / 4; ++k) raw_z.w[k] = 0;
  fetch(0);
  __syncthreads();

  for (int t0 = 0; t0 < length; t0 += TT) {
    if (prepares) {
      float dt[R], u[R], g[R];
#pragma unroll
      for (int k = 0; k < R / 4; ++k) {
        u[4 * k] = code<0>(raw_u.w[k]); u[4 * k + 1] = code<1>(raw_u.w[k]);
        u[4 * k + 2] = code<2>(raw_u.w[k]); u[4 * k + 3] = code<3>(raw_u.w[k]);
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          unsigned q = (raw_dt.w[k] >> (8 * m)) & 255u;
          if constexpr (TABLE) dt[4 * k + m] = step_table[q * CB + pc];
          else dt[4 * k + m] = static_cast<float>(folded::step_size(static_cast<int>(q - 128) * s_dt + bias, softplus));
          g[4 * k + m] = gate_table[(raw_z.w[k] >> (8 * m)) & 255u];
        }
      }
      if (t0 + TT > length) {
#pragma unroll
        for (int k = 0; k < R; ++k)
          if (t0 + pk * R + k >= length) dt[k] = u[k] = 0.0f;     // decay 1, drive 0: the state stays
      }
#pragma unroll
      for (int k = 0; k < R; k += 2) {
        int at = (pk * R + k) / 2 * CB + pc;
        steps[at] = make_float4(dt[k], __fmul_rn(dt[k], u[k]), dt[k + 1], __fmul_rn(dt[k + 1], u[k + 1]));
        gates[at] = make_float4(u[k], g[k], u[k + 1], g[k + 1]);
      }
    }
#pragma unroll
    for (int m = 0; m < kWeightItems; ++m) {
      int run = tid + m * T, which = run % (2 * N), n = which % N;
      if (kWeightRuns % T == 0 || run < kWeightRuns) {
        float *at = weights + run / (2 * N) * RB * 2 * N + n / S * 2 * S + which / N * S + n % S;
#pragma unroll
        for (int k = 0; k < RB / 4; ++k) {
          at[(4 * k) * 2 * N] = code<0>(raw_weights[m].w[k]);
          at[(4 * k + 1) * 2 * N] = code<1>(raw_weights[m].w[k]);
          at[(4 * k + 2) * 2 * N] = code<2>(raw_weights[m].w[k]);
          at[(4 * k + 3) * 2 * N] = code<3>(raw_weights[m].w[k]);
        }
      }
    }
    if (t0 + TT < length) fetch(t0 + TT);
    __syncthreads();

    const int todo = min(TT, length - t0);
#pragma unroll 1
    for (int t = 0; t < todo; t += U) {
      float part[U];
#pragma unroll
      for (int k = 0; k < U; k += 2) {
        float4 step = steps[(t + k) / 2 * CB + c];
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          const float dt = m ? step.z : step.x, w = m ? step.w : step.y;
          const float *weight = weights + (t + k + m) * 2 * N + j * 2 * S;
          float B[S], C[S];
#pragma unroll
          for (int i = 0; i < S; ++i) { B[i] = weight[i]; C[i] = weight[S + i]; }
#pragma unroll
          for (int i = 0; i < S; ++i)
            h[i] = __fmaf_rn(ex2(__fmul_rn(dt, rate[i])), h[i], __fmul_rn(w, B[i]));
          part[k + m] = tree<S>(h, C);
        }
      }
#pragma unroll
      for (int k = 0; k < U; k += G) {
        float v[G];
#pragma unroll
        for (int i = 0; i < G; ++i) v[i] = part[k + i];
        const float sum = reduce<P, G>(v, lane);
        if (P <= 8 || j < 8) {
          const int at = t + k + j;
          const float2 ug = reinterpret_cast<const float2 *>(gates)[(at / 2 * CB + c) * 2 + (at & 1)];
          rows[at * CB + c] = to_half(__fmul_rn(__fmaf_rn(skip, ug.x, sum), ug.y));
        }
      }
    }
    __syncthreads();

    unsigned short *y = static_cast<unsigned short *>(x.y) +
                        (static_cast<long long>(item) * length + t0) * x.channels + first_channel;
    if (count == CB && CB % 8 == 0 && (x.channels | first_channel) % 8 == 0) {
      for (int k = tid; k < todo * (CB / 8); k += T)
        *reinterpret_cast<uint4 *>(y + static_cast<long long>(k / (CB / 8)) * x.channels + k % (CB / 8) * 8) =
            *reinterpret_cast<const uint4 *>(rows + k / (CB / 8) * CB + k % (CB / 8) * 8);
    } else {
      for (int k = tid; k < todo * CB; k += T)
        if (k % CB < count) y[static_cast<long long>(k / CB) * x.channels + k % CB] = rows[k];
    }
  }

  if (x.last_state && c < count) {
#pragma unroll
    for (int i = 0; i < S; ++i) {
      const int n = j * S + i;
      if (n < x.states) {
        const long long at = (static_cast<long long>(item) * x.channels + channel) * x.states + n;
        const double value = h[i] * (s_B * s_u);
        if (x.s_state) {
          const double whole = round(value / *x.s_state);          // ties away from zero
          static_cast<signed char *>(x.last_state)[at] =
              static_cast<signed char>(fmin(fmax(whole, -128.0), 127.0));
        } else {
          static_cast<float *>(x.last_state)[at] = static_cast<float>(value);
        }
      }
    }
  }
}
