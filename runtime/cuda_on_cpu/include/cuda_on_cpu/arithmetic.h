// Device functions of one thread: numbers and bits.
#pragma once

// Macros, because the C library has functions of some of these names.
#define __expf(x) expf(x)
#define __exp10f(x) powf(10.0f, x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanf(x) tanf(x)
#define rsqrtf(x) (1.0f / sqrtf(x))
#define rsqrt(x) (1.0 / sqrt(x))

#define CUDA_ON_CPU_ROUNDED(suffix)                                                                          \
    inline float __fadd_##suffix(float x, float y) { return x + y; }                                         \
    inline float __fsub_##suffix(float x, float y) { return x - y; }                                         \
    inline float __fmul_##suffix(float x, float y) { return x * y; }                                         \
    inline float __fdiv_##suffix(float x, float y) { return x / y; }                                         \
    inline float __fmaf_##suffix(float x, float y, float z) { return fmaf(x, y, z); }                        \
    inline float __fsqrt_##suffix(float x) { return sqrtf(x); }                                              \
    inline float __frcp_##suffix(float x) { return 1.0f / x; }
CUDA_ON_CPU_ROUNDED(rn)
inline float __fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float fdividef(float x, float y) { return x / y; }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }

using std::max;
using std::min;
inline unsigned min(unsigned x, int y) { return min(x, unsigned(y)); }
inline unsigned min(int x, unsigned y) { return min(unsigned(x), y); }
inline unsigned max(unsigned x, int y) { return max(x, unsigned(y)); }
inline unsigned max(int x, unsigned y) { return max(unsigned(x), y); }
inline double min(float x, double y) { return fmin(double(x), y); }
inline double min(double x, float y) { return fmin(x, double(y)); }
inline double max(float x, double y) { return fmax(double(x), y); }
inline double max(double x, float y) { return fmax(x, double(y)); }

template <class To, class From> inline To cuda_on_cpu_bits(From value) {
    static_assert(sizeof(To) == sizeof(From), "as many bits");
    To result;
    __builtin_memcpy(&result, &value, sizeof result);
    return result;
}
inline int __float_as_int(float x) { return cuda_on_cpu_bits<int>(x); }
inline unsigned __float_as_uint(float x) { return cuda_on_cpu_bits<unsigned>(x); }
inline float __int_as_float(int x) { return cuda_on_cpu_bits<float>(x); }
inline float __uint_as_float(unsigned x) { return cuda_on_cpu_bits<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_on_cpu_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_on_cpu_bits<double>(x); }
inline int __float2int_rn(float x) { return int(nearbyintf(x)); }
inline int __float2int_rz(float x) { return int(x); }
inline int __float2int_rd(float x) { return int(floorf(x)); }
inline int __float2int_ru(float x) { return int(ceilf(x)); }
inline unsigned __float2uint_rn(float x) { return unsigned(nearbyintf(x)); }
inline unsigned __float2uint_rz(float x) { return unsigned(x); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
    unsigned result = 0;
    for (int bit = 0; bit < 32; ++bit) result |= (x >> bit & 1u) << (31 - bit);
    return result;
}
inline int __mul24(int x, int y) { return x * y; }
inline unsigned __umul24(unsigned x, unsigned y) { return x * y; }
inline int __mulhi(int x, int y) { return int((long long)x * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned((unsigned long long)x * y >> 32); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
    return unsigned((((unsigned long long)high << 32) | low) << (shift & 31) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
    return unsigned((((unsigned long long)high << 32) | low) >> (shift & 31));
}

// Loads past a cache are loads.
template <class T> inline T __ldg(const T* from) { return *from; }
template <class T> inline T __ldcg(const T* from) { return *from; }
template <class T> inline T __ldca(const T* from) { return *from; }
template <class T> inline T __ldcs(const T* from) { return *from; }
template <class T> inline void __stcs(T* to, T value) { *to = value; }
template <class T> inline void __stcg(T* to, T value) { *to = value; }

CUDA_ON_CPU_PLAIN inline long long clock64() {
    static long long ticks = 0;
    return ++ticks;
}
inline clock_t clock() { return clock_t(clock64()); }
inline void __nanosleep(unsigned) { cuda_on_cpu_yield(); }
inline void __trap() { abort(); }
