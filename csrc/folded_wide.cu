// The `folded` scan on the GPU for many rows: a block as large as a multiprocessor holds, NB teams that share tables.
//
// A team has CB channels of NI items.  Its CB NI P integrating threads, P = N / S lanes a row (an item's channel), look
// their steps up by code and carry S states each.  Its PT helping threads work a tile of 32 steps ahead and behind:
// codes of u, dt and z pass into shared memory by asynchronous copies, those of B and C become floats there, and
// finished rows of y leave.  One barrier of the team a tile; teams drift apart, which evens out what they ask of the
// multiprocessor.
// Same formulas as folded.cu and the same order of sums, so the same bits.
#include "folded_device.h"

using namespace folded;

namespace {

struct No { static constexpr bool value = false; };
struct Yes { static constexpr bool value = true; };

// A row's first two lanes are neighbours, the rest of them far apart, so that each quarter of a warp reads two
// addresses of B and C and a 16-byte shared load costs two cycles, not four.
template <int P>
struct Lanes {
  static constexpr int W = 32 / P;                                  // rows a warp
  static __device__ __forceinline__ int row(int lane) { return P == 1 ? lane : (lane >> 1) & (W - 1); }
  static __device__ __forceinline__ int part(int lane) {
    return P == 1 ? 0 : (lane & 1) | ((lane >> (log2_of(W) + 1)) << 1);
  }
  static __host__ __device__ constexpr int mask(int bit) { return bit == 0 ? 1 : 1 << (log2_of(W) + bit); }
};

__device__ __forceinline__ void copy_async(void *to, const void *from) {  // 16 bytes
  const unsigned at = static_cast<unsigned>(__cvta_generic_to_shared(to));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}

}  // namespace

