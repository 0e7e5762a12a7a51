// The tables of the GPU kernels of the `folded` scan: softplus in FP64 without the slow units, the mean error of ex2, and
// steps and gates by code in shared memory.
#pragma once
#include "folded_device.h"

namespace folded {

// FP64 to FP32, to nearest, in integer arithmetic: the conversion unit shares its pipe with ex2.  From 2^-126 up.
__device__ __forceinline__ float narrow(double value) {
  const int hi = max(__double2hiint(value), 897 << 20) - (896 << 20);
  const unsigned lo = __double2loint(value);
  return __uint_as_float(__funnelshift_l(lo, hi, 3) + ((lo >> 28) & 1));
}

// {1 / c, log c} for c = 1 + i / 128, by the series of atanh at compile time.
struct alignas(16) Log { double inverse, log; };
struct Logs {
  Log at[128];
  constexpr Logs() : at() {
    for (int i = 0; i < 128; ++i) {
      const double c = 1.0 + i / 128.0, z = (c - 1.0) / (c + 1.0);
      double sum = 0.0;
      for (int k = 41; k > 0; k -= 2) sum = sum * z * z + 1.0 / k;
      at[i].inverse = 1.0 / c;
      at[i].log = 2.0 * z * sum;
    }
  }
};
__device__ const Logs kLogs;

// softplus(bias + s (q - 128)), q = 0..255: exp(bias) times exp(s (q - 128)), a product of two of 16 values each, then
// log1p by a table of 128 and a polynomial, in FP64 to about 2^-37, rounded once.
struct Softplus {
  const double *powers;                                           // [16] exp(16 s (k - 8)), [16] exp(s k)
  const Log *logs;                                                // [128]
  double unit;                                                    // exp(bias)
  __device__ __forceinline__ double low_power(unsigned k) const { return unit * powers[16 + k]; }
  __device__ __forceinline__ float operator()(unsigned q) const {
    return log_of_1_plus(powers[q >> 4] * low_power(q & 15));
  }
  __device__ __forceinline__ float log_of_1_plus(double x) const {
    const double f = 1.0 + x;
    const int high = __double2hiint(f);
    const Log t = logs[(high >> 13) & 127];
    const double exponent = __hiloint2double(0x43300000, high >> 20) - (4503599627370496.0 + 1023.0);
    double r = fma(__hiloint2double((high & 0xFFFFF) | 0x3FF00000, __double2loint(f)), t.inverse, -1.0);
    if (high >> 13 == 0x3FF00000 >> 13) r = x;                      // as it would be, had 1 + x not lost the end of x
    const double p = fma(fma(fma(fma(r, 0.2, -0.25), r, 1.0 / 3.0), r, -0.5), r, 1.0);
    return narrow(fma(exponent, 0.6931471805599453094, fma(p, r, t.log)));
  }
};

// The step without softplus, and the one whose exponential would overflow.
__device__ __noinline__ float plain_step(double x, bool softplus) { return static_cast<float>(step_size(x, softplus)); }

// The mean error of ex2.approx in 2^-24, as measured (docs/folded.md): eight bins an octave of -p, from 2^-9 to 2^1.
__device__ const float kEx2Errors[80] = {
    0.115f, 0.106f, 0.117f, 0.109f, 0.139f, 0.135f, 0.150f, 0.149f, 0.208f, 0.225f, 0.259f, 0.276f, 0.329f, 0.348f,
    0.381f, 0.398f, 0.477f, 0.508f, 0.535f, 0.529f, 0.515f, 0.436f, 0.340f, 0.181f, 0.344f, 0.310f, 0.366f, 0.443f,
    0.541f, 0.561f, 0.504f, 0.301f, 0.399f, 0.478f, 0.569f, 0.308f, 0.208f, -0.049f, 0.046f, 0.144f, 0.210f, 0.499f,
    0.178f, 0.052f, 0.428f, 0.375f, 0.311f, 0.402f, 0.141f, 0.258f, -0.034f, 0.431f, -0.041f, 0.099f, 0.366f, 0.195f,
    0.244f, 0.188f, 0.075f, 0.303f, 0.192f, 0.291f, 0.092f, -0.073f, 0.267f, 0.092f, 0.045f, 0.120f, 0.001f, 0.188f,
    -0.138f, -0.019f, 1.002f, 0.866f, 0.892f, 0.815f, 0.869f, 0.772f, 0.783f, 0.611f};

constexpr int kProbes = 5;                                        // codes of dt that stand for all: 88, 108, ... 168
__device__ __forceinline__ unsigned probe_code(int k) { return 88u + 20u * k; }

// Tables in shared memory for CB channels of N states.
//
// By code of dt or z as it stands in memory (two's complement), 256 bytes for each code: the steps of up to 48 channels,
// then 16 copies of the gate, one for every second lane.  Beside it what that is made from, and of each channel its
// rates, their centres and its skip.
//
// WHOLE: the table stands at the second 65536 bytes of shared memory, so that a byte permute makes a whole address; what
// else fits before it goes there.  Smaller GPUs lack the room.
template <int CB, int N, bool WHOLE>
struct Tables {
  static constexpr int kErrors = 80, kStates = CB * N, kBiases = (CB + 31) / 32 * 32;
  static constexpr int kBytes =
      (65536 + sizeof(Logs) + (32 + 2 * CB) * 8 + (kErrors + 2 * kStates + CB) * 4 + 15) / 16 * 16;
  static_assert(CB <= 48, "steps and gates side by side");
  unsigned char *bytes;

