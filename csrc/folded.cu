// The `folded` scan on the GPU for any n, and with taps: sequential in time, a block for NB items of CB channels.
//
// The first T = CB NB P threads integrate: P = N / S lanes share a row (an item's channel) and hold S of its N states
// (n padded to a power of two) in registers.  The last PT threads prepare and finish: a tile of TT steps ahead, codes
// become (dt, dt u) per row and B and C become floats, all 256 steps of a channel standing in a table; a tile behind,
// the lanes' sums become y.  One barrier a tile.  y of an item depends neither on its batch nor on later tokens.
#include "folded_lookup.h"

using namespace folded;

namespace {

// Lanes of a warp: neighbours share a j (so B and C are read by pairs), lanes two apart share a row (so dt is).
// Both make a 16-byte shared load half as dear, measured.
template <int P>
struct Lanes {
  static constexpr int W = 32 / P;                                  // rows a warp
  static __device__ __forceinline__ int row(int lane) {
    return P == 1 ? lane : W == 1 ? 0 : (lane & 1) | (((lane >> 2) << 1) & (W - 1));
  }
  static __device__ __forceinline__ int part(int lane) {
    return P == 1 ? 0 : W == 1 ? lane : ((lane >> 1) & 1) | ((lane >> (log2_of(W) + 1)) << 1);
  }
};

}  // namespace

