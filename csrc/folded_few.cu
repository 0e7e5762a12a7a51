// The `folded` scan on the GPU for few rows and n up to 16: CB channels of an item a block, three kinds of threads.
//
// PP threads prepare: codes become (dt, dt u) per row, an item's channel, and B and C become floats.  T = 8 CB
// integrate: eight lanes share a row and hold two of its states each.  PF finish: the lanes' sums become y.  They work
// on tiles of 64 steps, apart from one another by two at most, and tell each other by signals.
// A table of all 256 steps of a channel pays off for more than kShort tiles; for fewer, steps are computed one by one.
// Same formulas as folded.cu and the same order of sums, so the same bits.
#include "folded_lookup.h"

using namespace folded;

namespace {

__device__ __forceinline__ float4 load_shared(unsigned at) {
  float4 v;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(at));
  return v;
}
__device__ __forceinline__ void store_shared(unsigned at, const float (&v)[4]) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(at), "f"(v[0]), "f"(v[1]), "f"(v[2]), "f"(v[3]));
}
__device__ __forceinline__ float ex2_now(float x) {
  float y;
  asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ void swap(unsigned &a, unsigned &b) {
  const unsigned c = a;
  a = b;
  b = c;
}

enum Named { kCopied = 1, kGates };                                 // barriers of one kind of threads
enum Signals { kPrepared = 0, kIntegrated = 2, kFinished = 4, kSignals = 6 };  // two a kind: tiles in turn

}  // namespace

template <int CB, int PP, bool ALIGNED>
__global__ void __launch_bounds__(16 * CB + PP, 1) folded_few(const Arguments x) {
  constexpr int N = 16, S = 2, P = N / S, TT = 64, T = CB * P, PF = CB * P, THREADS = T + PP + PF;
  constexpr int G = TT / 16 + (ALIGNED ? 0 : 1), PITCH = 16 * (G | 1);  // granules of 16 bytes a row of codes; bytes
  constexpr int kRows = 3 * CB + 2 * N, kCopies = (kRows * G + PP - 1) / PP;  // rows: u, z, dt of each channel, B, C
  constexpr int kUnits = CB * TT / 4, kSteps = (kUnits + PP - 1) / PP;  // four steps of a row
  constexpr int kRuns = N * TT / 8, kRunItems = (kRuns + PP - 1) / PP;  // eight steps of two states of B or C
  constexpr int kShort = 8;                                         // tiles for which no table is made
  constexpr int RS = CB == 8 ? 8 : CB + 2, RP = 16;                 // rows of `steps` and `parts`, for the banks' sake
  using Lookup = Tables<CB, N, false>;
  static_assert(CB % 4 == 0 && CB <= 12 && PP % 32 == 0 && PP >= 128, "layout");
  extern __shared__ __align__(16) unsigned char shared[];
  take_turn(x);
  const Lookup tables{shared};
  float4 *all_steps = reinterpret_cast<float4 *>(shared + Lookup::kBytes);             // [2][TT / 2][RS] {dt, w} x 2
  float4 *all_parts = all_steps + TT * RS;                                             // [2][TT / 4][P][RP] four steps
  float *all_weights = reinterpret_cast<float *>(all_parts + 2 * (TT / 4) * P * RP);   // [2][TT][P][B S, C S]
  unsigned char *late_codes = reinterpret_cast<unsigned char *>(all_weights + 2 * TT * 2 * N);  // [8][u, z][CB][PITCH]
  unsigned char *early_codes = late_codes + 8 * 2 * CB * PITCH;                        // [4][dt CB, B N, C N][PITCH]
  const unsigned signal = shared_address(early_codes + 4 * (CB + 2 * N) * PITCH);
  auto at_signal = [&](int kind, int tile) { return signal + 8 * (kind + (tile & 1)); };

  // Warps that integrate have a scheduler each, with one that finishes and one that prepares; of the others, which all
  // prepare, a fourth scheduler has the most.
  constexpr int kFirst = 1, kFinish = 5, kWarps = CB / 4;           // of those that integrate; of those that finish
  const int warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / 32, 0);
  const bool integrates = warp >= kFirst && warp < kFirst + kWarps, finishes = warp >= kFinish && warp < kFinish + kWarps;
  const int place = integrates ? warp - kFirst : finishes ? warp - kFinish
                    : warp - min(max(warp - kFirst, 0), kWarps) - min(max(warp - kFinish, 0), kWarps);
  const int lane = threadIdx.x % 32, tid = place * 32 + lane;
  const int group = blockIdx.z, first_channel = group * x.group_channels + blockIdx.x * CB;
  const int count = min(CB, x.group_channels - static_cast<int>(blockIdx.x) * CB);
  const int length = x.length, tiles = (length + TT - 1) / TT;
  const long long item = blockIdx.y;
  const signed char *first_z = x.z ? x.z : x.u;                     // without z every gate is the same

  // Whole rows of a tile's codes are copied as granules, each by the same thread every time.
  const signed char *from[kCopies], *end[kCopies];
  unsigned char *to[kCopies];
  int step_to[kCopies], first_step[kCopies], copied = 0;
  auto copy_codes = [&] {                                           // of the next tile, nothing after the last
#pragma unroll
    for (int m = 0; m < kCopies; ++m)
      if (copied < tiles && copied * TT + first_step[m] < length + (ALIGNED ? 0 : 15)) {
        const int slot = step_to[m] == 2 * CB * PITCH ? copied & 7 : copied & 3;
        copy_granule<ALIGNED>(to[m] + slot * step_to[m], from[m] + copied * TT, end[m]);
      }
    asm volatile("cp.async.commit_group;" ::: "memory");
    ++copied;
  };
  if (threadIdx.x == 32 * kFirst)
