/* The vector table of a Cortex-M3, and what comes before C. */
#include <stdint.h>

#include "uart.h"

extern uint32_t _stack_top, data_load, data_start, data_end, bss_start, bss_end;

_Noreturn void start(void);
_Noreturn void fault(void);

_Noreturn void start(void)
{
    const uint32_t *from = &data_load;

    for (uint32_t *to = &data_start; to < &data_end; to++) {
        *to = *from++;
    }
    for (uint32_t *to = &bss_start; to < &bss_end; to++) {
        *to = 0;
    }
    lockstep_run();
}

_Noreturn void fault(void)
{
    for (;;) {
    }
}

/* Only the UART's interrupt is enabled, and PRIMASK keeps it from being taken: it wakes WFI. */
static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} VECTORS __attribute__((section(".vectors"), used)) = {
    &_stack_top,
    {start, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault, fault},
};
