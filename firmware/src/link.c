#include "link.h"

#include "core/bytes.h"
#include "core/kiss.h"

static void put_escaped(struct board *board, uint8_t byte)
{
    uint8_t out[2];

    hal_host_put(board, out, rmn_kiss_escape(byte, out));
}

void link_put(struct board *board, uint8_t command, const uint8_t *data, size_t n)
{
    const uint8_t fend = RMN_KISS_FEND;

    hal_host_put(board, &fend, 1);
    put_escaped(board, command);
    for (size_t i = 0; i < n; i++) {
        put_escaped(board, data[i]);
    }
    hal_host_put(board, &fend, 1);
}

void link_put_byte(struct board *board, uint8_t command, uint8_t value)
{
    link_put(board, command, &value, 1);
}

void link_put_word(struct board *board, uint8_t command, uint32_t value)
{
    uint8_t bytes[4];

    rmn_store_be32(bytes, value);
    link_put(board, command, bytes, sizeof bytes);
}
