// half and bfloat16: sixteen bits of storage; arithmetic in float, rounded after each operation.
#pragma once

inline uint16_t cuda_on_cpu_half_bits(float value) {
    const uint32_t bits = __float_as_uint(value), magnitude = bits & 0x7fffffffu;
    const uint16_t sign = uint16_t(bits >> 16 & 0x8000u);
    if (magnitude > 0x7f800000u) return sign | 0x7e00u;
    if (magnitude >= 0x477ff000u) return sign | 0x7c00u; // rounds to 65536 or more
    if (magnitude < 0x38800000u) {                       // subnormal: multiples of 2^-24
        const float scaled = __uint_as_float(magnitude) * 16777216.0f;
        return sign | uint16_t(nearbyintf(scaled));
    }
    const uint32_t rounded = magnitude + 0xfffu + (magnitude >> 13 & 1u);
    return sign | uint16_t((rounded - 0x38000000u) >> 13);
}
inline float cuda_on_cpu_half_value(uint16_t bits) {
    const uint32_t sign = uint32_t(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * float(fraction) / 16777216.0f;
    return __uint_as_float(sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13);
}
inline uint16_t cuda_on_cpu_bfloat16_bits(float value) {
    const uint32_t bits = __float_as_uint(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
    return uint16_t((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}
inline float cuda_on_cpu_bfloat16_value(uint16_t bits) { return __uint_as_float(uint32_t(bits) << 16); }

// A type of sixteen bits with arithmetic, its pair, and the conversions that CUDA names alike for both.
#define CUDA_ON_CPU_SMALL_FLOAT(Name, short_name, Pair, encode, decode)                                      \
    struct __align__(2) Name {                                                                               \
        uint16_t bits;                                                                                       \
        Name() = default;                                                                                    \
        Name(float value) : bits(encode(value)) {}                                                           \
        Name(double value) : bits(encode(float(value))) {}                                                   \
        Name(int value) : bits(encode(float(value))) {}                                                      \
        Name(unsigned value) : bits(encode(float(value))) {}                                                 \
        Name(long value) : bits(encode(float(value))) {}                                                     \
        Name(unsigned long value) : bits(encode(float(value))) {}                                            \
        operator float() const { return decode(bits); }                                                      \
        Name& operator+=(Name other) { return *this = Name(float(*this) + float(other)); }                   \
        Name& operator-=(Name other) { return *this = Name(float(*this) - float(other)); }                   \
        Name& operator*=(Name other) { return *this = Name(float(*this) * float(other)); }                   \
        Name& operator/=(Name other) { return *this = Name(float(*this) / float(other)); }                   \
    };                                                                                                       \
    inline Name operator+(Name x, Name y) { return Name(float(x) + float(y)); }                              \
    inline Name operator-(Name x, Name y) { return Name(float(x) - float(y)); }                              \
    inline Name operator*(Name x, Name y) { return Name(float(x) * float(y)); }                              \
    inline Name operator/(Name x, Name y) { return Name(float(x) / float(y)); }                              \
    inline Name operator-(Name x) { return Name(-float(x)); }                                                \
    inline bool operator<(Name x, Name y) { return float(x) < float(y); }                                    \
    inline bool operator>(Name x, Name y) { return float(x) > float(y); }                                    \
    inline bool operator<=(Name x, Name y) { return float(x) <= float(y); }                                  \
    inline bool operator>=(Name x, Name y) { return float(x) >= float(y); }                                  \
    inline bool operator==(Name x, Name y) { return float(x) == float(y); }                                  \
    inline bool operator!=(Name x, Name y) { return float(x) != float(y); }                                  \
    struct __align__(4) Pair {                                                                               \
        Name x, y;                                                                                           \
        Pair() = default;                                                                                    \
        Pair(Name x, Name y) : x(x), y(y) {}                                                                 \
    };                                                                                                       \
    inline Name __float2##short_name(float value) { return Name(value); }                                    \
    inline Name __float2##short_name##_rn(float value) { return Name(value); }                               \
    inline float __##short_name##2float(Name value) { return float(value); }                                 \
    inline Name __int2##short_name##_rn(int value) { return Name(value); }                                   \
    inline Name __ushort_as_##short_name(unsigned short bits) {                                              \
        Name value;                                                                                          \
        value.bits = bits;                                                                                   \
        return value;                                                                                        \
    }                                                                                                        \
    inline unsigned short __##short_name##_as_ushort(Name value) { return value.bits; }                      \
    inline Name __hadd(Name x, Name y) { return x + y; }                                                     \
    inline Name __hsub(Name x, Name y) { return x - y; }                                                     \
    inline Name __hmul(Name x, Name y) { return x * y; }                                                     \
    inline Name __hdiv(Name x, Name y) { return x / y; }                                                     \
    inline Name __hneg(Name x) { return -x; }                                                                \
    inline Name __hfma(Name x, Name y, Name z) { return Name(fmaf(float(x), float(y), float(z))); }          \
    inline Name __hmax(Name x, Name y) { return Name(fmaxf(x, y)); }                                         \
    inline Name __hmin(Name x, Name y) { return Name(fminf(x, y)); }                                         \
    inline bool __hlt(Name x, Name y) { return x < y; }                                                      \
    inline bool __hgt(Name x, Name y) { return x > y; }                                                      \
    inline Name hexp(Name x) { return Name(expf(x)); }                                                       \
    inline Name hlog(Name x) { return Name(logf(x)); }                                                       \
    inline Name hsqrt(Name x) { return Name(sqrtf(x)); }                                                     \
    inline Pair __hadd2(Pair a, Pair b) { return {a.x + b.x, a.y + b.y}; }                                   \
    inline Pair __hsub2(Pair a, Pair b) { return {a.x - b.x, a.y - b.y}; }                                   \
    inline Pair __hmul2(Pair a, Pair b) { return {a.x * b.x, a.y * b.y}; }                                   \
    inline Pair __hfma2(Pair a, Pair b, Pair c) { return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)}; }   \
    inline Name __low2##short_name(Pair pair) { return pair.x; }                                             \
    inline Name __high2##short_name(Pair pair) { return pair.y; }                                            \
    inline Pair __floats2##short_name##2_rn(float x, float y) { return {Name(x), Name(y)}; }                 \
    inline Pair __float22##short_name##2_rn(float2 pair) { return {Name(pair.x), Name(pair.y)}; }            \
    inline Pair __##short_name##2##short_name##2(Name value) { return {value, value}; }                      \
    inline Pair __halves2##short_name##2(Name x, Name y) { return {x, y}; }
