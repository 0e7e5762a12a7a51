// The `folded` scan on the GPU for many rows: a block as large as a multiprocessor holds, NB teams that share tables.
//
// A team has CB channels of NI items.  Its CB NI P integrating threads, P = N / S lanes a row (an item's channel), carry S
// states each.  Its PT helping threads work a tile of TT steps ahead and behind: codes of u, dt and z pass into shared
// memory by asynchronous copies, 32 steps at a time, those of B and C become floats there, and finished rows of y leave.
// One barrier of the team a tile; teams drift apart, which evens out what they ask of the multiprocessor.
// Steps are looked up by code: with few lanes a row by each of them, else, PAIRS, for all of them by a helping thread.
// Same formulas as folded.cu and the same order of sums, so the same bits.
#include "folded_lookup.h"

using namespace folded;

namespace {

// Lanes of a warp, so that a 16-byte shared load of B and C costs two cycles, not four: with two lanes a row neighbours
// belong to two rows and one part of their states; with more, a row's first two lanes are neighbours.
template <int P>
struct Lanes {
  static constexpr int W = 32 / P;                                  // rows a warp
  static constexpr bool kRowsNear = P < 8;
  static __device__ __forceinline__ int row(int lane) {
    return P == 1 ? lane : kRowsNear ? (lane & 1) | (lane >> (log2_of(P) + 1) << 1) : (lane >> 1) & (W - 1);
  }
  static __device__ __forceinline__ int part(int lane) {
    return P == 1 ? 0 : kRowsNear ? (lane >> 1) & (P - 1) : (lane & 1) | ((lane >> (log2_of(W) + 1)) << 1);
  }
  static __host__ __device__ constexpr int mask(int bit) {
    return kRowsNear ? 2 << bit : bit == 0 ? 1 : 1 << (log2_of(W) + bit);
  }
};

}  // namespace

