/* What lock-step needs of an emulated board, its UART, and what that runs. */
#ifndef RELAY_UART_H
#define RELAY_UART_H

#include <stdint.h>

void uart_start(void);

/* Waits for room, and for a byte; asleep, so that an idle machine costs nothing. */
void uart_put(uint8_t byte);
uint8_t uart_get(void);

/* Serves the simulator for ever. */
_Noreturn void lockstep_run(void);

#endif