// x.taps of the tapped build, float32, one after the other: softplus (b, d, l), decay, drive, recurrence (b, d, l, n),
// contraction, skip, gate (b, d, l); all in real units.
template <int N, int S, int CB, int NB, int TT, int PT, bool ALIGNED, bool TAPS>
__global__ void __launch_bounds__(CB *NB *(N / S) + PT, 1) folded_scan(const Arguments x) {
  constexpr int P = N / S, ROWS = CB * NB, RP = (ROWS + 7) / 8 * 8, T = ROWS * P;
  constexpr int R = ROWS * TT / 8 >= PT ? 8 : 4;                    // codes of u, dt and z that a thread takes at once
  constexpr int kUnits = ROWS * (TT / R), kItems = (kUnits + PT - 1) / PT;
  constexpr int kRuns = 2 * N * NB * TT;
  constexpr int RB = kRuns / 16 >= PT ? 16 : kRuns / 8 >= PT ? 8 : 4;
  constexpr int kWeightUnits = kRuns / RB, kWeightItems = (kWeightUnits + PT - 1) / PT;
  constexpr int CHUNK = 16;                                         // steps in one piece
  using Lookup = Tables<CB, N, false>;
  static_assert(S * P == N && P <= 32 && T % 32 == 0 && PT % 32 == 0, "layout");
  static_assert(TT % CHUNK == 0 && TT % RB == 0, "tile");
  extern __shared__ __align__(16) unsigned char shared[];
  take_turn(x);
  const Lookup tables{shared};
  float4 *all_steps = reinterpret_cast<float4 *>(shared + Lookup::kBytes);             // [2][TT / 2][RP] {dt, w} x 2
  float4 *all_parts = all_steps + TT * RP;                                             // [2][TT / 4][P][RP] four steps
  uint4 *kept = reinterpret_cast<uint4 *>(all_parts + 2 * (TT / 4) * P * RP);          // [2][kItems][PT] codes of u, z
  float *all_weights = reinterpret_cast<float *>(kept + 2 * kItems * PT);              // [2][NB][TT][P][B S, C S]

  const bool integrates = threadIdx.x < T;
  const int tid = integrates ? threadIdx.x : threadIdx.x - T;
  const int group = blockIdx.z, first_channel = group * x.group_channels + blockIdx.x * CB;
  const int count = min(CB, x.group_channels - static_cast<int>(blockIdx.x) * CB);
  const int length = x.length, tiles = (length + TT - 1) / TT;
  const int first_item = blockIdx.y * NB, stride = gridDim.y * NB;
  const int total = (x.batch - first_item + stride - 1) / stride * tiles;
  const double s_u = *x.s_u, s_B = *x.s_B, s_C = *x.s_C;

  const long long all_codes = static_cast<long long>(x.batch) * x.channels * length;
  const long long all_weight_codes = static_cast<long long>(x.batch) * x.groups * x.states * length;
  const signed char *first_z = x.z ? x.z : x.u;                     // without z every gate is the same
  Pending<R, ALIGNED> raw_u[kItems], raw_dt[kItems], raw_z[kItems];
  Pending<RB, ALIGNED> raw_weight[kWeightItems];
  long long at[kItems], weight_at[kWeightItems];
  Cursor ahead{first_item, 0}, behind{first_item, 0};               // what is fetched, then converted; what is finished
  if (!integrates) {
#pragma unroll
    for (int m = 0; m < kItems; ++m) {
      const int unit = tid + m * PT, row = unit % ROWS;
      at[m] = (static_cast<long long>(first_item + row / CB) * x.channels + first_channel + row % CB) * length +
              unit / ROWS * R;
    }
#pragma unroll
    for (int m = 0; m < kWeightItems; ++m) {
      const int unit = tid + m * PT;
      weight_at[m] = ((static_cast<long long>(first_item + unit / (2 * N) % NB) * x.groups + group) * x.states +
                      unit % N) * length + unit / (2 * N * NB) * RB;
    }
  }
  auto fetch = [&] {
#pragma unroll
    for (int m = 0; m < kItems; ++m) {
      const int unit = tid + m * PT, row = unit % ROWS;
      const bool inside = ahead.t0 + unit / ROWS * R < length && row % CB < count &&
                          ahead.item + row / CB < x.batch && (kUnits % PT == 0 || unit < kUnits);
      const long long from = at[m] + ahead.t0;
      raw_u[m].fetch(x.u + from, inside, x.u, x.u + all_codes);
      raw_dt[m].fetch(x.dt + from, inside, x.dt, x.dt + all_codes);
      raw_z[m].fetch(first_z + from, inside, first_z, first_z + all_codes);
    }
#pragma unroll
    for (int m = 0; m < kWeightItems; ++m) {
      const int unit = tid + m * PT;
      const bool inside = ahead.t0 + unit / (2 * N * NB) * RB < length && unit % N < x.states &&
                          ahead.item + unit / (2 * N) % NB < x.batch && (kWeightUnits % PT == 0 || unit < kWeightUnits);
      const signed char *first = unit / N % 2 ? x.C : x.B;
      raw_weight[m].clear();                                        // padding adds nothing
      raw_weight[m].fetch(first + weight_at[m] + ahead.t0, inside, first, first + all_weight_codes);
    }
  };
  auto advance = [&] {
    if (!ahead.next(TT, length, stride)) return;
#pragma unroll
    for (int m = 0; m < kItems; ++m) at[m] += static_cast<long long>(stride) * x.channels * length;
#pragma unroll
    for (int m = 0; m < kWeightItems; ++m)
      weight_at[m] += static_cast<long long>(stride) * x.groups * x.states * length;
  };
  const bool plain = tables.template begin<T + PT>(x, first_channel, count, [&] {
    if (!integrates) fetch();
  });
  tables.template build_steps<T + PT>(x, threadIdx.x, plain);
  __syncthreads();
  tables.template build_centres<T + PT>(threadIdx.x);

  if (!integrates) {
    // ------------------------------------------------------------------------------------------------------- prepare
    auto convert = [&](int parity) {
      float4 *steps = all_steps + parity * (TT / 2 * RP);
      const bool tail = ahead.t0 + TT > length;
#pragma unroll
      for (int m = 0; m < kItems; ++m) {
        const int unit = tid + m * PT, row = unit % ROWS, c = row % CB, g = unit / ROWS * R;
        if (kUnits % PT != 0 && unit >= kUnits) break;
        const long long from = at[m] + ahead.t0;                      // only its low bits count, see take
        const Run<R> u = raw_u[m].take(x.u + from), dt = raw_dt[m].take(x.dt + from), z = raw_z[m].take(first_z + from);
        kept[(parity * kItems + m) * PT + tid] = make_uint4(u.w[0], z.w[0], u.w[R / 4 - 1], z.w[R / 4 - 1]);
        float4 *to = steps + g / 2 * RP + row;
        const int left = tail ? length - ahead.t0 - g : R;
#pragma unroll
        for (int k = 0; k < R; k += 2) {
          float step[2], code_u[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            step[i] = tables.look_up(dt.w[(k + i) / 4] ^ 0x80808080u, Lookup::step_column(c), (k + i) & 3);
            code_u[i] = code(u.w[(k + i) / 4], (k + i) & 3, x.exponent);
          }
          if (tail)
#pragma unroll
            for (int i = 0; i < 2; ++i)
              if (k + i >= left) step[i] = code_u[i] = 0.0f;        // decay 1, drive 0: the state stays
          to[k / 2 * RP] = make_float4(step[0], __fmul_rn(step[0], code_u[0]), step[1], __fmul_rn(step[1], code_u[1]));
        }
      }
#pragma unroll
      for (int m = 0; m < kWeightItems; ++m) {
        const int unit = tid + m * PT, n = unit % N, is_C = unit / N % 2;
        if (kWeightUnits % PT != 0 && unit >= kWeightUnits) break;
        const Run<RB> r = raw_weight[m].take((is_C ? x.C : x.B) + weight_at[m] + ahead.t0);
        float *to = all_weights + ((parity * NB + unit / (2 * N) % NB) * TT + unit / (2 * N * NB) * RB) * 2 * N +
                    n / S * 2 * S + is_C * S + n % S;
#pragma unroll
        for (int k = 0; k < RB; ++k) to[k * 2 * N] = code(r.w[k / 4], k % 4, x.exponent);
      }
    };
    const unsigned gate_column = Lookup::gate_column();
    auto finish = [&](int parity) {
#pragma unroll 1
      for (int m = 0; m < kItems; ++m) {
        const int unit = tid + m * PT, row = unit % ROWS, c = row % CB, g = unit / ROWS * R;
        if (kUnits % PT != 0 && unit >= kUnits) break;
        const int item = behind.item + row / CB, left = length - behind.t0 - g;
        if (left <= 0 || c >= count || item >= x.batch) continue;
        const uint4 codes = kept[(parity * kItems + m) * PT + tid];
        unsigned short *y = static_cast<unsigned short *>(x.y) + first_channel + c +
                            (static_cast<long long>(item) * length + behind.t0 + g) * x.channels;
        const float skip_u = tables.skips()[c];
#pragma unroll
        for (int k = 0; k < R; k += 4) {
          float4 part[P];
          const float4 *from = all_parts + (parity * (TT / 4) + (g + k) / 4) * P * RP;
#pragma unroll
          for (int j = 0; j < P; ++j) part[j] = from[j * RP + (row ^ ((j & 1) << 2))];
          float sums[4];
          add_lanes(part, sums);
          const unsigned word_u = k ? codes.z : codes.x, word_z = k ? codes.w : codes.y;
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const float gate_z = tables.look_up(word_z ^ 0x80808080u, gate_column, i);
            const float bracket = __fmaf_rn(skip_u, code(word_u, i, x.exponent), sums[i]);
            const float result = __fmul_rn(bracket, gate_z);
            if (k + i < left) *y = to_half(result);
            y += x.channels;
            if constexpr (TAPS) {
              if (k + i < left) {
                const long long per_step = static_cast<long long>(x.batch) * x.channels * length;
                float *tap = x.taps + per_step + 3 * per_step * x.states + behind.t0 + g + k + i +
                             (static_cast<long long>(item) * x.channels + first_channel + c) * length;
                tap[0] = static_cast<float>(sums[i] * (s_B * s_C * s_u));
                tap[per_step] = static_cast<float>(bracket * (s_B * s_C * s_u));
                tap[2 * per_step] = result;
              }
            }
          }
        }
      }
    };
    convert(0);
    advance();
    if (total > 1) fetch();
    __syncthreads();
#pragma unroll 1
    for (int tile = 0; tile < total; ++tile) {
      if (tile == 0) {
        tables.template build_gates<PT>(x, tid);                    // no tile is finished yet: nobody waits for them
      } else {
        finish((tile - 1) & 1);
        behind.next(TT, length, stride);
      }
      if (tile + 1 < total) {
        convert((tile + 1) & 1);
        advance();
        if (tile + 2 < total) fetch();
      }
      __syncthreads();
    }
    finish((total - 1) & 1);
    return;
  }

  // --------------------------------------------------------------------------------------------------------- integrate
  const int lane = tid & 31, row = tid / 32 * Lanes<P>::W + Lanes<P>::row(lane), j = Lanes<P>::part(lane);
  const int c = row % CB, nb = row / CB, channel = first_channel + min(c, count - 1);
  const double unit = s_B * s_u;
  float rate[S], centre[S], h[S];
  Cursor at_tile{first_item, 0};
  auto real = [&](int i) { return c < count && j * S + i < x.states && at_tile.item + nb < x.batch; };
  auto state_at = [&](int i) {
    return (static_cast<long long>(at_tile.item + nb) * x.channels + channel) * x.states + j * S + i;
  };
  auto start = [&] {
#pragma unroll
    for (int i = 0; i < S; ++i)
      h[i] = x.initial && real(i) ? static_cast<float>(x.initial[state_at(i)] * (1.0 / unit)) : 0.0f;
  };
  start();
  __syncthreads();
