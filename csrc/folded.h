// The formulas of the `folded` scan that its CUDA build and its C++ build share.
//
// Notation as in quamba_lab/scans/types.py; q marks an integer code.  With
//
//     dt   = softplus(s_dt dt_q + s_bias bias_q)     256 values per channel
//     rate = A log2(e) = -exp(s_A A_log_q) log2(e)   one value per (channel, state)
//
// the state is carried in units of s_B s_u, so that B, C and u enter as exact small integers:
//
//     h_t = exp2(dt_t rate) h_(t-1) + (dt_t u_q) B_q        FP32, one fused multiply-add
//     y_t = (sum_n h_t C_q + skip u_q) gate(z_q)            every scale of the output sits in skip and gate
//
// Everything below is evaluated in FP64 and rounded once to FP32 by the caller.
#pragma once

#ifdef __CUDACC__
#define FOLDED_FN __host__ __device__ __forceinline__
#else
#include <cmath>
#define FOLDED_FN inline
#endif

namespace folded {

// dt + bias = x as a step size.
FOLDED_FN double step_size(double x, bool softplus) {
  if (!softplus) return x;
  return x > 0.0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

// A log2(e) from exp(A_log) = -A.
FOLDED_FN double decay_rate(double minus_A) { return -minus_A * 1.4426950408889634074; }

// What the bracket is multiplied by: silu(z) with all three scales of the contraction.
FOLDED_FN double gate(double z, double s_B, double s_C, double s_u) {
  return z / (1.0 + exp(-z)) * (s_B * s_C * s_u);
}

// D u in the units of the contraction; s_u cancels.
FOLDED_FN double skip(double D, double s_B, double s_C) { return D / (s_B * s_C); }

}  // namespace folded
