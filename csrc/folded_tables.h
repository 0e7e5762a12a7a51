// What the `folded` scan on a CPU looks up: per channel the step size and the decays of every code of dt, built in FP64.
//
// Every product that a sum follows is fused by name or not at all, so that every build gives the same bits; no loop has a
// branch inside, so that compilers vectorize it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "folded.h"

namespace folded {

constexpr int kCodes = 256;  // of dt; a table's row of code q is the (q + 128)th

// 2^x as power * (1 + fraction), relative error of either below 2^-43: the Chebyshev polynomial of (2^r - 1) / r on
// |r| <= 1/2.
struct Exp2 {
    double power, fraction;
    // Apart, because 2^x - 1 has no digits left of a small 2^x, nor 2^x of a small 2^x - 1.
    double value() const { return std::fma(power, fraction, power); }
    double less_one() const { return std::fma(power, fraction, power - 1.0); }
};
inline Exp2 exp2_of(double x) {
    x = x > -1000.0 ? x : -1000.0;
    x = x < 1000.0 ? x : 1000.0;
    constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: adding it leaves an integer in the low bits
    const double shifted = x + kRound, r = x - (shifted - kRound);
    double p = 1.0203121063391729e-07;
    p = std::fma(p, r, 1.3255224878668817e-06);
    p = std::fma(p, r, 1.525268684626772e-05);
    p = std::fma(p, r, 0.00015403455852453838);
    p = std::fma(p, r, 0.0013333558179043112);
    p = std::fma(p, r, 0.009618129159402558);
    p = std::fma(p, r, 0.055504108664760424);
    p = std::fma(p, r, 0.2402265069581299);
    p = std::fma(p, r, 0.6931471805599453);
    int64_t bits;
    std::memcpy(&bits, &shifted, 8);
    bits = (bits + 1023) << 52;
    double power;
    std::memcpy(&power, &bits, 8);
    return {power, p * r};
}

// log(1 + e^x) without overflow: max(x, 0) + 2 atanh(e / (2 + e)) with e = e^-|x|; relative error below 2^-42.
inline double softplus_of(double x) {
    const double size = x < 0 ? -x : x, e = exp2_of(size * -1.4426950408889634074).value();
    const double s = e / (2.0 + e), q = s * s;
    double p = 1.0 / 27;
    for (int k = 25; k > 0; k -= 2) p = p * q + 1.0 / k;
    return (x > 0 ? x : 0.0) + 2.0 * s * p;
}

// What the table holds for 2^x: 2^x - 1, with its sign bit set, from 1/2 to 1; else 2^x.
inline float entry(double x) {
    const Exp2 power = exp2_of(x);
    return float(x >= -1.0 && x <= 0.0 ? -std::fabs(power.less_one()) : power.value());
}

// The decay that an entry stands for.
inline double decay_of(float held) { return std::signbit(held) ? 1.0 + double(held) : double(held); }

struct ChannelScales {
    double dt, bias, A_log;
    bool softplus;
};

// The codes that occur in `count` rows of dt, `pitch` apart, each `l` long: which, and the first and last of them.
struct CodesInUse {
    bool used[kCodes];
    int first = kCodes, last = -1;

    CodesInUse(const int8_t* dt, int64_t pitch, int64_t count, int64_t l) {
        const bool many = count * l >= 1024;  // looking at each code would cost more than rows that nobody reads
        if (!many) std::fill(used, used + kCodes, false);
        int low = 127, high = -128;
        for (int64_t i = 0; i < count; ++i, dt += pitch) {
            int8_t least = 127, most = -128;
            for (int64_t t = 0; t < l; ++t) least = std::min(least, dt[t]), most = std::max(most, dt[t]);
            low = std::min<int>(low, least), high = std::max<int>(high, most);
            for (int64_t t = 0; !many && t < l; ++t) used[dt[t] + 128] = true;
        }
        first = low + 128, last = high + 128;
        if (many) std::fill(used + first, used + last + 1, true);
    }
};

// A channel's step sizes (256) and entries of decay (256, width), those in use.  `A_log`: the channel's n codes.
inline void channel_tables(const ChannelScales& scale, const int8_t* bias, const int8_t* A_log, int64_t n, int64_t width,
                           const CodesInUse& codes, float* __restrict step, float* __restrict decay) {
    alignas(64) double sizes[kCodes], rate[kCodes];
    const double shift = bias ? scale.bias * *bias : 0.0;
    for (int code = codes.first; code <= codes.last; ++code) sizes[code] = scale.dt * (code - 128) + shift;
    if (scale.softplus)
        for (int code = codes.first; code <= codes.last; ++code) sizes[code] = softplus_of(sizes[code]);
    for (int code = codes.first; code <= codes.last; ++code) step[code] = float(sizes[code]);
    for (int64_t k = 0; k < width; ++k) rate[k] = k < n ? decay_rate(exp(scale.A_log * A_log[k])) : 0.0;
    for (int code = codes.first; code <= codes.last; ++code) {
        if (!codes.used[code]) continue;
        float* row = decay + code * width;
        for (int64_t r = 0; r < width; r += 16)
            for (int k = 0; k < 16; ++k) row[r + k] = entry(sizes[code] * rate[r + k]);
    }
}

}  // namespace folded