#pragma unroll
    for (int k = 0; k < kSignals; ++k)
      signal_init(signal + 8 * k, k < kIntegrated ? PP / 32 : k < kFinished ? T / 32 : PF / 32);
  const bool plain = tables.template begin<THREADS>(x, first_channel, count, [&] {
    if (integrates || finishes) return;
#pragma unroll
    for (int m = 0; m < kCopies; ++m) {
      const int job = tid + m * PP, row = job / G, granule = job % G;
      const bool weight = row >= 3 * CB;
      const int c = row % CB, kind = row / CB, n = (row - 3 * CB) % N;
      const bool real = weight ? row < kRows && n < x.states : c < count;
      const long long width = weight ? static_cast<long long>(x.groups) * x.states : x.channels;
      const signed char *tensor = weight ? (row - 3 * CB < N ? x.B : x.C) : kind == 0 ? x.u : kind == 1 ? first_z : x.dt;
      end[m] = tensor + width * length * x.batch;
      from[m] = tensor + (width * item + (weight ? group * x.states + n : first_channel + c)) * length + granule * 16;
      first_step[m] = real ? granule * 16 : 1 << 30;
      to[m] = row < 2 * CB ? late_codes + row * PITCH + granule * 16
                           : early_codes + (row - 2 * CB) * PITCH + granule * 16;
      step_to[m] = row < 2 * CB ? 2 * CB * PITCH : (CB + 2 * N) * PITCH;
    }
    copy_codes();
    copy_codes();
    for (int k = tid; k < 4 * 2 * N * PITCH / 16; k += PP) {        // padding adds nothing
      const int row = k / (PITCH / 16) % (2 * N), slot = k / (PITCH / 16) / (2 * N);
      if (row % N >= x.states)
        *reinterpret_cast<uint4 *>(early_codes + (slot * (CB + 2 * N) + CB + row) * PITCH + k % (PITCH / 16) * 16) =
            make_uint4(0, 0, 0, 0);
    }
  });
  const bool tabled = plain || tiles > kShort;
  if (tabled) {
    tables.template build_steps<THREADS>(x, threadIdx.x, plain);
    __syncthreads();
  }
  // What a row of codes lacks to a multiple of 16 bytes.
  auto shift_of = [&](const signed char *tensor, long long row) {
    return ALIGNED ? 0u : static_cast<unsigned>(reinterpret_cast<unsigned long long>(tensor) + row * length) & 15;
  };
  auto code_row = [&](int c) { return item * x.channels + first_channel + min(c, count - 1); };

  if (!integrates && !finishes) {
    // ------------------------------------------------------------------------------------------------------- prepare
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
      if (tile >= 2) signal_wait(at_signal(kIntegrated, tile), (tile / 2 - 1) & 1);
      asm volatile("cp.async.wait_group 1;" ::: "memory");
      barrier<PP>(kCopied);
      copy_codes();
      const unsigned char *late = late_codes + (tile & 7) * 2 * CB * PITCH;
      const unsigned char *early = early_codes + (tile & 3) * (CB + 2 * N) * PITCH;
      const int here = length - tile * TT;
#pragma unroll
      for (int m = 0; m < kSteps; ++m) {
        const int unit = tid + m * PP, row = unit % CB, g = unit / CB * 4;
        if (kUnits % PP != 0 && unit >= kUnits) break;
        Run<4> u, dt;
        if constexpr (ALIGNED) {
          read_codes(u, late + row * PITCH + g);
          read_codes(dt, early + row * PITCH + g);
        } else {
          read_shifted(u, late + row * PITCH + g, shift_of(x.u, code_row(row)));
          read_shifted(dt, early + row * PITCH + g, shift_of(x.dt, code_row(row)));
        }
        float step[4];
        if (tabled) {
#pragma unroll
          for (int k = 0; k < 4; ++k) step[k] = tables.look_up(dt.w[0], Lookup::step_column(row), k);
        } else {
          const Softplus softplus = tables.softplus(row);
#pragma unroll
          for (int k = 0; k < 4; ++k) step[k] = softplus(dt.w[0] >> 8 * k & 255 ^ 128);
        }
        u.w[0] ^= 0x80808080u;
        float4 *steps = all_steps + ((tile & 1) * (TT / 2) + g / 2) * RS + row;
#pragma unroll
        for (int k = 0; k < 4; k += 2) {
          float code_u[2];
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            code_u[i] = code(u.w[0], k + i, x.exponent);
            if (g + k + i >= here) step[k + i] = code_u[i] = 0.0f;  // decay 1, drive 0: the state stays
          }
          steps[k / 2 * RS] = make_float4(step[k], __fmul_rn(step[k], code_u[0]), step[k + 1],
                                          __fmul_rn(step[k + 1], code_u[1]));
        }
      }
