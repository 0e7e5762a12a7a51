// The scalar formulas of the INT8 selective scan, written once for the CPU and the GPU.
//
// Rounding is explicit.  A product followed by a sum is either fmaf (one rounding, named) or it does not occur; no
// formula leaves the contraction to the compiler.  Notation: b batch, l length, d channels, n states, g groups.
//
//   GPU: built with --use_fast_math, as the published kernel is: expf is ex2.approx.ftz(x * log2 e), division is
//        div.approx.ftz, every operation flushes subnormals; log1pf is CUDA's own (no approximation).
//   CPU: standard arithmetic: IEEE division, subnormals kept, exp_standard below (error below 1.05 ulp, 0.8 % of
//        results not the nearest float; the same bits with any vector width), log1p in double rounded once.
#pragma once

#ifdef __CUDACC__
#define CPU_GPU __host__ __device__ __forceinline__
#else
#define CPU_GPU inline __attribute__((always_inline))
#include <cmath>
#include <cstdint>
#include <cstring>
#endif

#ifdef __CUDACC_RTC__
using int8_t = signed char;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using int64_t = long long;
#elif defined(__CUDACC__)
#include <cstdint>
#endif

#ifndef __CUDA_ARCH__
#ifndef __CUDACC__
// exp(x) in float32, branch-free so that a loop over it becomes vector code.  Range reduction by ln 2 in two parts
// (Cody and Waite), the series to the 7th power on |r| <= ln(2)/2, and the scaling 2^k in two steps so that
// subnormal results and overflow to infinity come out right.  NaN stays NaN.
CPU_GPU float exp_standard(float x) {
    const float low = -104.0f, high = 89.0f;  // beyond these the result is 0 or infinity anyway
    x = x < low ? low : x;
    x = x > high ? high : x;
    const float shift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to the nearest integer, ties to even
    const float shifted = __builtin_fmaf(x, 1.44269504f, shift);
    const float k = shifted - shift;
    float r = __builtin_fmaf(k, -0.693359375f, x);  // exact: 0.693359375 has 10 bits
    r = __builtin_fmaf(k, 2.12194440e-4f, r);
    float p = 1.9841270e-4f;  // 1/7!, 1/6!, ...: on this interval the next term is below 2^-27
    p = __builtin_fmaf(p, r, 1.3888889e-3f);
    p = __builtin_fmaf(p, r, 8.3333333e-3f);
    p = __builtin_fmaf(p, r, 4.1666667e-2f);
    p = __builtin_fmaf(p, r, 1.6666667e-1f);
    p = __builtin_fmaf(p, r, 0.5f);
    p = __builtin_fmaf(p, r * r, r) + 1.0f;
    int32_t bits;
    std::memcpy(&bits, &shifted, 4);
    const int32_t exponent = bits - 0x4B400000;  // k as an integer
    const int32_t half = exponent >> 1;
    const int32_t first_bits = (half + 127) << 23, second_bits = (exponent - half + 127) << 23;
    float first, second;
    std::memcpy(&first, &first_bits, 4);
    std::memcpy(&second, &second_bits, 4);
    return p * first * second;
}
#endif
#endif

// e^x by the build's own rule (see the head of this file).
CPU_GPU float exponential(float x) {
#ifdef __CUDACC__
    return expf(x);
#else
    return exp_standard(x);
#endif
}

CPU_GPU float fused(float a, float b, float c) {  // a * b + c, rounded once
#ifdef __CUDACC__
    return fmaf(a, b, c);
#else
    return __builtin_fmaf(a, b, c);
#endif
}

// One rounding, wherever it happens.
CPU_GPU float dequantize(float scale, int8_t code) { return scale * static_cast<float>(code); }

// dt before softplus: scale * code + bias, contracted.
CPU_GPU float step_size(float scale, int8_t code, float bias) { return fused(scale, static_cast<float>(code), bias); }

CPU_GPU float softplus(float x) {  // above 20 the identity is exact in float32
#ifdef __CUDACC__
    return x <= 20.0f ? log1pf(expf(x)) : x;
#else
    return x <= 20.0f ? static_cast<float>(std::log1p(static_cast<double>(exp_standard(x)))) : x;
#endif
}

// The decay rate A from its stored logarithm.
CPU_GPU float rate(float scale, int8_t code) { return -exponential(dequantize(scale, code)); }

// SiLU gate: the product first, then one division.
CPU_GPU float gated(float value, float z) { return value * z / (1.0f + exponential(-z)); }

// INT8 code of a state: ties away from zero, saturating; NaN becomes 0 as in a CUDA conversion.
CPU_GPU int8_t state_code(float h, float scale) {
    const float rounded = roundf(h / scale);
    const float clamped = rounded > 127.0f ? 127.0f : rounded < -128.0f ? -128.0f : rounded;
    return static_cast<int8_t>(static_cast<int>(clamped == clamped ? clamped : 0.0f));
}

// Bits of the float16 nearest to x, ties to even.
CPU_GPU uint16_t half_bits(float x) {
#ifdef __CUDA_ARCH__
    uint16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
#else
    uint32_t f;
    memcpy(&f, &x, 4);
    const uint32_t sign = (f >> 16) & 0x8000u;
    f &= 0x7FFFFFFFu;
    if (f > 0x7F800000u) return static_cast<uint16_t>(0x7FFFu);       // NaN, CUDA's canonical one
    if (f >= 0x477FF000u) return static_cast<uint16_t>(sign | 0x7C00u);  // rounds to 65536 or more: infinity
    uint32_t result;
    if (f < 0x38800000u) {  // a subnormal half, or zero: let a float addition do the rounding
        float magnitude;
        memcpy(&magnitude, &f, 4);
        magnitude += 0.5f;
        memcpy(&result, &magnitude, 4);
        result -= 0x3F000000u;
    } else {
        result = (f + 0xFFFu + ((f >> 13) & 1u) - 0x38000000u) >> 13;
    }
    return static_cast<uint16_t>(sign | result);
#endif
}
