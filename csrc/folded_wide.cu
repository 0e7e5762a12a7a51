// The `folded` scan on the GPU where channels are many: one or two lanes a channel, tables of all 256 steps.
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
  static_assert(P == 1 || P == 2, "one or two lanes a channel");
  constexpr int RB = 2 * N * TT / T < 4 ? 4 : 2 * N * TT / T > 16 ? 16 : 2 * N * TT / T;
  constexpr int kWeightRuns = 2 * N * TT / RB, kWeightItems = (kWeightRuns + T - 1) / T;
  static_assert(kWeightRuns % T == 0, "weights");
  constexpr int kTeamBytes = 2 * TT * 2 * N * 4 + 2 * TT * CB * 2;
  extern __shared__ __align__(16) unsigned char shared[];
  float *step_table = reinterpret_cast<float *>(shared);           // [256][CB]
  float *gate_table = step_table + 256 * CB;                       // [256]
  unsigned char *rest = reinterpret_cast<unsigned char *>(gate_table + 256);
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
    gate_table[q] = static_cast<float>(x.z ? gate((q - 128) * static_cast<double>(*x.s_z), s_B, s_C, s_u)
                                           : s_B * s_C * s_u);
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
  const unsigned column = 4 * c, pick_even = 0x7440u | j, pick_odd = 0x7440u | (2 + j);

  for (int item = blockIdx.y * NB + team; item < x.batch; item += gridDim.y * NB) {
    const long long row = (static_cast<long long>(item) * x.channels + channel) * length;
    const signed char *at_u = x.u + row, *at_dt = x.dt + row, *first_z = x.z ? x.z : x.u;  // without z every gate is the same
    const signed char *at_z = first_z + row;
    Pending<16, ALIGNED> raw_u, raw_dt, raw_z;
    Pending<RB, ALIGNED> raw_weights[kWeightItems];
    const signed char *at_weights[kWeightItems];
#pragma unroll
    for (int m = 0; m < kWeightItems; ++m) {
      const int run = tid + m * T, which = run % (2 * N), n = which % N;
      at_weights[m] = (which < N ? x.B : x.C) +
                      ((static_cast<long long>(item) * x.groups + group) * x.states + n) * length + run / (2 * N) * RB;
    }
    auto fetch_weights = [&](int t0) {
#pragma unroll
      for (int m = 0; m < kWeightItems; ++m) {
        const int run = tid + m * T, which = run % (2 * N), n = which % N, t = t0 + run / (2 * N) * RB;
        const signed char *base = which < N ? x.B : x.C;
        raw_weights[m].fetch(at_weights[m] + t0, t < length && n < x.states, base, base + weight_total);
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
    for (int i = 0; i < S; ++i) h[i] = 0.0f;
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
        const int run = tid + m * T, which = run % (2 * N), n = which % N;
        const Run<RB> r = raw_weights[m].take(at_weights[m] + t0);
        float *at = tile + run / (2 * N) * RB * 2 * N + n / S * 2 * S + which / N * S + n % S;
#pragma unroll
        for (int k = 0; k < RB / 4; ++k) {
          at[(4 * k) * 2 * N] = code(r.w[k], 0);
          at[(4 * k + 1) * 2 * N] = code(r.w[k], 1);
          at[(4 * k + 2) * 2 * N] = code(r.w[k], 2);
          at[(4 * k + 3) * 2 * N] = code(r.w[k], 3);
        }
      }
      fetch_weights(t0 + TT);
      const Run<16> ru = raw_u.take(at_u + t0), rdt = raw_dt.take(at_dt + t0), rz = raw_z.take(at_z + t0);
      fetch(t0 + TT);
      barrier<T>(team + 1);
      if (t0) copy_out(t0 - TT, half ^ 1);

      const float4 *weight = reinterpret_cast<const float4 *>(tile + j * 2 * S);
      unsigned short *out = rows + half * TT * CB + c + j * CB;
      auto run_steps = [&](auto partial) {
        float part[2], u[2], results[TT / P];
#pragma unroll
        for (int t = 0; t < TT; ++t) {
          const unsigned wdt = rdt.w[t / 4], wu = ru.w[t / 4];
          const int k = t % 4;
          const unsigned offset = CB == 32 ? (k == 0 ? wdt << 7 : wdt >> (8 * k - 7)) & (255u << 7)
                                           : ((wdt >> (8 * k)) & 255u) * (4 * CB);
          float dt = *reinterpret_cast<const float *>(table_bytes + (offset | column));
          if constexpr (decltype(partial)::value) { if (t0 + t >= length) dt = 0.0f; }
          u[t & 1] = code(wu, k);
          const float w = __fmul_rn(dt, u[t & 1]);
          float BC[2 * S];
#pragma unroll
          for (int i = 0; i < S / 2; ++i) {
            const float4 v = weight[t * (2 * N / 4) + i];
            BC[4 * i] = v.x; BC[4 * i + 1] = v.y; BC[4 * i + 2] = v.z; BC[4 * i + 3] = v.w;
          }
#pragma unroll
          for (int i = 0; i < S; ++i)
            h[i] = __fmaf_rn(ex2(__fmaf_rn(dt, rate[i], centre[i])), h[i], __fmul_rn(w, BC[i]));
          part[t & 1] = contract<S>(h, BC + S);
          if constexpr (P == 1) {
            const unsigned q = (rz.w[t / 4] >> (8 * k)) & 255u;
            results[t] = __fmul_rn(__fmaf_rn(skip_u, u[t & 1], part[t & 1]), gate_table[q]);
          } else if (t & 1) {
            const float keep = j ? part[1] : part[0], send = j ? part[0] : part[1];
            const float sum = __fadd_rn(keep, __shfl_xor_sync(0xFFFFFFFFu, send, W));
            const unsigned q = __byte_perm(rz.w[t / 4], 0, (k == 1 ? pick_even : pick_odd) & 0xF | 0x4440u);
            results[t / 2] = __fmul_rn(__fmaf_rn(skip_u, j ? u[1] : u[0], sum), gate_table[q]);
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