template <int N, int S, int CB, int NI, int NB, int PT, bool ALIGNED>
__global__ void __launch_bounds__(NB *(CB *NI *(N / S) + PT), 1) folded_wide(const Arguments x) {
  constexpr int P = N / S, ROWS = CB * NI, T = ROWS * P, TT = 32, RUN = S == 2 ? 32 : 16, THREADS = NB * (T + PT);
  constexpr int G = ALIGNED ? 2 : 3, COPIERS = ALIGNED ? 2 : 4;     // granules of 16 bytes a row; lanes that copy them
  constexpr int kCopyRows = PT / COPIERS, kCopies = (ROWS + kCopyRows - 1) / kCopyRows;
  constexpr int RB = 2 * N * NI * TT / 16 >= PT ? 16 : 8, kRuns = 2 * N * NI * TT / RB, kRunItems = kRuns / PT;
  constexpr int OUT = P == 8 && ROWS % 16 == 0 ? ROWS + 8 : ROWS;   // halves a step of y: lanes store to other banks
  constexpr int kPieces = ROWS / 8, kOutSteps = PT / kPieces, kOuts = (TT + kOutSteps - 1) / kOutSteps;
  constexpr int kCodeBytes = 3 * ROWS * 16 * G;
  static_assert(P <= 8 && S % 2 == 0 && CB % 8 == 0 && CB <= Tables::kColumns, "layout");
  static_assert(T % 32 == 0 && PT % 32 == 0 && kRuns % PT == 0 && kPieces <= PT && NB <= 15, "threads");
  extern __shared__ __align__(16) unsigned char shared[];
  const Tables tables{shared};
  // Warps that integrate come first, all teams' in turn, so that each scheduler has as many of them.
  const int warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / 32, 0);
  const bool integrates = warp < NB * T / 32;
  const int team = integrates ? warp / (T / 32) : (warp - NB * T / 32) / (PT / 32);
  const int tid = integrates ? threadIdx.x - team * T : threadIdx.x - NB * T - team * PT;
  unsigned char *codes = shared + Tables::kBytes + team * 2 * kCodeBytes;              // [2][3][ROWS][16 G]
  constexpr int kWeights = 2 * NI * TT * 2 * N;
  float *all_weights = reinterpret_cast<float *>(shared + Tables::kBytes + NB * 2 * kCodeBytes);
  float *weights = all_weights + team * kWeights;                                      // [2][NI][TT][P][B S, C S]
  unsigned short *all_rows = reinterpret_cast<unsigned short *>(all_weights + NB * kWeights);
  unsigned short *rows = all_rows + team * 2 * TT * OUT;                               // [2][TT][OUT]

  const int per_group = x.channels / x.groups, blocks_of_group = (per_group + CB - 1) / CB;
  const int group = blockIdx.x / blocks_of_group, in_group = blockIdx.x % blocks_of_group * CB;
  const int first_channel = group * per_group + in_group;
  const int count = min(CB, per_group - in_group);
  const int length = x.length, tiles = (length + TT - 1) / TT;
  const int first_item = (blockIdx.y * NB + team) * NI, stride = gridDim.y * NB * NI;
  const int total = first_item < x.batch ? (x.batch - first_item + stride - 1) / stride * tiles : 0;
  const signed char *first_z = x.z ? x.z : x.u;                     // without z every gate is the same

  // What a helping thread copies and converts; `ahead` stands at the tile that it does so for.
  const long long codes_end = static_cast<long long>(x.batch) * x.channels * length;
  const long long weights_end = static_cast<long long>(x.batch) * x.groups * x.states * length;
  const int copy_row = tid / COPIERS, granule = tid % COPIERS * 16;
  Cursor ahead{first_item, 0};
  Pending<RB, ALIGNED> raw_weight[kRunItems];
  auto row_of = [&](int item, int c) {
    return (static_cast<long long>(item) * x.channels + first_channel + c) * length;
  };
  auto weight_row = [&](int item, int n) {
    return ((static_cast<long long>(item) * x.groups + group) * x.states + n) * length;
  };
  auto copy_codes = [&](int parity) {
    if (granule >= 16 * G || (ALIGNED && ahead.t0 + granule >= length)) return;
#pragma unroll
    for (int m = 0; m < kCopies; ++m) {
      const int row = copy_row + m * kCopyRows, c = row % CB, item = ahead.item + row / CB;
      if ((ROWS % kCopyRows != 0 && row >= ROWS) || c >= count || item >= x.batch) continue;
      const long long from = row_of(item, c) + ahead.t0 + granule;
      unsigned char *to = codes + parity * kCodeBytes + row * 16 * G + granule;
      auto copy = [&](int kind, const signed char *tensor) {
        const signed char *at = tensor + from;
        if constexpr (!ALIGNED) at -= static_cast<unsigned>(reinterpret_cast<unsigned long long>(at)) & 15;
        const long long left = ALIGNED ? 16 : tensor + codes_end - at;
        unsigned char *const place = to + kind * ROWS * 16 * G;
        if (left >= 16) {
          copy_async(place, at);
        } else {
#pragma unroll 1
          for (int k = 0; k < left; ++k) place[k] = at[k];           // the last codes of the tensor
        }
      };
      copy(0, x.u);
      copy(1, x.dt);
      copy(2, first_z);
    }
  };
  auto fetch = [&] {
#pragma unroll
    for (int m = 0; m < kRunItems; ++m) {
      const int run = tid + m * PT, n = run % N, item = ahead.item + run / (2 * N) % NI, t = run / (2 * N * NI) * RB;
      const signed char *first = run / N % 2 ? x.C : x.B;
      raw_weight[m].clear();                                        // padding adds nothing
      raw_weight[m].fetch(first + weight_row(item, n) + ahead.t0 + t,
                          ahead.t0 + t < length && n < x.states && item < x.batch, first, first + weights_end);
    }
  };
  if (!integrates && total) {
    fetch();
    copy_codes(0);
  }
  tables.build_gates<THREADS>(x, threadIdx.x);
  tables.build_steps<CB, THREADS>(x, tables.begin<THREADS>(x, CB, first_channel, count));
  if (!total) return;

  if (!integrates) {
    auto convert = [&](int parity) {
#pragma unroll
      for (int m = 0; m < kRunItems; ++m) {
        const int run = tid + m * PT, n = run % N, is_C = run / N % 2;
        const int i = run / (2 * N) % NI, t = run / (2 * N * NI) * RB;
        const Run<RB> r = raw_weight[m].take((is_C ? x.C : x.B) + weight_row(ahead.item + i, n) + ahead.t0 + t);
        float *to = weights + ((parity * NI + i) * TT + t) * 2 * N + n / S * 2 * S + is_C * S + n % S;
#pragma unroll
        for (int k = 0; k < RB; ++k) to[k * 2 * N] = code(r.w[k / 4], k % 4);
      }
    };
    Cursor behind{first_item, 0};
    const bool wide = count == CB && (x.channels | first_channel) % 8 == 0;
    const int out_step = tid / kPieces, out_row = tid % kPieces * 8, out_channel = out_row % CB;
    auto leave = [&](int parity) {                                  // 16 bytes a thread where y allows it
      const int item = behind.item + out_row / CB;
      if (out_step >= kOutSteps || item >= x.batch) return;
      const int left = length - behind.t0;
      const unsigned short *from = rows + (parity * TT + out_step) * OUT + out_row;
      unsigned short *to = static_cast<unsigned short *>(x.y) + first_channel + out_channel +
                           (static_cast<long long>(item) * length + behind.t0 + out_step) * x.channels;
      const long long step = static_cast<long long>(kOutSteps) * x.channels;
      if (wide) {
#pragma unroll
        for (int m = 0; m < kOuts; ++m, to += step)
          if (out_step + m * kOutSteps < min(TT, left))
            *reinterpret_cast<uint4 *>(to) = *reinterpret_cast<const uint4 *>(from + m * kOutSteps * OUT);
      } else {
#pragma unroll 1
        for (int m = 0; m < kOuts; ++m, to += step)
#pragma unroll
          for (int k = 0; k < 8; ++k)
            if (out_step + m * kOutSteps < min(TT, left) && out_channel + k < count)
              to[k] = from[m * kOutSteps * OUT + k];
      }
    };
    convert(0);
    ahead.next(TT, length, stride);
    if (total > 1) fetch();
    asm volatile("cp.async.wait_all;" ::: "memory");
    barrier<T + PT>(team + 1);
#pragma unroll 1
    for (int tile = 0; tile < total; ++tile) {
      const bool more = tile + 1 < total;
      if (more) copy_codes((tile + 1) & 1);
      if (tile) {
        leave((tile - 1) & 1);
        behind.next(TT, length, stride);
      }
      if (more) {
        convert((tile + 1) & 1);
        ahead.next(TT, length, stride);
        if (tile + 2 < total) fetch();
        asm volatile("cp.async.wait_all;" ::: "memory");
      }
      barrier<T + PT>(team + 1);
    }
    leave((total - 1) & 1);
    return;
  }

  const int lane = tid & 31, row = tid / 32 * Lanes<P>::W + Lanes<P>::row(lane), j = Lanes<P>::part(lane);
  const int c = row % CB, nb = row / CB;
  const int channel = first_channel + min(c, count - 1);
  const double s_u = *x.s_u, s_B = *x.s_B, s_C = *x.s_C;
  float rate[S], centre[S], h[S];
