// Sixteen floats at a time, on whatever this build is for: AVX-512, AVX2 with FMA, or plain C++.
//
// The three forms give the same bits: every operation is the correctly rounded one, fma() is fused in all of them, and
// join() and sum16() add lanes in one fixed tree (j with j + 8, then + 4, + 2, + 1).

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace vector16 {

#if defined(__AVX512F__)

struct Row {
    __m512 v;
};
inline Row zero() { return {_mm512_setzero_ps()}; }
inline Row load(const float* p) { return {_mm512_load_ps(p)}; }
inline Row load_bytes(const int8_t* p) {
    return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))))};
}
inline void store(float* p, Row x) { _mm512_store_ps(p, x.v); }
inline Row spread(float x) { return {_mm512_set1_ps(x)}; }
inline Row add(Row a, Row b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Row mul(Row a, Row b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Row fma(Row a, Row b, Row c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
// a + b where the sign bit of `sign` is set, else a.
inline Row add_where_negative(Row sign, Row a, Row b) {
    return {_mm512_mask_add_ps(a.v, _mm512_movepi32_mask(_mm512_castps_si512(sign.v)), a.v, b.v)};
}

// Two rows on their way to their sums: lanes j and j + 8 are added.
struct Pair {
    __m512 v;
};
inline Pair join(Row x, Row y) {
    return {_mm512_add_ps(_mm512_mask_blend_ps(0xFF00, x.v, y.v), _mm512_shuffle_f32x4(x.v, y.v, 0x4E))};
}

// The sums of sixteen rows from their eight pairs, in order: joins that halve the number of vectors, then one
// permutation, for they leave step 4 i + 2 h + e in lane 8 h + 4 e + i.
inline void sum16(const Pair* p, float* out) {
    __m512 four[4], two[2];
    for (int i = 0; i < 4; ++i) {
        const __m512 x = p[2 * i].v, y = p[2 * i + 1].v;
        four[i] = _mm512_add_ps(_mm512_shuffle_f32x4(x, y, 0xD8), _mm512_shuffle_f32x4(x, y, 0x8D));
    }
    for (int i = 0; i < 2; ++i) {
        const __m512 x = four[2 * i], y = four[2 * i + 1];
        two[i] = _mm512_add_ps(_mm512_shuffle_ps(x, y, 0x44), _mm512_shuffle_ps(x, y, 0xEE));
    }
    const __m512 all =
        _mm512_add_ps(_mm512_shuffle_ps(two[0], two[1], 0x88), _mm512_shuffle_ps(two[0], two[1], 0xDD));
    const __m512i lane = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_store_ps(out, _mm512_permutexvar_ps(lane, all));
}

#elif defined(__AVX2__) && defined(__FMA__)

struct Row {
    __m256 lo, hi;
};
inline Row zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
inline Row load(const float* p) { return {_mm256_load_ps(p), _mm256_load_ps(p + 8)}; }
inline Row load_bytes(const int8_t* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
}
inline void store(float* p, Row x) { _mm256_store_ps(p, x.lo), _mm256_store_ps(p + 8, x.hi); }
inline Row spread(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Row add(Row a, Row b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
inline Row mul(Row a, Row b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
inline Row fma(Row a, Row b, Row c) { return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)}; }
inline Row add_where_negative(Row sign, Row a, Row b) {
    return {_mm256_blendv_ps(a.lo, _mm256_add_ps(a.lo, b.lo), sign.lo),
            _mm256_blendv_ps(a.hi, _mm256_add_ps(a.hi, b.hi), sign.hi)};
}

struct Pair {
    __m256 v;  // lanes j, j + 8 and j + 4, j + 12 are added: four of x, four of y
};
inline Pair join(Row a, Row b) {
    const __m256 x = _mm256_add_ps(a.lo, a.hi), y = _mm256_add_ps(b.lo, b.hi);
    return {_mm256_add_ps(_mm256_blend_ps(x, y, 0xF0), _mm256_permute2f128_ps(x, y, 0x21))};
}

inline void sum16(const Pair* p, float* out) {
    for (int half = 0; half < 2; ++half, p += 4, out += 8) {
        __m256 two[2];
        for (int i = 0; i < 2; ++i) {
            const __m256 x = p[2 * i].v, y = p[2 * i + 1].v;
            two[i] = _mm256_add_ps(_mm256_shuffle_ps(x, y, 0x44), _mm256_shuffle_ps(x, y, 0xEE));
        }
        const __m256 x = _mm256_shuffle_ps(two[0], two[1], 0x88), y = _mm256_shuffle_ps(two[0], two[1], 0xDD);
        const __m256 all = _mm256_add_ps(x, y);  // the even steps, then the odd ones
        const __m128 even = _mm256_castps256_ps128(all), odd = _mm256_extractf128_ps(all, 1);
        _mm_store_ps(out, _mm_unpacklo_ps(even, odd));
        _mm_store_ps(out + 4, _mm_unpackhi_ps(even, odd));
    }
}

#else

struct Row {
    float v[16];
};
template <typename F>
inline Row each(F f) {
    Row r;
    for (int j = 0; j < 16; ++j) r.v[j] = f(j);
    return r;
}
inline Row zero() { return {}; }
inline Row load(const float* p) { return each([&](int j) { return p[j]; }); }
inline Row load_bytes(const int8_t* p) { return each([&](int j) { return float(p[j]); }); }
inline void store(float* p, Row x) { std::memcpy(p, x.v, sizeof x.v); }
inline Row spread(float x) { return each([&](int) { return x; }); }
inline Row add(Row a, Row b) { return each([&](int j) { return a.v[j] + b.v[j]; }); }
inline Row mul(Row a, Row b) { return each([&](int j) { return a.v[j] * b.v[j]; }); }
inline Row fma(Row a, Row b, Row c) { return each([&](int j) { return std::fma(a.v[j], b.v[j], c.v[j]); }); }
inline Row add_where_negative(Row sign, Row a, Row b) {
    return each([&](int j) { return std::signbit(sign.v[j]) ? a.v[j] + b.v[j] : a.v[j]; });
}

struct Pair {
    float x, y;
};
inline float sum(Row r) {
    for (int width = 8; width; width /= 2)
        for (int j = 0; j < width; ++j) r.v[j] += r.v[j + width];
    return r.v[0];
}
inline Pair join(Row x, Row y) { return {sum(x), sum(y)}; }
inline void sum16(const Pair* p, float* out) {
    for (int i = 0; i < 8; ++i) out[2 * i] = p[i].x, out[2 * i + 1] = p[i].y;
}

#endif

// table[code] of eight codes, -128 to 127.  Loads one by one: a gather instruction takes longer.
#if defined(__AVX512F__) && defined(__AVX512DQ__)
inline __m512d look_up8(const double* middle, const int8_t* code) {
    return _mm512_setr_pd(middle[code[0]], middle[code[1]], middle[code[2]], middle[code[3]], middle[code[4]],
                          middle[code[5]], middle[code[6]], middle[code[7]]);
}
#endif

// Sixteen float16, nearest even, of (sum + skip input) gate in FP64, rounded once: to float32 rounded to odd first
// (truncated, the last bit set when inexact), which makes the second rounding that of the number itself (Boldo and
// Melquiond, 2008).  gate: that of each step's code, `middle` being the gate of code 0.
#if defined(__AVX512F__) && defined(__AVX512DQ__)
inline void store_gated(uint16_t* out, const float* sum, const float* input, double skip, const double* middle,
                        const int8_t* code) {
    __m256 odd[2];
    for (int i = 0; i < 2; ++i) {
        const __m512d s = _mm512_cvtps_pd(_mm256_loadu_ps(sum + 8 * i)), u = _mm512_cvtps_pd(_mm256_loadu_ps(input + 8 * i));
        const __m512d bracket = _mm512_add_pd(s, _mm512_mul_pd(_mm512_set1_pd(skip), u));
        const __m512d x = _mm512_mul_pd(bracket, look_up8(middle, code + 8 * i));
        const __m256 cut = _mm512_cvt_roundpd_ps(x, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
        const __mmask8 inexact = _mm512_cmp_pd_mask(_mm512_cvtps_pd(cut), x, _CMP_NEQ_UQ);
        const __m256i bits = _mm256_castps_si256(cut);
        odd[i] = _mm256_castsi256_ps(_mm256_mask_or_epi32(bits, inexact, bits, _mm256_set1_epi32(1)));
    }
    const __m512 all = _mm512_insertf32x8(_mm512_castps256_ps512(odd[0]), odd[1], 1);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtps_ph(all, _MM_FROUND_TO_NEAREST_INT));
}
#else
inline float round_to_odd(double x) {
    float near = float(x);
    int32_t bits;
    std::memcpy(&bits, &near, 4);
    const double back = near;
    bits = (bits - (std::fabs(back) > std::fabs(x) ? 1 : 0)) | (back != x ? 1 : 0);
    std::memcpy(&near, &bits, 4);
    return near;
}

inline uint16_t half_of(float x) {
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7FFFFFFF;
    uint32_t half;
    if (size > 0x7F800000) {
        half = 0x7E00;  // NaN
    } else if (size >= 0x477FF000) {
        half = 0x7C00;  // 65520 and above round to infinity
    } else if (size < 0x38800000) {  // below 2^-14: adding 0.5 aligns the last bit of a subnormal half
        std::memcpy(&x, &size, 4);
        x += 0.5f;
        std::memcpy(&half, &x, 4);
        half -= 0x3F000000;
    } else {
        half = (size - 0x38000000 + 0xFFF + (size >> 13 & 1)) >> 13;
    }
    return uint16_t(sign | half);
}

inline void store_gated(uint16_t* out, const float* sum, const float* input, double skip, const double* middle,
                        const int8_t* code) {
    alignas(32) float odd[16];
    for (int i = 0; i < 16; ++i) odd[i] = round_to_odd((sum[i] + skip * input[i]) * middle[code[i]]);
#if defined(__AVX2__) && defined(__F16C__)
    for (int i = 0; i < 16; i += 8)
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                         _mm256_cvtps_ph(_mm256_load_ps(odd + i), _MM_FROUND_TO_NEAREST_INT));
#else
    for (int i = 0; i < 16; ++i) out[i] = half_of(odd[i]);
#endif
}
#endif

// Sixteen steps of four rows, `pitch` apart, as sixteen 8-byte numbers, `channels` apart.
inline void store_columns4(const uint16_t* rows, int64_t pitch, uint16_t* out, int64_t channels) {
#if defined(__AVX2__)
    const auto row = [&](int k) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(rows + k * pitch)); };
    const __m256i a = row(0), b = row(1), c = row(2), d = row(3);
    const __m256i pairs[4] = {_mm256_unpacklo_epi16(a, b), _mm256_unpacklo_epi16(c, d), _mm256_unpackhi_epi16(a, b),
                              _mm256_unpackhi_epi16(c, d)};
    for (int i = 0; i < 4; ++i) {  // steps 2 i, 2 i + 1 and, in the upper half, those eight on
        const __m256i x = pairs[i / 2 * 2], y = pairs[i / 2 * 2 + 1];
        const __m256i two = i % 2 ? _mm256_unpackhi_epi32(x, y) : _mm256_unpacklo_epi32(x, y);
        const __m128i low = _mm256_castsi256_si128(two), high = _mm256_extracti128_si256(two, 1);
        uint16_t* to = out + 2 * i * channels;
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to), low);
        _mm_storeh_pd(reinterpret_cast<double*>(to + channels), _mm_castsi128_pd(low));
        _mm_storel_epi64(reinterpret_cast<__m128i*>(to + 8 * channels), high);
        _mm_storeh_pd(reinterpret_cast<double*>(to + 9 * channels), _mm_castsi128_pd(high));
    }
#else
    for (int t = 0; t < 16; ++t) {
        const uint16_t four[4] = {rows[t], rows[pitch + t], rows[2 * pitch + t], rows[3 * pitch + t]};
        std::memcpy(out + t * channels, four, 8);
    }
#endif
}

}  // namespace vector16
