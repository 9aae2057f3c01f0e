/* All that the portable firmware knows of a board: its clock, its host link, its radio's wires and two sectors of its flash.
 *
 * One rule: nothing else reaches hardware. A board folder implements these functions and owns `struct board`; they are found at link
 * time, not through pointers, so that the call graph is closed and the deepest stack can be told from it. */
#ifndef RELAY_HAL_H
#define RELAY_HAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HAL_FLASH_SECTORS 2u
#define HAL_FLASH_SECTOR_SIZE 4096u

struct board;

/* Microseconds since the board started; never goes back. */
uint64_t hal_now_us(struct board *board);

/* Waits, and returns no sooner. Only for pulses and start-up: at most some milliseconds. */
void hal_wait_us(struct board *board, uint32_t us);

/* A word from whatever the board has of randomness. Not trusted alone: see identity.c. */
uint32_t hal_entropy(struct board *board);

/* Sends bytes to the host. May block for as long as the line takes. */
void hal_host_put(struct board *board, const uint8_t *bytes, size_t n);

/* One SPI transaction with the radio, NSS low throughout: sends n bytes of `out`, receives n into `in`; they may be the same. */
void hal_radio_transfer(struct board *board, const uint8_t *out, uint8_t *in, size_t n);

/* The radio's reset line, pulled low for as long as it takes. */
void hal_radio_reset(struct board *board);

/* The level of BUSY, and of DIO1. */
bool hal_radio_busy(struct board *board);
bool hal_radio_interrupt(struct board *board);

/* The two sectors, addressed from 0 to HAL_FLASH_SECTORS * HAL_FLASH_SECTOR_SIZE. Erasing sets a sector to FF; writing can only clear bits and
 * must not cross a page of 256 bytes. False when the flash did not do it. */
bool hal_flash_read(struct board *board, uint32_t at, uint8_t *out, size_t n);
bool hal_flash_erase(struct board *board, uint32_t sector);
bool hal_flash_write(struct board *board, uint32_t at, const uint8_t *in, size_t n);

#endif
