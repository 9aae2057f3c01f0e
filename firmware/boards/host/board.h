/* A board inside a process: its radio is a callback, its flash an array, its clock whatever each step says. README.md has the functions. */
#ifndef RELAY_HOST_BOARD_H
#define RELAY_HOST_BOARD_H

#include <stddef.h>
#include <stdint.h>

struct board;

typedef void host_transfer(void *context, const uint8_t *out, uint8_t *in, size_t n);
typedef void host_reset(void *context);

enum { HOST_PIN_DIO1 = 1, HOST_PIN_BUSY = 2 };

struct board *host_new(void *context, host_transfer *transfer, host_reset *reset, uint32_t seed);
void host_free(struct board *board);
uint64_t host_step(struct board *board, uint64_t now_us, uint32_t pins);
void host_feed(struct board *board, const uint8_t *bytes, size_t n);
size_t host_take(struct board *board, uint8_t *out, size_t room);
uint8_t *host_flash(struct board *board);
void host_cut_flash(struct board *board, uint32_t after);

#endif
