// The `folded` scan on the GPU where channels are many: few lanes a channel, a table of all 256 steps.
//
// A team of CB P threads owns CB channels of one item; NB teams of a block share the table of steps and take items in
// turn.  A lane reads its own channel's codes straight from memory, 16 steps at a time, and looks its steps up; only the
// floats of B and C pass through shared memory, and y on its way out, so one barrier a tile of 16 steps is enough.
// Same formulas, same order of sums, same bits as folded.cu.
#include "folded_device.h"

using namespace folded;

namespace {
struct No { static constexpr bool value = false; };
struct Yes { static constexpr bool value = true; };

}  // namespace

// CB channels a team, P = N / S lanes a channel (lane = c + (32 / P) j inside a warp), NB teams share the tables.
template <int N, int S, int CB, bool ALIGNED, int NB, int MINB>
__global__ void __launch_bounds__(CB *(N / S) * NB, MINB) folded_wide(const Arguments x) {
  constexpr int P = N / S, T = CB * P, TT = 16, W = 32 / P;        // W channels a warp
  static_assert(P == 1 || P == 2 || P == 4, "lanes a channel");
  constexpr int RB = N * TT / T < 4 ? 4 : N * TT / T > 16 ? 16 : N * TT / T;
  constexpr int kWeightRuns = N * TT / RB, kWeightItems = (kWeightRuns + T - 1) / T;
  constexpr int kTeamBytes = 2 * TT * 2 * N * 4 + 2 * TT * CB * 2;
  extern __shared__ __align__(16) unsigned char shared[];
  float *step_table = reinterpret_cast<float *>(shared);           // [256][CB]
  float *gate_table = step_table + 256 * CB;                       // [256][16], a copy for every second lane
  unsigned char *rest = reinterpret_cast<unsigned char *>(gate_table + 256 * 16);
  double2 *logs = reinterpret_cast<double2 *>(rest);               // [128], while the tables are built
  double *powers = reinterpret_cast<double *>(logs + 128);         // [256], likewise
  const int team = NB == 1 ? 0 : threadIdx.x / T, tid = NB == 1 ? threadIdx.x : threadIdx.x % T;
  float *weights = reinterpret_cast<float *>(rest + team * kTeamBytes);                     // [2][TT][P][B S, C S]
  unsigned short *rows = reinterpret_cast<unsigned short *>(weights + 2 * TT * 2 * N);      // [2][TT][CB]

  const int lane = tid & 31, c = tid / 32 * W + lane % W, j = lane / W;
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
    if (q < 128) { double cc = 1.0 + q / 128.0; logs[q] = make_double2(1.0 / cc, log(cc)); }
  }
  const int pc = threadIdx.x % CB;
  const double bias = x.bias ? static_cast<double>(x.bias[first_channel + min(pc, count - 1)]) * *x.s_bias : 0.0;
  __syncthreads();
  if (plain || bias > 300.0) {
    for (int q = threadIdx.x / CB; q < 256; q += T * NB / CB) step_table[q * CB + pc] = plain_step((q - 128) * s_dt + bias, x.softplus);
  } else {
    const Softplus softplus{powers, logs, exp(bias)};
#pragma unroll 2
    for (int q = threadIdx.x / CB; q < 256; q += T * NB / CB) step_table[q * CB + pc] = softplus(q);
  }
  __syncthreads();

  float rate[S], centre[S];
