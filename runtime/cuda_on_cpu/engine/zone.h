// Bytes on both sides of the section of shared arrays.
#pragma once

static const int ZONE = 1 << 14;
extern "C" {
extern char __start_cuda_shared_before[] __attribute__((visibility("hidden")));
extern char __stop_cuda_shared_past[] __attribute__((visibility("hidden")));
}