#pragma unroll
      for (int m = 0; m < kRunItems; ++m) {
        const int run = (tid + PP - kRuns % PP % PP) % PP + m * PP, is_C = run % 2, n = run % N / 2 * 2, t = run / N * 8;
        if (run >= kRuns) break;
        Run<8> r[2];
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          const unsigned char *codes = early + (CB + is_C * N + n + i) * PITCH;
          if constexpr (ALIGNED) {
            read_codes(r[i], codes + t);
          } else {
            const long long row = (item * x.groups + group) * x.states + n + i;
            read_shifted(r[i], codes + t, shift_of(is_C ? x.C : x.B, row));
          }
#pragma unroll
          for (int k = 0; k < 2; ++k) r[i].w[k] ^= 0x80808080u;
        }
        float *weights = all_weights + ((tile & 1) * TT + t) * 2 * N + n * 2 + is_C * 2;
#pragma unroll
        for (int k = 0; k < 8; ++k, weights += 2 * N) store_codes<2>(weights, r, k, x.exponent);
      }
      signal_arrive(at_signal(kPrepared, tile));
    }
    return;
  }

  if (finishes) {
    // -------------------------------------------------------------------------------------------------------- finish
    tables.template build_gates<PF>(x, tid);
    barrier<PF>(kGates);
    const unsigned gate_column = Lookup::gate_column();
    const int row = tid % CB, run = tid / CB, g = run * 8;          // eight steps of a row
    const float skip_u = tables.skips()[row];
#pragma unroll 1
    for (int tile = 0; tile < tiles; ++tile) {
      signal_wait(at_signal(kIntegrated, tile), tile / 2 & 1);
      const unsigned char *late = late_codes + (tile & 7) * 2 * CB * PITCH;
      Run<8> u, z;
      if constexpr (ALIGNED) {
        read_codes(u, late + row * PITCH + g);
        read_codes(z, late + (CB + row) * PITCH + g);
      } else {
        read_shifted(u, late + row * PITCH + g, shift_of(x.u, code_row(row)));
        read_shifted(z, late + (CB + row) * PITCH + g, shift_of(first_z, code_row(row)));
      }
      const float4 *parts = all_parts + ((tile & 1) * (TT / 4) + g / 4) * P * RP;
      const int odd = (row ^ ((~run & 1) << 2)), even = (row ^ ((run & 1) << 2));
      unsigned short *y = static_cast<unsigned short *>(x.y) + first_channel + row +
                          (item * length + tile * TT + g) * x.channels;
      const int left = row < count ? length - tile * TT - g : 0;
#pragma unroll
      for (int k = 0; k < 8; k += 4) {
        float4 part[P];
#pragma unroll
        for (int j = 0; j < P; ++j) part[j] = parts[(k / 4 * P + j) * RP + (j & 1 ? odd : even)];
        float sums[4];
        add_lanes(part, sums);
#pragma unroll
        for (int i = 0; i < 4; ++i, y += x.channels) {
          const float own = code(u.w[k / 4] ^ 0x80808080u, i, x.exponent);
          const float result = __fmul_rn(__fmaf_rn(skip_u, own, sums[i]), tables.look_up(z.w[k / 4], gate_column, i));
          if (k + i < left) *y = to_half(result);
        }
      }
      signal_arrive(at_signal(kFinished, tile));
    }
    return;
  }

  // --------------------------------------------------------------------------------------------------------- integrate
  // Neighbours share a part of the states, so that B and C are read by pairs, and lanes two apart a row: both halve what
  // a 16-byte shared load costs.
  const int c = place * 4 + ((lane & 1) | (lane >> 1 & 2)), j = (lane >> 1 & 1) | (lane >> 3 << 1);
  const unsigned probe_at = probe_code(min(j, kProbes - 1));        // lane j has the row's j-th
  const float probe = tabled ? tables.steps(probe_at)[c] : tables.softplus(c)(probe_at);
  const double unit = static_cast<double>(*x.s_B) * *x.s_u;
  float rate[S], centre[S], h[S];