#pragma unroll
  for (int i = 0; i < S; ++i) {
    rate[i] = load_rate(x, channel, j * S + i);
    centre[i] = tables.centre(c, rate[i]);
  }
  const float skip_u = load_skip(x, channel, s_B, s_C);
  const unsigned step_column = Tables::step_column(c), gate_column = Tables::gate_column();
  Cursor now{first_item, 0};
  auto state_at = [&](int i) {
    return (static_cast<long long>(now.item + nb) * x.channels + channel) * x.states + j * S + i;
  };
  auto start = [&] {
#pragma unroll
    for (int i = 0; i < S; ++i) {
      const bool real = j * S + i < x.states && now.item + nb < x.batch;
      h[i] = real ? load_state(x, state_at(i), 1.0 / (s_B * s_u)) : 0.0f;
    }
  };
  // The codes of this row from step t of the tile on, as they stand in memory, from the granules that were copied.
  auto codes_of = [&](int kind, const signed char *tensor, int parity, int t) {
    const unsigned char *granules = codes + parity * kCodeBytes + (kind * ROWS + row) * 16 * G + t;
    Run<RUN> r;
    if constexpr (ALIGNED) {
#pragma unroll
      for (int k = 0; k < RUN / 16; ++k) {
        const uint4 v = reinterpret_cast<const uint4 *>(granules)[k];
        r.w[4 * k] = v.x; r.w[4 * k + 1] = v.y; r.w[4 * k + 2] = v.z; r.w[4 * k + 3] = v.w;
      }
    } else {
      const long long from = row_of(now.item + nb, min(c, count - 1)) + now.t0;
      const unsigned shift = static_cast<unsigned>(reinterpret_cast<unsigned long long>(tensor) + from) & 15;
      const unsigned *words = reinterpret_cast<const unsigned *>(granules + (shift & 12));
      unsigned w[RUN / 4 + 1];
#pragma unroll
      for (int k = 0; k <= RUN / 4; ++k) w[k] = words[k];
#pragma unroll
      for (int k = 0; k < RUN / 4; ++k) r.w[k] = __funnelshift_r(w[k], w[k + 1], 8 * (shift & 3));
    }
    return r;
  };
  start();
  barrier<T + PT>(team + 1);
