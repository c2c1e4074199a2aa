// <cuda_runtime.h> for the CPU: what kernels need is there already.
#pragma once
