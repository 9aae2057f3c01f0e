/* The wires to the radio, as the Heltec HT-CT62 has them, and what goes over them. */
#ifndef RELAY_WIRES_H
#define RELAY_WIRES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void wires_start(void);
bool wires_busy(void);
bool wires_interrupt(void);
void wires_reset(bool pulled);
void wires_transfer(const uint8_t *out, uint8_t *in, size_t n);

#endif
