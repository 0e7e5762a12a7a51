// The `folded` scan on the GPU by table: all 256 steps of a channel stand in shared memory.
//
// A team of CB P threads owns CB channels of one item; NB teams of a block share the table of steps and take items in
// turn.  A lane reads its own channel's codes straight from memory, 16 steps at a time, and looks its steps up.  Only
// the floats of B and C, and y on its way out, pass through shared memory: one barrier for 32 steps.
// Same formulas as folded.cu, and with four states a lane or more the same order of sums, so the same bits.
#include "folded_device.h"

using namespace folded;

namespace {

struct No { static constexpr bool value = false; };
struct Yes { static constexpr bool value = true; };

__host__ __device__ constexpr int log2_of(int v) { return v <= 1 ? 0 : 1 + log2_of(v / 2); }

// A channel's lanes: neighbours, so that a load of their codes touches half as many lines; the rest of them far apart,
// so that each quarter of a warp reads two addresses of B and C and a 16-byte shared load costs two cycles, not four.
template <int P>
struct Lanes {
  static constexpr int W = 32 / P;                                // channels a warp
  static __device__ __forceinline__ int channel(int lane) { return P == 1 ? lane : (lane >> 1) & (W - 1); }
  static __device__ __forceinline__ int part(int lane) {
    return P == 1 ? 0 : (lane & 1) | ((lane >> (log2_of(W) + 1)) << 1);
  }
  static __host__ __device__ constexpr int mask(int bit) { return bit == 0 ? 1 : 1 << (log2_of(W) + bit); }
};

// Four states of B or C over four steps: how a team turns codes into floats, eight lanes to a row of shared memory.
template <bool ALIGNED>
struct WeightBlock {
  Pending<4, ALIGNED> row[4];
  __device__ __forceinline__ void fetch(const signed char *at, long long length, int live, const signed char *first,
                                        const signed char *end) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      row[i].clear();                                             // padding adds nothing
      row[i].fetch(at + i * length, i < live, first, end);
    }
  }
  template <int N, int S>
  __device__ __forceinline__ void store(float *step, int quad, bool is_C, const signed char *at,
                                        long long length) const {
    Run<4> r[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) r[i] = row[i].take(at + i * length);
#pragma unroll
    for (int k = 0; k < 4; ++k, step += 2 * N) {
      const float4 v = make_float4(code(r[0].w[0], k), code(r[1].w[0], k), code(r[2].w[0], k), code(r[3].w[0], k));
      if constexpr (S == 2) {
        *reinterpret_cast<float2 *>(step + 8 * quad + 2 * is_C) = make_float2(v.x, v.y);
        *reinterpret_cast<float2 *>(step + 8 * quad + 4 + 2 * is_C) = make_float2(v.z, v.w);
      } else {
        *reinterpret_cast<float4 *>(step + 4 * quad / S * 2 * S + 4 * quad % S + S * is_C) = v;
      }
    }
  }
};

}  // namespace