#pragma unroll 1
  for (int tile = 0; tile < total; ++tile) {
    const int parity = tile & 1;
    const float *weight = weights + (parity * NI + nb) * TT * 2 * N + j * 2 * S;
    unsigned short *out = rows + parity * TT * OUT + row + j * OUT;
#pragma unroll 1
    for (int t0 = 0; t0 < TT; t0 += RUN, weight += RUN * 2 * N, out += RUN * OUT) {
      const int left = length - now.t0 - t0;
      if (left <= 0) break;
      Run<RUN> ru = codes_of(0, x.u, parity, t0);
      const Run<RUN> rdt = codes_of(1, x.dt, parity, t0), rz = codes_of(2, first_z, parity, t0);
#pragma unroll
      for (int k = 0; k < RUN / 4; ++k) ru.w[k] ^= 0x80808080u;
      auto run_steps = [&](auto partial) {
        float part[P], u[P], results[RUN / P];
#pragma unroll
        for (int t = 0; t < RUN; ++t) {
          float dt = tables.look_up(rdt.w[t / 4], step_column, t % 4);
          if constexpr (decltype(partial)::value) { if (t >= left) dt = 0.0f; }  // the state stays
          u[t % P] = code(ru.w[t / 4], t % 4);
          const float w = __fmul_rn(dt, u[t % P]);
          float B[S], C[S];
          load_weights<S>(weight + t * 2 * N, B, C);
#pragma unroll
          for (int i = 0; i < S; ++i)
            h[i] = __fmaf_rn(ex2(__fmaf_rn(dt, rate[i], centre[i])), h[i], __fmul_rn(w, B[i]));
          part[t % P] = contract<S>(h, C);
          if (t % P == P - 1) {                                     // lane j finishes step t - (P - 1) + j
#pragma unroll
            for (int bit = 0; (1 << bit) < P; ++bit) {
              const bool odd = (j >> bit) & 1;
#pragma unroll
              for (int i = 0; i < P >> (bit + 1); ++i) {
                const float keep = odd ? part[2 * i + 1] : part[2 * i], send = odd ? part[2 * i] : part[2 * i + 1];
                part[i] = __fadd_rn(keep, __shfl_xor_sync(0xFFFFFFFFu, send, Lanes<P>::mask(bit)));
              }
            }
            const bool before = P == 8 && j < 4;                    // whose word is the one before
            const unsigned byte = P == 8 ? j & 3 : (t % 4 - (P - 1)) + j;
            const unsigned wu = before ? ru.w[t / 4 - (P == 8)] : ru.w[t / 4];
            const unsigned wz = before ? rz.w[t / 4 - (P == 8)] : rz.w[t / 4];
            const float own = P == 1 ? u[0] : P == 2 ? (j ? u[P - 1] : u[0]) : code(wu, byte);
            results[t / P] = __fmul_rn(__fmaf_rn(skip_u, own, part[0]), tables.look_up(wz, gate_column, byte));
          }
        }
#pragma unroll
        for (int k = 0; k < RUN / P; ++k) out[k * P * OUT] = to_half(results[k]);  // last: it holds back later loads
      };
      if (left >= RUN) run_steps(No{});
      else run_steps(Yes{});
    }
    if (now.t0 + TT >= length) {                                    // the item's last tile
      if (x.last_state && c < count && now.item + nb < x.batch) {
#pragma unroll
        for (int i = 0; i < S; ++i)
          if (j * S + i < x.states) store_state(x, state_at(i), h[i], s_B * s_u);
      }
      now.next(TT, length, stride);
      if (tile + 1 < total) start();
    } else {
      now.t0 += TT;
    }
    barrier<T + PT>(team + 1);
  }
}
