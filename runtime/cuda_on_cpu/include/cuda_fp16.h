// <cuda_fp16.h> for the CPU: __half and its pair.
#pragma once
#include "cuda_on_cpu/small_floats.h"

CUDA_ON_CPU_SMALL_FLOAT(__half, half, __half2, cuda_on_cpu_half_bits, cuda_on_cpu_half_value)
typedef __half half;
typedef __half2 half2;

inline float2 __half22float2(half2 pair) { return {float(pair.x), float(pair.y)}; }
inline half2 __float2half2_rn(float value) { return {half(value), half(value)}; }
inline half2 make_half2(half x, half y) { return {x, y}; }
inline float __low2float(half2 pair) { return pair.x; }
inline float __high2float(half2 pair) { return pair.y; }