#pragma unroll
  for (int i = 0; i < S; ++i) {
    rate[i] = tables.rates()[Lookup::at(c, j * S + i)];
    centre[i] = tables.centre(rate[i], [&](int k) {
      return __shfl_sync(0xFFFFFFFFu, probe, (lane & 5) | (k & 1) << 1 | k >> 1 << 3);
    });
  }
  auto real = [&](int i) { return c < count && j * S + i < x.states; };
  const long long state_at = (item * x.channels + first_channel + c) * x.states + j * S;
  // Nobody covers for a warp that has a scheduler for itself: loads run AHEAD of their use, so many at a time, and
  // exponentials SOON, into the next tile, and between two tiles is one branch.
  constexpr int AHEAD = 16, SOON = 4, KEPT = 2 * AHEAD;
  constexpr int STEPS = TT / 2 * RS * 16, WEIGHTS = TT * 2 * N * 4, PARTS = TT / 4 * P * RP * 16;  // bytes a tile
  unsigned steps_at = shared_address(all_steps + c), next_steps = steps_at + STEPS;
  unsigned weights_at = shared_address(all_weights + j * 2 * S), next_weights = weights_at + WEIGHTS;
  unsigned even_parts = shared_address(all_parts + j * RP + (c ^ ((j & 1) << 2)));     // of steps 0 to 7, 16 to 23, ...
  unsigned odd_parts = shared_address(all_parts + j * RP + (c ^ ((~j & 1) << 2)));
  float4 two[KEPT / 2], BC[KEPT];                                   // of step t at t % KEPT
  float decay[KEPT][S], drive[KEPT][S];
  auto load = [&](int t) {                                          // from TT on of the next tile
    const int k = t % KEPT, at = t % TT;
    if (t % 2 == 0) two[k / 2] = load_shared((t < TT ? steps_at : next_steps) + at / 2 * RS * 16);
    BC[k] = load_shared((t < TT ? weights_at : next_weights) + at * 2 * N * 4);
  };
  auto exponentials = [&](int t) {
    const int k = t % KEPT;
    const float dt = t & 1 ? two[k / 2].z : two[k / 2].x, w = t & 1 ? two[k / 2].w : two[k / 2].y;
#pragma unroll
    for (int i = 0; i < S; ++i) decay[k][i] = ex2_now(__fmaf_rn(dt, rate[i], centre[i]));
    drive[k][0] = __fmul_rn(w, BC[k].x);
    drive[k][1] = __fmul_rn(w, BC[k].y);
  };
