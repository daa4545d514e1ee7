/* Counts what of the compiled core runs for the first time: gcc and clang call this at every edge (trace-pc).
   `edges` is whose map it is to be new in; campaign.py sets it. */
#include <stdint.h>

static uint8_t nobodys[1 << 16];
uint8_t *edges = nobodys;
uint64_t edges_new;

void __sanitizer_cov_trace_pc(void) {
    uintptr_t at = (uintptr_t)__builtin_return_address(0);
    uint8_t *edge = edges + ((at ^ at >> 16) & 0xFFFF);
    if (!*edge) {
        *edge = 1;
        edges_new++;
    }
}
