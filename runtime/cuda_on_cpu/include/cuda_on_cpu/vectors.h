// The built-in vector types; float4 and its like need addresses that are multiples of their size.
#pragma once

#define CUDA_ON_CPU_VECTORS(name, type, align2, align4)                                                  \
    struct name##1 { type x; };                                                                          \
    struct __align__(align2) name##2 { type x, y; };                                                     \
    struct name##3 { type x, y, z; };                                                                    \
    struct __align__(align4) name##4 { type x, y, z, w; };                                               \
    inline name##1 make_##name##1(type x) { return {x}; }                                                \
    inline name##2 make_##name##2(type x, type y) { return {x, y}; }                                     \
    inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                          \
    inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

CUDA_ON_CPU_VECTORS(char, signed char, 2, 4)
CUDA_ON_CPU_VECTORS(uchar, unsigned char, 2, 4)
CUDA_ON_CPU_VECTORS(short, short, 4, 8)
CUDA_ON_CPU_VECTORS(ushort, unsigned short, 4, 8)
CUDA_ON_CPU_VECTORS(int, int, 8, 16)
CUDA_ON_CPU_VECTORS(uint, unsigned, 8, 16)
CUDA_ON_CPU_VECTORS(long, long, 16, 16)
CUDA_ON_CPU_VECTORS(ulong, unsigned long, 16, 16)
CUDA_ON_CPU_VECTORS(longlong, long long, 16, 16)
CUDA_ON_CPU_VECTORS(ulonglong, unsigned long long, 16, 16)
CUDA_ON_CPU_VECTORS(float, float, 8, 16)
CUDA_ON_CPU_VECTORS(double, double, 16, 16)

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
    constexpr dim3(uint3 from) : x(from.x), y(from.y), z(from.z) {}
};