template <int N, int S, int CB, int NI, int NB, int PT, bool ALIGNED, bool WHOLE>
__global__ void __launch_bounds__(NB *(CB *NI *(N / S) + PT), 1) folded_wide(const Arguments x) {
  constexpr int P = N / S, ROWS = CB * NI, T = ROWS * P, THREADS = NB * (T + PT);
  constexpr bool PAIRS = P >= 4;                                    // of dt and dt u, from helping threads
  constexpr int TT = !PAIRS && NB * NI > 4 ? 16 : 32, RUN = S == 2 ? TT : 16;  // steps of a tile, and in one piece
  constexpr int BLOCKS = PAIRS ? 3 : 2;                             // of 32 steps whose codes are kept
  constexpr int G = ALIGNED ? 2 : 3, COPIERS = ALIGNED ? 2 : 4;     // granules of 16 bytes a row; lanes that copy them
  constexpr int kCopyRows = PT / COPIERS, kCopies = (ROWS + kCopyRows - 1) / kCopyRows;
  constexpr int V = S < 4 ? S : 4, kSets = 2 * N / V;               // states that one thread makes floats of; of B, C
  constexpr int RB = kSets * NI * TT / 16 >= PT ? 16 : kSets * NI * TT / 8 >= PT ? 8 : 4;  // and steps
  constexpr int kRuns = kSets * NI * TT / RB, kRunItems = (kRuns + PT - 1) / PT;
  constexpr int OUT = P == 8 && ROWS % 16 == 0 ? ROWS + 8 : ROWS;   // halves a step of y: lanes store to other banks
  constexpr int PIECE = CB % 8 ? 4 : 8;                             // halves of y that leave together
  constexpr int kPieces = ROWS / PIECE, kOutSteps = PT / kPieces, kOuts = (TT + kOutSteps - 1) / kOutSteps;
  constexpr int kCodeBytes = 3 * ROWS * 16 * G, kWeights = 2 * NI * TT * 2 * N;
  using Lookup = Tables<CB, N, WHOLE>;
  static_assert(P <= 8 && S % 2 == 0 && CB % 4 == 0 && T % 32 == 0 && PT % 32 == 0, "layout");
  static_assert(kPieces <= PT && NB <= 15 && TT % RUN == 0, "threads");
  extern __shared__ __align__(16) unsigned char shared[];
  take_turn(x);
  const Lookup tables{Lookup::place(shared)};
  // Warps that integrate come first, all teams' in turn, so that each scheduler has as many of them.
  const int warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / 32, 0);
  const bool integrates = warp < NB * T / 32;
  const int team = integrates ? warp / (T / 32) : (warp - NB * T / 32) / (PT / 32);
  const int tid = integrates ? threadIdx.x - team * T : threadIdx.x - NB * T - team * PT;
  unsigned char *all_codes = tables.bytes + Lookup::kBytes;
  unsigned char *codes = all_codes + team * BLOCKS * kCodeBytes;                       // [BLOCKS][3][ROWS][16 G]
  float4 *all_steps = reinterpret_cast<float4 *>(all_codes + NB * BLOCKS * kCodeBytes);
  float4 *steps = all_steps + team * TT * ROWS;                                        // [2][TT / 2][ROWS] {dt, w} x 2
  unsigned char *behind_steps = reinterpret_cast<unsigned char *>(all_steps + (PAIRS ? NB * TT * ROWS : 0));
  float *all_weights = reinterpret_cast<float *>(WHOLE ? shared : behind_steps);
  float *weights = all_weights + team * kWeights;                                      // [2][NI][TT][P][B S, C S]
  unsigned short *all_rows = reinterpret_cast<unsigned short *>(all_weights + NB * kWeights);
  unsigned short *rows = all_rows + team * 2 * TT * OUT;                               // [2][TT][OUT]

  const int group = blockIdx.z, first_channel = group * x.group_channels + blockIdx.x * CB;
  const int count = min(CB, x.group_channels - static_cast<int>(blockIdx.x) * CB);
  const int length = x.length, tiles = (length + TT - 1) / TT;
  const int first_item = (blockIdx.y * NB + team) * NI, stride = gridDim.y * NB * NI;
  const int total = first_item < x.batch ? (x.batch - first_item + stride - 1) / stride * tiles : 0;
  const signed char *first_z = x.z ? x.z : x.u;                     // without z every gate is the same

  // What a helping thread copies and converts; `ahead` stands at the tile that it does so for.
  const long long codes_end = static_cast<long long>(x.batch) * x.channels * length;
  const long long weights_end = static_cast<long long>(x.batch) * x.groups * x.states * length;
  const int copy_row = tid / COPIERS, granule = tid % COPIERS * 16;
  Cursor copied{first_item, 0}, ahead{first_item, 0};
  Pending<RB, ALIGNED> raw_weight[kRunItems][V];
  auto row_of = [&](int item, int c) {
    return (static_cast<long long>(item) * x.channels + first_channel + c) * length;
  };
  auto weight_row = [&](int item, int n) {
    return ((static_cast<long long>(item) * x.groups + group) * x.states + n) * length;
  };
  auto copy_codes = [&](int block) {                                // of 32 steps
    if (granule < 16 * G && (!ALIGNED || copied.t0 + granule < length)) {
#pragma unroll
      for (int m = 0; m < kCopies; ++m) {
        const int row = copy_row + m * kCopyRows, c = row % CB, item = copied.item + row / CB;
        if ((ROWS % kCopyRows != 0 && row >= ROWS) || c >= count || item >= x.batch) continue;
        const long long from = row_of(item, c) + copied.t0 + granule;
        unsigned char *to = codes + block * kCodeBytes + row * 16 * G + granule;
        copy_granule<ALIGNED>(to, x.u + from, x.u + codes_end);
        copy_granule<ALIGNED>(to + ROWS * 16 * G, x.dt + from, x.dt + codes_end);
        copy_granule<ALIGNED>(to + 2 * ROWS * 16 * G, first_z + from, first_z + codes_end);
      }
    }
    asm volatile("cp.async.commit_group;" ::: "memory");
    copied.next(32, length, stride);
  };
  auto codes_arrived = [] { asm volatile("cp.async.wait_group 0;" ::: "memory"); };  // this thread's; a barrier follows
  // A row's codes from step t of a block on, as they stand in memory, of which `from` is the block's first in the tensor.
  auto codes_of = [&](auto &r, int block, int kind, int row, int t, const signed char *from) {
    const unsigned char *granules = codes + block * kCodeBytes + (kind * ROWS + row) * 16 * G + t;
    if constexpr (ALIGNED) read_codes(r, granules);
    else read_shifted(r, granules, static_cast<unsigned>(reinterpret_cast<unsigned long long>(from)) & 15);
  };
  // A run: RB codes each of V states of B or C.
  auto run_of = [&](int m) { return tid + m * PT; };
  auto run_state = [&](int run) { return run % kSets / 2 * V; };
  auto run_item = [&](int run) { return run / kSets % NI; };
  auto run_time = [&](int run) { return run / (kSets * NI) * RB; };
  auto fetch = [&] {
#pragma unroll
    for (int m = 0; m < kRunItems; ++m) {
      const int run = run_of(m), item = ahead.item + run_item(run), t = ahead.t0 + run_time(run);
      const signed char *first = run % 2 ? x.C : x.B;
      const bool inside = t < length && item < x.batch && (kRuns % PT == 0 || run < kRuns);
#pragma unroll
      for (int i = 0; i < V; ++i) {
        const int n = run_state(run) + i;
        raw_weight[m][i].clear();                                   // padding adds nothing
        raw_weight[m][i].fetch(first + weight_row(item, n) + t, inside && n < x.states, first, first + weights_end);
      }
    }
  };
  const bool plain = tables.template begin<THREADS>(x, first_channel, count, [&] {
    if (integrates || !total) return;
    fetch();
    copy_codes(0);
    if (PAIRS && total > 1) copy_codes(1);
  });
  tables.template build_gates<THREADS>(x, threadIdx.x);
  tables.template build_steps<THREADS>(x, threadIdx.x, plain);
  codes_arrived();
  __syncthreads();
  tables.template build_centres<THREADS>(threadIdx.x);
  __syncthreads();
  if (!total) return;

  if (!integrates) {
    auto convert = [&](int parity) {
#pragma unroll
      for (int m = 0; m < kRunItems; ++m) {
        const int run = run_of(m), is_C = run % 2, n = run_state(run), item = run_item(run), t = run_time(run);
        if (kRuns % PT != 0 && run >= kRuns) break;
        Run<RB> r[V];
#pragma unroll
        for (int i = 0; i < V; ++i)
          r[i] = raw_weight[m][i].take((is_C ? x.C : x.B) + weight_row(ahead.item + item, n + i) + ahead.t0 + t);
        float *to = weights + ((parity * NI + item) * TT + t) * 2 * N + n / S * 2 * S + is_C * S + n % S;
#pragma unroll
        for (int k = 0; k < RB; ++k, to += 2 * N) store_codes<V>(to, r, k, x.exponent);
      }
    };
    Cursor behind{first_item, 0};
    const bool wide = count == CB && (x.channels | first_channel) % PIECE == 0;
    const int out_step = tid / kPieces, out_row = tid % kPieces * PIECE, out_channel = out_row % CB;
    auto leave = [&](int parity) {                                  // whole pieces where y allows it
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
          if (out_step + m * kOutSteps < min(TT, left)) move_granule<2 * PIECE>(to, from + m * kOutSteps * OUT);
      } else {
#pragma unroll 1
        for (int m = 0; m < kOuts; ++m, to += step)
#pragma unroll
          for (int k = 0; k < PIECE; ++k)
            if (out_step + m * kOutSteps < min(TT, left) && out_channel + k < count)
              to[k] = from[m * kOutSteps * OUT + k];
      }
    };
    auto prepare = [&](int parity, int block) {                     // of the tile at which `ahead` stands
      constexpr int kUnits = ROWS * TT / 16, kEach = (kUnits + PT - 1) / PT;
#pragma unroll
      for (int m = 0; m < kEach; ++m) {
        const int unit = tid + m * PT, row = unit % ROWS, g = unit / ROWS * 16;
        if (kUnits % PT != 0 && unit >= kUnits) break;
        const long long from = row_of(ahead.item + row / CB, min(row % CB, count - 1)) + ahead.t0;
        const unsigned column = Lookup::step_column(row % CB);
        const int left = length - ahead.t0 - g;
        Run<16> u, dt;
        codes_of(u, block, 0, row, g, x.u + from);
        codes_of(dt, block, 1, row, g, x.dt + from);
        float4 *to = steps + (parity * (TT / 2) + g / 2) * ROWS + row;
#pragma unroll
        for (int k = 0; k < 16; k += 2, to += ROWS) {
          float step[2], w[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            step[i] = k + i < left ? tables.look_up(dt.w[k / 4], column, (k + i) % 4) : 0.0f;  // the state stays
            w[i] = __fmul_rn(step[i], code(u.w[k / 4] ^ 0x80808080u, (k + i) % 4, x.exponent));
          }
          *to = make_float4(step[0], w[0], step[1], w[1]);
        }
      }
    };
    int block = 0;
    convert(0);
    if constexpr (PAIRS) prepare(0, 0);
    ahead.next(TT, length, stride);
    barrier<T + PT>(team + 1);
    if (total > 1) fetch();
