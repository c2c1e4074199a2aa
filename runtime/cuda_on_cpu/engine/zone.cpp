// Comes first in a library's link: see engine.cpp.
#include "zone.h"

__attribute__((section("cuda_shared_before"), used)) static char before[ZONE];