  __device__ __forceinline__ float *steps(unsigned q) const {         // q: the code plus 128
    return reinterpret_cast<float *>(bytes) + (q ^ 128) * 64;
  }
  __device__ __forceinline__ Log *logs() const { return reinterpret_cast<Log *>(bytes + 65536); }
  __device__ __forceinline__ double *powers() const { return reinterpret_cast<double *>(logs() + 128); }
  __device__ __forceinline__ double *biases() const { return powers() + 32; }  // [CB] bias, [CB] exp(bias)
  __device__ __forceinline__ float *errors() const { return reinterpret_cast<float *>(biases() + 2 * CB); }
  __device__ __forceinline__ float *rates() const { return errors() + kErrors; }                      // [N][CB]
  __device__ __forceinline__ float *centres() const { return rates() + kStates; }                     // [N][CB]
  __device__ __forceinline__ float *skips() const { return centres() + kStates; }                     // [CB]
  // Of state n of channel c, in rates and centres: the rows of a warp read banks side by side.
  static __device__ __forceinline__ int at(int c, int n) { return n * CB + c; }

  static __device__ __forceinline__ unsigned char *place(unsigned char *shared) {
    return WHOLE ? shared + (65536 - shared_address(shared)) : shared;
  }

  // Byte k of a word, as the row of the table, over a column: an address in one instruction.
  __device__ __forceinline__ float look_up(unsigned word, unsigned column, unsigned k) const {
    const unsigned at = __byte_perm(word, column, 0x7604 | k << 4);
    if constexpr (WHOLE) return *static_cast<const float *>(__cvta_shared_to_generic(at));
    else return *reinterpret_cast<const float *>(bytes + at);
  }
  static __device__ __forceinline__ unsigned step_column(int channel) { return (WHOLE ? 65536 : 0) + 4 * channel; }
  static __device__ __forceinline__ unsigned gate_column() { return step_column(48 + threadIdx.x % 16); }

  // What the steps are made from, rates and skips: by all T threads of the block, which ask for all that they need of
  // global memory before they wait for any of it.  Returns whether some step has to be computed the plain way; a
  // barrier of the block is inside.  `meanwhile` is done while that memory answers.
  template <int T, class Meanwhile>
  __device__ __forceinline__ bool begin(const Arguments &x, int first_channel, int count, Meanwhile meanwhile) const {
    constexpr int kTasks = 32 + kBiases + kStates, kEach = (kTasks + T - 1) / T, kCopies = (128 + kErrors + T - 1) / T;
    const int from_last = T - 1 - static_cast<int>(threadIdx.x);
    int codes[kEach];
    Log log[kCopies];
    float error[kCopies];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int c = static_cast<int>(threadIdx.x) + i * T - 32, k = c - kBiases;
      codes[i] = 0;
      if (k >= 0) {
        if (k < kStates && k % N < x.states)
          codes[i] = x.A_log[static_cast<long long>(first_channel + min(k / N, count - 1)) * x.states + k % N];
      } else if (c >= 0 && c < CB && x.bias) {
        codes[i] = x.bias[first_channel + min(c, count - 1)];
      }
    }
    const float s_dt = *x.s_dt, s_A = *x.s_A, s_bias = x.bias ? *x.s_bias : 0.0f;
    const float s_B = *x.s_B, s_C = *x.s_C, s_D = x.D ? *x.s_D : 0.0f;
    const int D = x.D && from_last < CB ? x.D[first_channel + min(from_last, count - 1)] : 0;
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int k = from_last + i * T;
      if (k < 128) log[i] = kLogs.at[k];
      else if (k < 128 + kErrors) error[i] = kEx2Errors[k - 128];
    }
    meanwhile();
    bool plain = !x.softplus || s_dt > 2.0f;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      const int task = static_cast<int>(threadIdx.x) + i * T, c = task - 32, k = c - kBiases;
      const double scale = task < 32 ? s_dt : k < 0 ? s_bias : s_A;
      const double exponent = (task < 16 ? 16 * (task - 8) : task < 32 ? task - 16 : codes[i]) * scale;
      const double power = exp(exponent);
      if (task < 32) {
        powers()[task] = power;
      } else if (k >= 0) {
        if (k < kStates) rates()[at(k / N, k % N)] = k % N < x.states ? static_cast<float>(decay_rate(power)) : 0.0f;
      } else if (c < CB) {
        plain |= exponent > 300.0;
        biases()[c] = exponent;
        biases()[CB + c] = power;
      }
    }
