#pragma once

namespace phidias::cpu {

// AVX-VNNI (vpdpbusd without AVX-512) together with AVX2 and the operating system's support of its registers. GCC 12's
// __builtin_cpu_supports doesn't know it.
bool HasAvxVnni();

}  // namespace phidias::cpu