#pragma unroll
  for (int i = 0; i < S; ++i)
    h[i] = x.initial && real(i) ? static_cast<float>(x.initial[state_at + i] * (1.0 / unit)) : 0.0f;
  signal_wait(at_signal(kPrepared, 0), 0);
#pragma unroll
  for (int t = 0; t < AHEAD; ++t) load(t);
#pragma unroll
  for (int t = 0; t < SOON; ++t) exponentials(t);
#pragma unroll 1
  for (int tile = 0;;) {
    // Asked early, nobody waits for the answers.
    const bool ready = signal_over(at_signal(kPrepared, tile + 1), (tile + 1) / 2 & 1) | (tile + 1 == tiles);
    float part[4];
    auto integrate = [&](auto first, auto last) {
      asm volatile("" ::: "memory");                                // not before the signals
#pragma unroll
      for (int t = decltype(first)::value; t < decltype(last)::value; ++t) {
        const int k = t % KEPT;
        if (t % AHEAD == 0)
#pragma unroll
          for (int next = t + AHEAD; next < t + 2 * AHEAD; ++next) load(next);
        exponentials(t + SOON);
#pragma unroll
        for (int i = 0; i < S; ++i) h[i] = __fmaf_rn(decay[k][i], h[i], drive[k][i]);
        part[t % 4] = __fmaf_rn(h[1], BC[k].w, __fmul_rn(h[0], BC[k].z));
        if (t % 4 == 3) store_shared((t / 8 % 2 ? odd_parts : even_parts) + t / 4 * P * RP * 16, part);
      }
      asm volatile("" ::: "memory");                                // nor after the next
    };
    integrate(Number<0>{}, Number<TT - KEPT>{});
    if (__builtin_expect(!ready, 0)) signal_wait(at_signal(kPrepared, tile + 1), (tile + 1) / 2 & 1);
    const bool free = signal_over(at_signal(kFinished, tile + 1), ((tile + 1) / 2 - 1) & 1);
    integrate(Number<TT - KEPT>{}, Number<TT>{});
    signal_arrive(at_signal(kIntegrated, tile));
    ++tile;
    swap(steps_at, next_steps);
    swap(weights_at, next_weights);
    const int other = tile & 1 ? PARTS : -PARTS;
    even_parts += other;
    odd_parts += other;
    if (tile == tiles) break;
    if (!free) signal_wait(at_signal(kFinished, tile), (tile / 2 - 1) & 1);
  }
  if (x.last_state)
#pragma unroll
    for (int i = 0; i < S; ++i)
      if (real(i)) store_state(x, state_at + i, h[i], unit);
}
