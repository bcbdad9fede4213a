// Loops that the compiler vectorises, compiled for several instruction sets; which one runs is decided by the CPU at hand. For
// element-wise arithmetic without contraction, and integers: all give the same bits.
#pragma once

#define DTRAIN_CLONES [[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