#pragma unroll
  for (int i = 0; i < S; ++i) {
    int n = j * S + i;
    rate[i] = n < x.states ? static_cast<float>(decay_rate(
                                 static_cast<double>(x.A_log[static_cast<long long>(channel) * x.states + n]) * *x.s_A))
                           : 0.0f;
    centre[i] = ex2_centre(step_table[128 * CB + c] * rate[i]);
  }
  const float skip_u = x.D ? static_cast<float>(skip(static_cast<double>(x.D[channel]) * *x.s_D, s_B, s_C)) : 0.0f;
  const long long total = static_cast<long long>(x.batch) * x.channels * length;
  const long long weight_total = static_cast<long long>(x.batch) * x.groups * x.states * length;
  const bool wide = count == CB && (x.channels | first_channel) % 8 == 0;
  const char *table_bytes = reinterpret_cast<const char *>(step_table);
  const unsigned column = 4 * c;

  for (int item = blockIdx.y * NB + team; item < x.batch; item += gridDim.y * NB) {
    const long long row = (static_cast<long long>(item) * x.channels + channel) * length;
    const signed char *at_u = x.u + row, *at_dt = x.dt + row, *first_z = x.z ? x.z : x.u;  // without z every gate is the same
    const signed char *at_z = first_z + row;
    Pending<16, ALIGNED> raw_u, raw_dt, raw_z;
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
    auto fetch_weights = [&](int t0) {
#pragma unroll
      for (int m = 0; m < kWeightItems; ++m) {
        const int run = tid + m * T;
        const bool inside =
            t0 + run / N * RB < length && run % N < x.states && (kWeightRuns % T == 0 || run < kWeightRuns);
        raw_B[m].fetch(at_B[m] + t0, inside, x.B, x.B + weight_total);
        raw_C[m].fetch(at_C[m] + t0, inside, x.C, x.C + weight_total);
      }
    };
    auto fetch = [&](int t0) {
      const bool inside = t0 < length;
      raw_u.fetch(at_u + t0, inside, x.u, x.u + total);
      raw_dt.fetch(at_dt + t0, inside, x.dt, x.dt + total);
      raw_z.fetch(at_z + t0, inside, first_z, first_z + total);
    };
    float h[S];
#pragma unroll
    for (int i = 0; i < S; ++i)
      h[i] = j * S + i < x.states
                 ? load_state(x, (static_cast<long long>(item) * x.channels + channel) * x.states + j * S + i, 1.0 / (s_B * s_u))
                 : 0.0f;
    fetch(0);
    fetch_weights(0);

    auto copy_out = [&](int t0, int half) {
      store_rows<TT, CB, T>(rows + half * TT * CB,
                            static_cast<unsigned short *>(x.y) +
                                (static_cast<long long>(item) * length + t0) * x.channels + first_channel,
                            min(TT, length - t0), count, x.channels, wide, tid);
    };

    int half = 0;
    for (int t0 = 0; t0 < length; t0 += TT, half ^= 1) {
      float *tile = weights + half * TT * 2 * N;
#pragma unroll
      for (int m = 0; m < kWeightItems; ++m) {
        const int run = tid + m * T;
        if (kWeightRuns % T != 0 && run >= kWeightRuns) break;
        const Run<RB> B = raw_B[m].take(at_B[m] + t0), C = raw_C[m].take(at_C[m] + t0);
        const bool live = run % N < x.states;                      // padding adds nothing; past the end any number does
        float *at = tile + run / N * RB * 2 * N;
#pragma unroll
        for (int k = 0; k < RB; ++k)
          store_weights<S>(at + k * 2 * N, run % N, live ? code(B.w[k / 4], k % 4) : 0.0f,
                           live ? code(C.w[k / 4], k % 4) : 0.0f);
      }
      fetch_weights(t0 + TT);
      const Run<16> ru = raw_u.take(at_u + t0), rdt = raw_dt.take(at_dt + t0), rz = raw_z.take(at_z + t0);
      fetch(t0 + TT);
      barrier<T>(team + 1);
      if (t0) copy_out(t0 - TT, half ^ 1);

      const float *weight = tile + j * 2 * S;
      unsigned short *out = rows + half * TT * CB + c + j * CB;
      auto run_steps = [&](auto partial) {
        float part[P], results[TT / P];
#pragma unroll
        for (int t = 0; t < TT; ++t) {
          const unsigned wdt = rdt.w[t / 4], wu = ru.w[t / 4], wz = rz.w[t / 4];
          const int k = t % 4;
          const unsigned offset = CB == 32 ? (k == 0 ? wdt << 7 : wdt >> (8 * k - 7)) & (255u << 7)
                                           : ((wdt >> (8 * k)) & 255u) * (4 * CB);
          float dt = *reinterpret_cast<const float *>(table_bytes + (offset | column));
          if constexpr (decltype(partial)::value) { if (t0 + t >= length) dt = 0.0f; }  // the state stays
          const float w = __fmul_rn(dt, code(wu, k));
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
                part[i] = __fadd_rn(keep, __shfl_xor_sync(0xFFFFFFFFu, send, W << bit));
              }
            }
            const unsigned byte = (k - (P - 1)) + j;
            const float u = __fadd_rn(__uint_as_float(__byte_perm(wu, 0x4B000000u, 0x7440u + byte)), -kMagic);
            const float gate_z = gate_table[__byte_perm(wz, 0, 0x4440u + byte) * 16 + lane % 16];
            results[t / P] = __fmul_rn(__fmaf_rn(skip_u, u, part[0]), gate_z);
          }
        }
#pragma unroll
        for (int k = 0; k < TT / P; ++k) out[k * P * CB] = to_half(results[k]);   // last: a store holds back later loads
      };
      if (t0 + TT <= length) run_steps(No{});
      else run_steps(Yes{});
    }
    barrier<T>(team + 1);
    copy_out((length - 1) / TT * TT, half ^ 1);

    if (x.last_state && c < count) {
#pragma unroll
      for (int i = 0; i < S; ++i) {
        const int n = j * S + i;
        if (n < x.states)
          store_state(x, (static_cast<long long>(item) * x.channels + channel) * x.states + n, h[i], s_B * s_u);
      }
    }
    barrier<T>(team + 1);
  }
}
