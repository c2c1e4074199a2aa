// <cuda_bf16.h> for the CPU: __nv_bfloat16 and its pair.
#pragma once
#include "cuda_on_cpu/small_floats.h"

CUDA_ON_CPU_SMALL_FLOAT(__nv_bfloat16, bfloat16, __nv_bfloat162, cuda_on_cpu_bfloat16_bits, cuda_on_cpu_bfloat16_value)
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;

inline float2 __bfloat1622float2(nv_bfloat162 pair) { return {float(pair.x), float(pair.y)}; }
inline nv_bfloat162 __float2bfloat162_rn(float value) { return {nv_bfloat16(value), nv_bfloat16(value)}; }