#pragma unroll
  for (int i = 0; i < S; ++i) {
    rate[i] = tables.rates()[Lookup::at(c, j * S + i)];
    centre[i] = tables.centres()[Lookup::at(c, j * S + i)];
  }
#pragma unroll 1
  for (int tile = 0; tile < total; ++tile) {
    const float4 *steps = all_steps + (tile & 1) * (TT / 2 * RP) + row;
    const float *weights = all_weights + ((tile & 1) * NB + nb) * TT * 2 * N + j * 2 * S;
    float4 *parts = all_parts + (tile & 1) * (TT / 4 * P * RP) + j * RP + (row ^ ((j & 1) << 2));
#pragma unroll 1
    for (int chunk = 0; chunk < TT; chunk += CHUNK) {
      float part[CHUNK];                                            // stored last: it would hold back later loads
#pragma unroll
      for (int t = 0; t < CHUNK; ++t) {
        const float4 two = steps[t / 2 * RP];
        const float dt = t & 1 ? two.z : two.x, w = t & 1 ? two.w : two.y;
        float B[S], C[S];
        load_weights<S>(weights + t * 2 * N, B, C);
#pragma unroll
        for (int i = 0; i < S; ++i) {
          const float decay = ex2(__fmaf_rn(dt, rate[i], centre[i])), drive = __fmul_rn(w, B[i]);
          h[i] = __fmaf_rn(decay, h[i], drive);
          if constexpr (TAPS) {
            const int time = at_tile.t0 + chunk + t, n = j * S + i;
            if (time < length && real(i)) {
              const long long per_step = static_cast<long long>(x.batch) * x.channels * length;
              const long long at = (static_cast<long long>(at_tile.item + nb) * x.channels + channel) * length + time;
              if (n == 0) x.taps[at] = dt;
              float *tap = x.taps + per_step + at * x.states + n;
              tap[0] = decay;
              tap[per_step * x.states] = static_cast<float>(drive * unit);
              tap[2 * per_step * x.states] = static_cast<float>(h[i] * unit);
            }
          }
        }
        part[t] = contract<S>(h, C);
      }
#pragma unroll
      for (int t = 0; t < CHUNK; t += 4)
        parts[t / 4 * P * RP] = make_float4(part[t], part[t + 1], part[t + 2], part[t + 3]);
      steps += CHUNK / 2 * RP;
      weights += CHUNK * 2 * N;
      parts += CHUNK / 4 * P * RP;
    }
    if (at_tile.t0 + TT >= length) {                                // the item's last tile
      if (x.last_state)
#pragma unroll
        for (int i = 0; i < S; ++i)
          if (real(i)) store_state(x, state_at(i), h[i], unit);
      at_tile.next(TT, length, stride);
      if (tile + 1 < total) start();
    } else {
      at_tile.t0 += TT;
    }
    __syncthreads();
  }
}