#pragma unroll 1
    for (int tile = 0; tile < total; ++tile) {
      const bool more = tile + 1 < total;
      if (PAIRS ? tile + 2 < total : more && ahead.t0 % 32 == 0) {
        const int next = block + 1 == BLOCKS ? 0 : block + 1;
        copy_codes(PAIRS ? (next + 1 == BLOCKS ? 0 : next + 1) : next);
        if constexpr (!PAIRS) block = next;
      }
      if (tile) {
        leave((tile - 1) & 1);
        behind.next(TT, length, stride);
      }
      if (more) {
        convert((tile + 1) & 1);
        if constexpr (PAIRS) {
          block = block + 1 == BLOCKS ? 0 : block + 1;
          prepare((tile + 1) & 1, block);
        }
        ahead.next(TT, length, stride);
        if (tile + 2 < total) fetch();
        codes_arrived();
      }
      barrier<T + PT>(team + 1);
    }
    leave((total - 1) & 1);
    return;
  }

  const int lane = tid & 31, row = tid / 32 * Lanes<P>::W + Lanes<P>::row(lane), j = Lanes<P>::part(lane);
  const int c = row % CB, nb = row / CB, channel = first_channel + min(c, count - 1);
  const double unit = static_cast<double>(*x.s_B) * *x.s_u;
  // In which order the compiler meets the same operations decides which of them share a bank of the register file.
  // Measured: a layout is up to 5 % faster with the one than with the other.
  constexpr bool kDecaysFirst = P != 2 || NI > 1 || !ALIGNED;
  constexpr int W = kDecaysFirst ? S : 4;                           // states at a time
  float rate[S], centre[S], h[S];
