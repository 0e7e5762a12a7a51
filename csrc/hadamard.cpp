// The fast Hadamard transform of quamba_lab/hadamard.py on a CPU: the same additions in the same order, so the same bits.
//
// H = H_base x H_(2^k).  Rows are independent: sixteen at a time are laid side by side, so that each addition of the
// definition is one of sixteen lanes; first the butterflies of the power of two, strides 1, 2, 4, ..., then the base
// matrix, its terms from left to right.  A product with a sign is exact, so a sum of such products rounds as the sum and
// difference of the definition do.
#include <cstdint>
#include <vector>

namespace {

constexpr int kLanes = 16;
constexpr int64_t kWorthThreads = 1 << 17;  // elements below which waking threads costs more than they save

template <typename T>
void butterflies(T* x, int64_t n, int k) {
    for (int64_t stride = 1; stride < int64_t(1) << k; stride *= 2)
        for (int64_t first = 0; first < n; first += 2 * stride)
            for (int64_t i = first; i < first + stride; ++i) {
                T *__restrict upper = x + i * kLanes, *__restrict lower = upper + stride * kLanes;
                for (int j = 0; j < kLanes; ++j) {
                    const T u = upper[j], v = lower[j];
                    upper[j] = u + v;
                    lower[j] = u - v;
                }
            }
}

// out = (base matrix x identity) x; signs (base, base) of +-1.
template <typename T>
void base_matrix(const T* __restrict x, T* __restrict out, int64_t n, int base, const T* __restrict signs) {
    const int64_t chunk = n / base;
    for (int64_t i = 0; i < chunk; ++i)
        for (int row = 0; row < base; ++row) {
            const T* sign = signs + row * base;
            T sum[kLanes];
            for (int j = 0; j < kLanes; ++j) sum[j] = x[i * kLanes + j] * sign[0];
            for (int c = 1; c < base; ++c)
                for (int j = 0; j < kLanes; ++j) sum[j] += x[(c * chunk + i) * kLanes + j] * sign[c];
            for (int j = 0; j < kLanes; ++j) out[(row * chunk + i) * kLanes + j] = sum[j];
        }
}

template <typename T>
void transform(const T* x, T* out, int64_t rows, int64_t n, int base, int k, const int8_t* matrix, double scale) {
    const std::vector<T> signs(matrix, matrix + base * base);
    const T factor = static_cast<T>(scale);
    const int64_t blocks = (rows + kLanes - 1) / kLanes;
#pragma omp parallel if (rows * n > kWorthThreads)
    {
        std::vector<T> from(n * kLanes), to(base > 1 ? n * kLanes : 0);
#pragma omp for schedule(static)
        for (int64_t block = 0; block < blocks; ++block) {
            const int64_t first = block * kLanes, count = rows - first < kLanes ? rows - first : kLanes;
            for (int64_t i0 = 0; i0 < n; i0 += kLanes)  // square pieces, which the first-level cache holds
                for (int64_t j = 0; j < count; ++j)
                    for (int64_t i = i0; i < n && i < i0 + kLanes; ++i) from[i * kLanes + j] = x[(first + j) * n + i];
            butterflies(from.data(), n, k);
            if (base > 1) base_matrix(from.data(), to.data(), n, base, signs.data());
            const T* result = base > 1 ? to.data() : from.data();
            for (int64_t i0 = 0; i0 < n; i0 += kLanes)
                for (int64_t j = 0; j < count; ++j)
                    for (int64_t i = i0; i < n && i < i0 + kLanes; ++i)
                        out[(first + j) * n + i] = result[i * kLanes + j] * factor;
        }
    }
}

}  // namespace

// x, out (rows, n); matrix (base, base) of +-1; n = base 2^k.  Every result is multiplied by `scale` once.
extern "C" void hadamard_f32(const float* x, float* out, int64_t rows, int64_t n, int base, int k, const int8_t* matrix,
                             double scale) {
    transform(x, out, rows, n, base, k, matrix, scale);
}

extern "C" void hadamard_f64(const double* x, double* out, int64_t rows, int64_t n, int base, int k,
                             const int8_t* matrix, double scale) {
    transform(x, out, rows, n, base, k, matrix, scale);
}