#pragma unroll
    for (int i = 0; i < kCopies; ++i) {
      const int k = from_last + i * T;
      if (k < 128) logs()[k] = log[i];
      else if (k < 128 + kErrors) errors()[k - 128] = error[i];
    }
    if (from_last < CB)
      skips()[from_last] = x.D ? static_cast<float>(skip(D * static_cast<double>(s_D), s_B, s_C)) : 0.0f;
    return __syncthreads_or(plain);
  }

  __device__ __forceinline__ Softplus softplus(int c) const { return {powers(), logs(), biases()[CB + c]}; }

  // The steps of all codes, by T threads of which this is number t; a barrier follows.
  template <int T>
  __device__ __forceinline__ void build_steps(const Arguments &x, int t, bool plain) const {
    if (plain) {
#pragma unroll 1
      for (int i = t; i < 256 * CB; i += T)
        steps(i / CB)[i % CB] = plain_step((i / CB - 128) * static_cast<double>(*x.s_dt) + biases()[i % CB], x.softplus);
      return;
    }
    // A unit: a channel's codes with the same low four bits and the same highest one, so that addresses are constants.
#pragma unroll 1
    for (int unit = t; unit < 32 * CB; unit += T) {
      const int c = unit % CB, low = unit / CB % 16, first = unit / (16 * CB) * 8;
      const Softplus of_code = softplus(c);
      const double power = of_code.low_power(low), *high = powers() + first;
      float value[8], *to = steps(16 * first + low) + c;
#pragma unroll
      for (int k = 0; k < 8; ++k) value[k] = of_code.log_of_1_plus(high[k] * power);
#pragma unroll
      for (int k = 0; k < 8; ++k) to[k * 16 * 64] = value[k];       // last: stores would hold back the loads
    }
  }

  // The gates, likewise.
  template <int T>
  __device__ __forceinline__ void build_gates(const Arguments &x, int t) const {
    const double s_u = *x.s_u, s_B = *x.s_B, s_C = *x.s_C, s_z = x.z ? *x.s_z : 0.0f;
#pragma unroll
    for (int i = 0; i < (255 + T) / T; ++i) {
      const int q = T - 1 - t + i * T;                                  // by those who have fewer steps
      if (q >= 256) break;
      const float value = static_cast<float>(x.z ? gate((q - 128) * s_z, s_B, s_C, s_u) : s_B * s_C * s_u);
      float4 *to = reinterpret_cast<float4 *>(steps(q) + 48);
#pragma unroll
      for (int k = 0; k < 4; ++k) to[(k + q) % 4] = make_float4(value, value, value, value);
    }
  }

  // What to add to a state's exponent so that ex2.approx errs to neither side: minus its mean error over the steps that
  // the channel takes, of which step_at(k) is the k-th.  Without it slow states drift: an error of one side adds up over
  // the 1 / |p| steps they remember.
  template <class StepAt>
  __device__ __forceinline__ float centre(float rate, StepAt step_at) const {
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < kProbes; ++k) {
      const float p = __fmul_rn(step_at(k), rate);
      const int bin = (__float_as_int(-p) >> 20) - ((127 - 9) << 3);
      sum = __fadd_rn(sum, bin < 0 ? 0.09f : errors()[min(bin, kErrors - 1)]);
    }
    return __fmul_rn(sum, 1.4426950408889634f / (16777216.0f * kProbes));
  }

  // Of all states, from the table of steps, by T threads; a barrier precedes and one follows.
  template <int T>
  __device__ __forceinline__ void build_centres(int t) const {
#pragma unroll
    for (int i = 0; i < (kStates + T - 1) / T; ++i) {
      const int state = t + i * T, c = state % CB, where = at(c, state / CB);
      if (state >= kStates) break;
      centres()[where] = centre(rates()[where], [&](int k) { return steps(probe_code(k))[c]; });
    }
  }
};

}  // namespace folded