#pragma unroll
  for (int i = 0; i < S; ++i) rate[i] = tables.rates()[Lookup::at(c, j * S + i)];
#pragma unroll
  for (int i = 0; i < S; ++i) centre[i] = tables.centres()[Lookup::at(c, j * S + i)];
  const float skip_u = tables.skips()[c];
  const unsigned step_column = Lookup::step_column(c), gate_column = Lookup::gate_column();
  Cursor now{first_item, 0};
  auto real = [&](int i) { return c < count && j * S + i < x.states && now.item + nb < x.batch; };
  auto state_at = [&](int i) {
    return (static_cast<long long>(now.item + nb) * x.channels + channel) * x.states + j * S + i;
  };
  auto start = [&] {
#pragma unroll
    for (int i = 0; i < S; ++i)
      h[i] = x.initial && real(i) ? static_cast<float>(x.initial[state_at(i)] * (1.0 / unit)) : 0.0f;
  };
  start();
  int block = 0;
  barrier<T + PT>(team + 1);
#pragma unroll 1
  for (int tile = 0; tile < total; ++tile) {
    const int parity = tile & 1;
    const float *weight = weights + (parity * NI + nb) * TT * 2 * N + j * 2 * S;
    unsigned short *out = rows + parity * TT * OUT + row + j * OUT;
    if (tile && now.t0 % 32 == 0) block = block + 1 == BLOCKS ? 0 : block + 1;
    const float4 *twos = steps + parity * (TT / 2) * ROWS + row;
#pragma unroll 1
    for (int t0 = 0; t0 < TT; t0 += RUN, weight += RUN * 2 * N, out += RUN * OUT, twos += RUN / 2 * ROWS) {
      const int left = length - now.t0 - t0;
      if (left <= 0) break;
      const long long from = row_of(now.item + nb, min(c, count - 1)) + now.t0 / 32 * 32;
      Run<RUN> ru, rdt, rz;
      codes_of(ru, block, 0, row, now.t0 % 32 + t0, x.u + from);
      if constexpr (!PAIRS) codes_of(rdt, block, 1, row, now.t0 % 32 + t0, x.dt + from);
      codes_of(rz, block, 2, row, now.t0 % 32 + t0, first_z + from);
#pragma unroll
      for (int k = 0; k < RUN / 4; ++k) ru.w[k] ^= 0x80808080u;
      auto run_steps = [&](auto partial) {
        float part[P], u[P];
        unsigned short results[RUN / P];
#pragma unroll
        for (int t = 0; t < RUN; ++t) {
          float dt, w;
          if constexpr (PAIRS) {
            const float4 two = twos[t / 2 * ROWS];
            dt = t & 1 ? two.z : two.x;
            w = t & 1 ? two.w : two.y;
          } else {
            dt = tables.look_up(rdt.w[t / 4], step_column, t % 4);
            if constexpr (decltype(partial)::value) { if (t >= left) dt = 0.0f; }  // the state stays
            u[t % P] = code(ru.w[t / 4], t % 4, x.exponent);
            w = __fmul_rn(dt, u[t % P]);
          }
          float pair[S / 2];
#pragma unroll
          for (int g = 0; g < S; g += W) {
            float B[W], C[W], decay[W];
            load_weights<S>(weight + t * 2 * N + g, B, C);
            if constexpr (kDecaysFirst) {
#pragma unroll
              for (int i = 0; i < W; ++i) decay[i] = ex2(__fmaf_rn(dt, rate[g + i], centre[g + i]));
#pragma unroll
              for (int i = W - 1; i >= 0; --i) h[g + i] = __fmaf_rn(decay[i], h[g + i], __fmul_rn(w, B[i]));
            } else {
#pragma unroll
              for (int i = 0; i < W; ++i)
                h[g + i] = __fmaf_rn(ex2(__fmaf_rn(dt, rate[g + i], centre[g + i])), h[g + i], __fmul_rn(w, B[i]));
            }
#pragma unroll
            for (int i = 0; i < W; i += 2) pair[(g + i) / 2] = sum_pair(h[g + i], C[i], h[g + i + 1], C[i + 1]);
          }
          part[t % P] = sum_pairs(pair);
          if (t % P == P - 1) {                                     // lane j finishes step t - (P - 1) + j
#pragma unroll
            for (int bit = 0; (1 << bit) < P; ++bit) {
              const bool odd = (j >> bit) & 1;
#pragma unroll
              for (int i = 0; i < P >> (bit + 1); ++i) {
                const float keep = either(odd, part[2 * i + 1], part[2 * i]);
                const float send = either(odd, part[2 * i], part[2 * i + 1]);
                part[i] = __fadd_rn(keep, __shfl_xor_sync(0xFFFFFFFFu, send, Lanes<P>::mask(bit)));
              }
            }
            const bool before = P == 8 && j < 4;                    // whose word is the one before
            const unsigned byte = P == 8 ? j & 3 : (t % 4 - (P - 1)) + j;
            const unsigned wu = before ? ru.w[t / 4 - (P == 8)] : ru.w[t / 4];
            const unsigned wz = before ? rz.w[t / 4 - (P == 8)] : rz.w[t / 4];
            const float own = P == 1 ? u[0] : P == 2 ? (j ? u[P - 1] : u[0]) : code(wu, byte, x.exponent);
            results[t / P] =
                to_half(__fmul_rn(__fmaf_rn(skip_u, own, part[0]), tables.look_up(wz, gate_column, byte)));
          }
        }
#pragma unroll
        for (int k = 0; k < RUN / P; ++k) out[k * P * OUT] = results[k];  // last: it holds back later loads
      };
      if (PAIRS || left >= RUN) run_steps(Number<false>{});
      else run_steps(Number<true>{});
    }
    if (now.t0 + TT >= length) {                                    // the item's last tile
      if (x.last_state)
#pragma unroll
        for (int i = 0; i < S; ++i)
          if (real(i)) store_state(x, state_at(i), h[i], unit);
      now.next(TT, length, stride);
      if (tile + 1 < total) start();
    } else {
      now.t0 += TT;
    }
    barrier<T + PT>(team + 1);
  }
}