// CB channels a team, P = N / S lanes a channel, NB teams share the tables.
template <int N, int S, int CB, bool ALIGNED, int NB, int MINB>
__global__ void __launch_bounds__(CB *(N / S) * NB, MINB) folded_wide(const Arguments x) {
  constexpr int P = N / S, T = CB * P, TT = 32, HALF = 16, W = 32 / P;   // W channels a warp
  constexpr int kBlocks = N / 2 * (TT / 4), kBlockItems = (kBlocks + T - 1) / T;
  constexpr int kRow = CB / 8, kOuts = TT * kRow, kOutItems = (kOuts + T - 1) / T;   // 16 bytes of y each
  constexpr int kTeamBytes = 2 * TT * 2 * N * 4 + 2 * TT * CB * 2;
  static_assert(P <= 8 && S % 2 == 0 && CB % 8 == 0 && (CB & (CB - 1)) == 0 && T % 32 == 0, "layout");
  extern __shared__ __align__(16) unsigned char shared[];
  float *step_table = reinterpret_cast<float *>(shared);           // [256][CB]
  float *gate_table = step_table + 256 * CB;                       // [256][16], a copy for every second lane
  unsigned char *rest = reinterpret_cast<unsigned char *>(gate_table + 256 * 16);
  double2 *logs = reinterpret_cast<double2 *>(rest);               // [128], while the tables are built
  double *powers = reinterpret_cast<double *>(logs + 128);         // [256], likewise
  const int team = NB == 1 ? 0 : threadIdx.x / T, tid = NB == 1 ? threadIdx.x : threadIdx.x % T;
  float *weights = reinterpret_cast<float *>(rest + team * kTeamBytes);                     // [2][TT][P][B S, C S]
  unsigned short *rows = reinterpret_cast<unsigned short *>(weights + 2 * TT * 2 * N);      // [2][TT][CB]

  const int lane = tid & 31, c = tid / 32 * W + Lanes<P>::channel(lane), j = Lanes<P>::part(lane);
  const int per_group = x.channels / x.groups, blocks_of_group = (per_group + CB - 1) / CB;
  const int group = blockIdx.x / blocks_of_group, in_group = blockIdx.x % blocks_of_group * CB;
  const int first_channel = group * per_group + in_group;
  const int count = min(CB, per_group - in_group);
  const int length = x.length;
  const int channel = first_channel + min(c, count - 1);

  const double s_u = *x.s_u, s_dt = *x.s_dt, s_B = *x.s_B, s_C = *x.s_C;
  const bool plain = !x.softplus || s_dt > 2.0;
  for (int q = threadIdx.x; q < 256; q += T * NB) {
    const float value = static_cast<float>(x.z ? gate((q - 128) * static_cast<double>(*x.s_z), s_B, s_C, s_u)
                                               : s_B * s_C * s_u);
#pragma unroll
    for (int copy = 0; copy < 16; ++copy) gate_table[q * 16 + (copy + q) % 16] = value;
    powers[q] = exp((q - 128) * s_dt);
    if (q < 128) logs[q] = make_double2(1.0 / (1.0 + q / 128.0), log(1.0 + q / 128.0));
  }
  const int pc = threadIdx.x % CB;
  const double bias = x.bias ? static_cast<double>(x.bias[first_channel + min(pc, count - 1)]) * *x.s_bias : 0.0;
  __syncthreads();
  if (plain || bias > 300.0) {
    for (int q = threadIdx.x / CB; q < 256; q += T * NB / CB)
      step_table[q * CB + pc] = plain_step((q - 128) * s_dt + bias, x.softplus);
  } else {
    const Softplus softplus{powers, logs, exp(bias)};
#pragma unroll 4
    for (int q = threadIdx.x / CB; q < 256; q += T * NB / CB) step_table[q * CB + pc] = softplus(q);
  }
  __syncthreads();

  float rate[S], centre[S], steps[kProbes];
#pragma unroll
  for (int k = 0; k < kProbes; ++k) steps[k] = step_table[probe_code(k) * CB + c];
#pragma unroll
  for (int i = 0; i < S; ++i) {
    const int n = j * S + i;
    rate[i] = n < x.states ? static_cast<float>(decay_rate(
                                 static_cast<double>(x.A_log[static_cast<long long>(channel) * x.states + n]) * *x.s_A))
                           : 0.0f;
    centre[i] = ex2_centre(steps, rate[i]);
  }
  const float skip_u = x.D ? static_cast<float>(skip(static_cast<double>(x.D[channel]) * *x.s_D, s_B, s_C)) : 0.0f;
  const long long total = static_cast<long long>(x.batch) * x.channels * length;
  const long long weight_total = static_cast<long long>(x.batch) * x.groups * x.states * length;
  const bool wide = count == CB && (x.channels | first_channel) % 8 == 0;
  const char *table_bytes = reinterpret_cast<const char *>(step_table);
  const unsigned column = 4 * c;

  for (int item = blockIdx.y * NB + team; item < x.batch; item += gridDim.y * NB) {
    const long long row = (static_cast<long long>(item) * x.channels + channel) * length;
    const signed char *first_z = x.z ? x.z : x.u;                  // without z every gate is the same
    const signed char *at_u = x.u + row, *at_dt = x.dt + row, *at_z = first_z + row;
    Pending<HALF, ALIGNED> raw_u, raw_dt, raw_z;
    auto fetch = [&](bool inside) {
      raw_u.fetch(at_u, inside, x.u, x.u + total);
      raw_dt.fetch(at_dt, inside, x.dt, x.dt + total);
      raw_z.fetch(at_z, inside, first_z, first_z + total);
    };

    WeightBlock<ALIGNED> block[kBlockItems];
    const signed char *at_block[kBlockItems];
#pragma unroll
    for (int m = 0; m < kBlockItems; ++m) {
      const int b = tid + m * T, quad = b % (N / 4);
      at_block[m] = (b / (N / 4) % 2 ? x.C : x.B) + 4 * (b / (N / 2)) +
                    ((static_cast<long long>(item) * x.groups + group) * x.states + 4 * quad) * length;
    }
    auto fetch_weights = [&](int t0) {
#pragma unroll
      for (int m = 0; m < kBlockItems; ++m) {
        const int b = tid + m * T;
        const bool inside = t0 + 4 * (b / (N / 2)) < length && (kBlocks % T == 0 || b < kBlocks);
        const signed char *first = b / (N / 4) % 2 ? x.C : x.B;
        block[m].fetch(at_block[m], length, inside ? x.states - b % (N / 4) * 4 : 0, first, first + weight_total);
      }
    };
    auto store_weights_of = [&](float *tile) {
#pragma unroll
      for (int m = 0; m < kBlockItems; ++m) {
        const int b = tid + m * T;
        if (kBlocks % T != 0 && b >= kBlocks) break;
        block[m].template store<N, S>(tile + b / (N / 2) * 8 * N, b % (N / 4), b / (N / 4) % 2, at_block[m], length);
        at_block[m] += TT;
      }
    };

    unsigned short *y = static_cast<unsigned short *>(x.y) +
                        static_cast<long long>(item) * length * x.channels + first_channel;
    unsigned short *at_y = y + static_cast<long long>(tid / kRow) * x.channels + tid % kRow * 8;
    const long long out_stride = static_cast<long long>(T / kRow) * x.channels;
    const long long tile_stride = static_cast<long long>(TT) * x.channels;
    uint4 leaving[kOutItems];
    auto take_out = [&](int half) {
#pragma unroll
      for (int m = 0; m < kOutItems; ++m)
        if (kOuts % T == 0 || tid + m * T < kOuts)
          leaving[m] = *reinterpret_cast<const uint4 *>(rows + half * TT * CB + (tid + m * T) * 8);
    };
    auto put_out = [&](int t0, int half) {
      if (wide) {
#pragma unroll
        for (int m = 0; m < kOutItems; ++m)
          if ((kOuts % T == 0 || tid + m * T < kOuts) && t0 + tid / kRow + m * (T / kRow) < length)
            *reinterpret_cast<uint4 *>(at_y + m * out_stride) = leaving[m];
        at_y += tile_stride;
      } else {
        store_rows<TT, CB, T>(rows + half * TT * CB, y + static_cast<long long>(t0) * x.channels, min(TT, length - t0),
                              count, x.channels, false, tid);
      }
    };

    float h[S];
#pragma unroll
    for (int i = 0; i < S; ++i) {
      const long long at = (static_cast<long long>(item) * x.channels + channel) * x.states + j * S + i;
      h[i] = j * S + i < x.states ? load_state(x, at, 1.0 / (s_B * s_u)) : 0.0f;
    }
    fetch(true);
    fetch_weights(0);

    int half = 0;
    for (int t0 = 0; t0 < length; t0 += TT, half ^= 1) {
      float *tile = weights + half * TT * 2 * N;
      store_weights_of(tile);
      team_barrier<T>(team + 1);
      if (t0) take_out(half ^ 1);
      fetch_weights(t0 + TT);
      if (t0) put_out(t0 - TT, half ^ 1);

      const float *weight = tile + j * 2 * S;
      unsigned short *out = rows + half * TT * CB + c + j * CB;
#pragma unroll 1
      for (int t1 = t0; t1 < min(t0 + TT, length); t1 += HALF, weight += HALF * 2 * N, out += HALF * CB) {
        const Run<HALF> ru = raw_u.take(at_u), rdt = raw_dt.take(at_dt), rz = raw_z.take(at_z);
        at_u += HALF; at_dt += HALF; at_z += HALF;
        fetch(t1 + HALF < length);
        auto run_steps = [&](auto partial) {
          float part[P], results[HALF / P];
#pragma unroll
          for (int t = 0; t < HALF; ++t) {
            constexpr int kShift = 2 + log2_of(CB);                // a row of the table is 4 CB bytes
            const int k = t % 4;
            const unsigned wdt = rdt.w[t / 4];
            const unsigned moved = 8 * k >= kShift ? wdt >> (8 * k - kShift) : wdt << (kShift - 8 * k);
            const unsigned offset = moved & (255u << kShift);
            float dt = *reinterpret_cast<const float *>(table_bytes + (offset | column));
            if constexpr (decltype(partial)::value) { if (t1 + t >= length) dt = 0.0f; }  // the state stays
            const float w = __fmul_rn(dt, code(ru.w[t / 4], k));
            float B[S], C[S];
            load_weights<S>(weight + t * 2 * N, B, C);
#pragma unroll
            for (int i = 0; i < S; ++i)
              h[i] = __fmaf_rn(ex2(__fmaf_rn(dt, rate[i], centre[i])), h[i], __fmul_rn(w, B[i]));
            part[t % P] = contract<S>(h, C);
            if (t % P == P - 1) {                                   // lane j finishes step t - (P - 1) + j
#pragma unroll
              for (int bit = 0; (1 << bit) < P; ++bit) {
                const bool odd = (j >> bit) & 1;
#pragma unroll
                for (int i = 0; i < P >> (bit + 1); ++i) {
                  const float keep = odd ? part[2 * i + 1] : part[2 * i], send = odd ? part[2 * i] : part[2 * i + 1];
                  part[i] = __fadd_rn(keep, __shfl_xor_sync(0xFFFFFFFFu, send, Lanes<P>::mask(bit)));
                }
              }
              const bool before = P == 8 && j < 4;
              const unsigned wu = before ? ru.w[t / 4 - (P == 8)] : ru.w[t / 4];
              const unsigned wz = before ? rz.w[t / 4 - (P == 8)] : rz.w[t / 4];
              const unsigned byte = P == 8 ? j & 3 : (k - (P - 1)) + j;
              const float u = __fadd_rn(__uint_as_float(__byte_perm(wu, 0x4B000000u, 0x7440u + byte)), -kMagic);
              const float gate_z = gate_table[__byte_perm(wz, 0, 0x4440u + byte) * 16 + lane % 16];
              results[t / P] = __fmul_rn(__fmaf_rn(skip_u, u, part[0]), gate_z);
            }
          }
#pragma unroll
          for (int k = 0; k < HALF / P; ++k) out[k * P * CB] = to_half(results[k]);  // last: it holds back later loads
        };
        if (t1 + HALF <= length) run_steps(No{});
        else run_steps(Yes{});
      }
    }
    team_barrier<T>(team + 1);
    take_out(half ^ 1);
    put_out((length - 1) / TT * TT, half ^ 1);

    if (x.last_state && c < count) {
#pragma unroll
      for (int i = 0; i < S; ++i) {
        const int n = j * S + i;
        if (n < x.states)
          store_state(x, (static_cast<long long>(item) * x.channels + channel) * x.states + n, h[i], s_B * s_u);
      }
    }
    team_barrier<T>(team + 1);
  }
}
