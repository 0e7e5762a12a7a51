// The `folded` scan on the GPU, general kernel: folded.h's formulas, sequential in time.
//
// A block owns CB channels of one item.  Its first T = CB P threads integrate: P = N / S lanes share a channel and hold
// S of its N states (n padded to a power of two) in registers.  The other T threads prepare, one tile of TT steps
// ahead: codes become (dt, dt u) and (u, gate) per channel and step, B and C become floats; and they write the finished
// tile of y as (b, l, d) rows.  One barrier a tile.  y of an item depends neither on its batch nor on later tokens.
// The kernel of folded_wide.cu does the same sums in the same order without the preparing threads.
#include "folded_device.h"

using namespace folded;

namespace {

// Lanes of a warp: neighbours share a j (so B and C are read by pairs), lanes two apart share a channel (so dt is).
// Both make a 16-byte shared load half as dear, measured.
template <int P>
struct Lanes {
  static constexpr int W = 32 / P;                                // channels a warp
  static __host__ __device__ constexpr int log2(int v) { return v <= 1 ? 0 : 1 + log2(v / 2); }
  static __device__ __forceinline__ int channel(int lane) {
    return P == 1 ? lane : W == 1 ? 0 : (lane & 1) | (((lane >> 2) << 1) & (W - 1));
  }
  static __device__ __forceinline__ int part(int lane) {
    return P == 1 ? 0 : W == 1 ? lane : ((lane >> 1) & 1) | ((lane >> (log2(W) + 1)) << 1);
  }
  static __host__ __device__ constexpr int mask(int bit) {
    return W == 1 ? 1 << bit : bit == 0 ? 2 : 1 << (log2(W) + bit);
  }
};

// Sums of v[0..G-1] over the P lanes of a channel, neighbours in n first; lane j gets step j % G.
template <int P, int G>
__device__ __forceinline__ float reduce(float (&v)[G], int j) {
  int left = G;
#pragma unroll
  for (int bit = 0; (1 << bit) < P; ++bit) {
    const int mask = Lanes<P>::mask(bit);
    if (left > 1) {
      const bool odd = (j >> bit) & 1;
#pragma unroll
      for (int i = 0; i < left / 2; ++i) {
        const float keep = odd ? v[2 * i + 1] : v[2 * i], send = odd ? v[2 * i] : v[2 * i + 1];
        v[i] = __fadd_rn(keep, __shfl_xor_sync(0xFFFFFFFFu, send, mask));
      }
      left /= 2;
    } else {
      v[0] = __fadd_rn(v[0], __shfl_xor_sync(0xFFFFFFFFu, v[0], mask));
    }
  }
  return v[0];
}

}  // namespace

