// <device_launch_parameters.h> for the CPU: what kernels need is there already.
#pragma once