// x.taps of the tapped build, float32, one after the other: softplus (b, d, l), decay, drive, recurrence (b, d, l, n),
// contraction, skip, gate (b, d, l); all in real units.
template <int N, int S, int CB, int TT, bool ALIGNED, bool TAPS>
__global__ void __launch_bounds__(2 * CB *(N / S)) folded_scan(const Arguments x) {
  constexpr int P = N / S, T = CB * P, G = P < 8 ? P : 8, CHUNK = TT < 32 ? TT : 32;
  constexpr int R = TT / P < 4 ? 4 : TT / P > 16 ? 16 : TT / P;
  constexpr int RB = N * TT / T < 4 ? 4 : N * TT / T > 16 ? 16 : N * TT / T;
  constexpr int kRuns = CB * TT / R, kItems = (kRuns + T - 1) / T;
  constexpr int kWeightRuns = N * TT / RB, kWeightItems = (kWeightRuns + T - 1) / T;
  static_assert(S % 2 == 0 && S * P == N && P <= 32 && T % 32 == 0 && TT % G == 0 && TT % 4 == 0, "layout");
  extern __shared__ __align__(16) unsigned char shared[];
  double2 *logs = reinterpret_cast<double2 *>(shared);                                 // [128]
  double *powers = reinterpret_cast<double *>(logs + 128);                             // [256]
  float4 *all_steps = reinterpret_cast<float4 *>(powers + 256);                        // [2][TT / 2][CB] {dt, w} x 2
  float4 *all_gates = all_steps + TT * CB;                                             // [2][TT / 2][CB] {u, gate} x 2
  float *all_weights = reinterpret_cast<float *>(all_gates + TT * CB);                 // [2][TT][P][B S, C S]
  float *gate_table = all_weights + 2 * TT * 2 * N;                                    // [256]
  unsigned short *all_rows = reinterpret_cast<unsigned short *>(gate_table + 256);     // [2][TT][CB]

  const bool integrates = threadIdx.x < T;
  const int tid = integrates ? threadIdx.x : threadIdx.x - T;
  const int per_group = x.channels / x.groups, blocks_of_group = (per_group + CB - 1) / CB;
  const int group = blockIdx.x / blocks_of_group, in_group = blockIdx.x % blocks_of_group * CB;
  const int first_channel = group * per_group + in_group;
  const int count = min(CB, per_group - in_group);
  const int length = x.length, tiles = (length + TT - 1) / TT;
  const double s_u = *x.s_u, s_dt = *x.s_dt, s_B = *x.s_B, s_C = *x.s_C;

  for (int q = threadIdx.x; q < 256; q += 2 * T) {
    gate_table[q] = static_cast<float>(x.z ? gate((q - 128) * static_cast<double>(*x.s_z), s_B, s_C, s_u)
                                           : s_B * s_C * s_u);
    powers[q] = exp((q - 128) * s_dt);
    if (q < 128) logs[q] = make_double2(1.0 / (1.0 + q / 128.0), log(1.0 + q / 128.0));
  }
  const int lane = tid & 31;
  const int c = integrates ? tid / 32 * Lanes<P>::W + Lanes<P>::channel(lane) : tid % CB;
  const int j = integrates ? Lanes<P>::part(lane) : tid / CB;
  const int channel = first_channel + min(c, count - 1);
  const double bias = x.bias ? static_cast<double>(x.bias[channel]) * *x.s_bias : 0.0;
  const bool plain = !x.softplus || s_dt > 2.0 || bias > 300.0;
  __syncthreads();

  if (!integrates) {
    const Softplus softplus{powers, logs, exp(bias)};
    const bool wide = count == CB && (x.channels | first_channel) % 8 == 0;
    const long long total = static_cast<long long>(x.batch) * x.channels * length;
    const long long weight_total = static_cast<long long>(x.batch) * x.groups * x.states * length;
    for (int item = blockIdx.y; item < x.batch; item += gridDim.y) {
      const long long row = (static_cast<long long>(item) * x.channels + channel) * length + j * R;
      const signed char *first_z = x.z ? x.z : x.u;               // without z every gate is the same
      const signed char *at_u = x.u + row, *at_dt = x.dt + row, *at_z = first_z + row;
      Pending<R, ALIGNED> raw_u[kItems], raw_dt[kItems], raw_z[kItems];
      Pending<RB, ALIGNED> raw_B[kWeightItems], raw_C[kWeightItems];
      const long long weight_row = (static_cast<long long>(item) * x.groups + group) * x.states * length;
      const signed char *at_B[kWeightItems], *at_C[kWeightItems];
#pragma unroll
      for (int m = 0; m < kWeightItems; ++m) {
        const int run = tid + m * T;
        const long long at = weight_row + static_cast<long long>(run % N) * length + run / N * RB;
        at_B[m] = x.B + at;
        at_C[m] = x.C + at;
      }
      auto fetch = [&](int t0) {
#pragma unroll
        for (int m = 0; m < kItems; ++m) {
          const int o = t0 + m * (T / CB) * R;
          const bool inside = o + j * R < length && (kRuns % T == 0 || tid + m * T < kRuns);
          raw_u[m].fetch(at_u + o, inside, x.u, x.u + total);
          raw_dt[m].fetch(at_dt + o, inside, x.dt, x.dt + total);
          raw_z[m].fetch(at_z + o, inside, first_z, first_z + total);
        }
#pragma unroll
        for (int m = 0; m < kWeightItems; ++m) {
          const int run = tid + m * T;
          const bool inside =
              t0 + run / N * RB < length && run % N < x.states && (kWeightRuns % T == 0 || run < kWeightRuns);
          raw_B[m].fetch(at_B[m] + t0, inside, x.B, x.B + weight_total);
          raw_C[m].fetch(at_C[m] + t0, inside, x.C, x.C + weight_total);
        }
      };
      auto prepare = [&](int tile) {
        const int t0 = tile * TT;
        float4 *steps = all_steps + (tile & 1) * (TT / 2 * CB), *gates = all_gates + (tile & 1) * (TT / 2 * CB);
        float *weights = all_weights + (tile & 1) * TT * 2 * N;
#pragma unroll
        for (int m = 0; m < kItems; ++m) {
          if (kRuns % T != 0 && tid + m * T >= kRuns) break;
          const int o = t0 + m * (T / CB) * R, r0 = (j + m * (T / CB)) * R;
          const Run<R> ru = raw_u[m].take(at_u + o), rdt = raw_dt[m].take(at_dt + o), rz = raw_z[m].take(at_z + o);
#pragma unroll
          for (int k = 0; k < R / 4; ++k) {
            float dt[4], g[4], u[4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              u[i] = code(ru.w[k], i);
              dt[i] = softplus((rdt.w[k] >> (8 * i)) & 255u);
              g[i] = gate_table[(rz.w[k] >> (8 * i)) & 255u];
            }
            if (plain) {
#pragma unroll
              for (int i = 0; i < 4; ++i)
                dt[i] = plain_step((static_cast<int>((rdt.w[k] >> (8 * i)) & 255u) - 128) * s_dt + bias, x.softplus);
            }
            if (t0 + TT > length) {
#pragma unroll
              for (int i = 0; i < 4; ++i)
                if (t0 + r0 + 4 * k + i >= length) dt[i] = u[i] = 0.0f;   // decay 1, drive 0: the state stays
            }
            const int at = (r0 + 4 * k) / 2 * CB + c;
            steps[at] = make_float4(dt[0], __fmul_rn(dt[0], u[0]), dt[1], __fmul_rn(dt[1], u[1]));
            steps[at + CB] = make_float4(dt[2], __fmul_rn(dt[2], u[2]), dt[3], __fmul_rn(dt[3], u[3]));
            gates[at] = make_float4(u[0], g[0], u[1], g[1]);
            gates[at + CB] = make_float4(u[2], g[2], u[3], g[3]);
          }
        }
#pragma unroll
        for (int m = 0; m < kWeightItems; ++m) {
          if (kWeightRuns % T != 0 && tid + m * T >= kWeightRuns) break;
          const Run<RB> B = raw_B[m].take(at_B[m] + t0), C = raw_C[m].take(at_C[m] + t0);
          const int n = (tid + m * T) % N;
          const bool live = n < x.states;  // padding adds nothing; past the end any number does
          float *at = weights + (tid + m * T) / N * RB * 2 * N;
#pragma unroll
          for (int k = 0; k < RB; ++k)
            store_weights<S>(at + k * 2 * N, n, live ? code(B.w[k / 4], k % 4) : 0.0f,
                             live ? code(C.w[k / 4], k % 4) : 0.0f);
        }
      };
      auto store = [&](int tile) {
        store_rows<TT, CB, T>(all_rows + (tile & 1) * TT * CB,
                              static_cast<unsigned short *>(x.y) +
                                  (static_cast<long long>(item) * length + tile * TT) * x.channels + first_channel,
                              min(TT, length - tile * TT), count, x.channels, wide, tid);
      };
      fetch(0);
      prepare(0);
      fetch(TT);
      __syncthreads();
      for (int tile = 0; tile < tiles; ++tile) {
        if (tile + 1 < tiles) prepare(tile + 1);
        fetch((tile + 2) * TT);
        if (tile) store(tile - 1);
        __syncthreads();
      }
      store(tiles - 1);
    }
    return;
  }

  float rate[S], centre[S], h[S];
  {
    float steps[kProbes];
    const Softplus softplus{powers, logs, exp(bias)};
#pragma unroll
    for (int k = 0; k < kProbes; ++k)
      steps[k] = plain ? plain_step((static_cast<int>(probe_code(k)) - 128) * s_dt + bias, x.softplus)
                       : softplus(probe_code(k));
#pragma unroll
    for (int i = 0; i < S; ++i) {
      const int n = j * S + i;
      const long long at = static_cast<long long>(channel) * x.states + n;
      rate[i] = n < x.states ? static_cast<float>(decay_rate(static_cast<double>(x.A_log[at]) * *x.s_A)) : 0.0f;
      centre[i] = ex2_centre(steps, rate[i]);
    }
  }
  const float skip_u = x.D ? static_cast<float>(skip(static_cast<double>(x.D[channel]) * *x.s_D, s_B, s_C)) : 0.0f;

  for (int item = blockIdx.y; item < x.batch; item += gridDim.y) {
    const long long per_step = static_cast<long long>(x.batch) * x.channels * length, per_state = per_step * x.states;
    const long long row = (static_cast<long long>(item) * x.channels + channel) * length;
#pragma unroll
    for (int i = 0; i < S; ++i) {
      const long long at = (static_cast<long long>(item) * x.channels + channel) * x.states + j * S + i;
      h[i] = j * S + i < x.states ? load_state(x, at, 1.0 / (s_B * s_u)) : 0.0f;
    }
    __syncthreads();
    for (int tile = 0; tile < tiles; ++tile) {
      const float4 *steps = all_steps + (tile & 1) * (TT / 2 * CB) + c;
      const float2 *gates = reinterpret_cast<const float2 *>(all_gates + (tile & 1) * (TT / 2 * CB));
      const float *weights = all_weights + (tile & 1) * TT * 2 * N + j * 2 * S;
      unsigned short *rows = all_rows + (tile & 1) * TT * CB + c;
      int start = tile * TT;                                        // the time of the chunk's first step
#pragma unroll 1                                                      // 64 steps in one piece: 10 % slower, measured
      for (int chunk = 0; chunk < TT / CHUNK; ++chunk, start += CHUNK) {
        float results[CHUNK / G];                                   // stored last: it would hold back later loads
#pragma unroll
        for (int t = 0; t < CHUNK; t += G) {
          float part[G], decay[G][S], drive[G][S], C[G][S];
#pragma unroll
          for (int k = 0; k < G; ++k) {
            const float4 two = steps[(t + k) / 2 * CB];
            const float dt = (t + k) & 1 ? two.z : two.x, w = (t + k) & 1 ? two.w : two.y;
            float B[S];
            load_weights<S>(weights + (t + k) * 2 * N, B, C[k]);
#pragma unroll
            for (int i = 0; i < S; ++i) {
              decay[k][i] = ex2(__fmaf_rn(dt, rate[i], centre[i]));
              drive[k][i] = __fmul_rn(w, B[i]);
            }
            if constexpr (TAPS)
              if (start + t + k < length && c < count && j == 0) x.taps[row + start + t + k] = dt;
          }
#pragma unroll
          for (int k = 0; k < G; ++k) {
#pragma unroll
            for (int i = 0; i < S; ++i) {
              h[i] = __fmaf_rn(decay[k][i], h[i], drive[k][i]);
              if constexpr (TAPS) {
                const int time = start + t + k, n = j * S + i;
                if (time < length && c < count && n < x.states) {
                  float *at = x.taps + per_step + (row + time) * x.states + n;
                  at[0] = decay[k][i];
                  at[per_state] = static_cast<float>(drive[k][i] * (s_B * s_u));
                  at[2 * per_state] = static_cast<float>(h[i] * (s_B * s_u));
                }
              }
            }
            part[k] = contract<S>(h, C[k]);
          }
          const float sum = reduce<P, G>(part, j);
          const int at = t + (G == 1 ? 0 : j % G);
          const float2 ug = gates[(at / 2 * CB + c) * 2 + (at & 1)];
          const float bracket = __fmaf_rn(skip_u, ug.x, sum);
          results[t / G] = __fmul_rn(bracket, ug.y);
          if constexpr (TAPS) {
            const int time = start + at;
            if (time < length && c < count && j < G) {
              float *tap = x.taps + per_step + 3 * per_state + row + time;
              tap[0] = static_cast<float>(sum * (s_B * s_C * s_u));
              tap[per_step] = static_cast<float>(bracket * (s_B * s_C * s_u));
              tap[2 * per_step] = results[t / G];
            }
          }
        }
        if (j < G) {
#pragma unroll
          for (int k = 0; k < CHUNK / G; ++k) rows[(k * G + (G == 1 ? 0 : j)) * CB] = to_half(results[k]);
        }
        steps += CHUNK / 2 * CB;
        gates += CHUNK * CB;
        weights += CHUNK * 2 * N;
        rows += CHUNK * CB;
      }
      __syncthreads();
    }
    if (x.last_state && c < count) {
#pragma unroll
      for (int i = 0; i < S; ++i)
        if (j * S + i < x.states)
          store_state(x, (static_cast<long long>(item) * x.channels + channel) * x.states + j * S + i, h[i],
                      s_B * s_u);
    }
  }
}
