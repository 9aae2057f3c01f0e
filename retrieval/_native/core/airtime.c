#include "airtime.h"

enum { WIDEST_HZ = 500000, WIDEST_CHIP_US = 2, NARROWEST_CHIP_US = 64, LOW_DATA_RATE_SYMBOL_US = 16000 };

uint32_t rmn_chip_us(uint32_t bandwidth_hz)
{
    for (uint32_t chip_us = WIDEST_CHIP_US; chip_us <= NARROWEST_CHIP_US; chip_us *= 2) {
        if (bandwidth_hz == WIDEST_HZ * WIDEST_CHIP_US / chip_us) {
            return chip_us;
        }
    }
    return 0;
}

bool rmn_modulation_valid(const struct rmn_modulation *modulation)
{
    return rmn_chip_us(modulation->bandwidth_hz) != 0 && modulation->spreading_factor >= RMN_SPREADING_FACTOR_MIN
           && modulation->spreading_factor <= RMN_SPREADING_FACTOR_MAX && modulation->coding_rate >= RMN_CODING_RATE_MIN
           && modulation->coding_rate <= RMN_CODING_RATE_MAX && modulation->preamble >= RMN_PREAMBLE_MIN
           && modulation->preamble <= RMN_PREAMBLE_MAX;
}

uint32_t rmn_symbol_us(const struct rmn_modulation *modulation)
{
    return rmn_chip_us(modulation->bandwidth_hz) << modulation->spreading_factor;
}

bool rmn_low_data_rate(const struct rmn_modulation *modulation)
{
    return rmn_symbol_us(modulation) >= LOW_DATA_RATE_SYMBOL_US;
}

/* The formula counts quarters of a symbol, because a preamble ends with 4.25 symbols, or 6.25 below SF7. All fits 32 bits: the longest
 * frame, 255 bytes at SF12, 15.6 kHz and 4/8 behind 1024 symbols, has 5,777 quarters of 65.5 ms, 379 s. */
uint32_t rmn_airtime_us(const struct rmn_modulation *modulation, size_t size)
{
    const uint32_t spreading = modulation->spreading_factor;
    const bool long_header = spreading >= 7;
    const uint32_t bits_sent = 8 * (uint32_t)size + 16 + 20 + (long_header ? 8 : 0);
    const uint32_t bits_in_header = 4 * spreading;
    const uint32_t bits = bits_sent > bits_in_header ? bits_sent - bits_in_header : 0;
    const uint32_t bits_a_block = 4 * (spreading - (long_header && rmn_low_data_rate(modulation) ? 2 : 0));
    const uint32_t n_blocks = (bits + bits_a_block - 1) / bits_a_block;
    const uint32_t symbols = modulation->preamble + 8u + n_blocks * modulation->coding_rate;
    const uint32_t quarters = 4 * symbols + (long_header ? 17 : 25);

    return quarters * (rmn_symbol_us(modulation) / 4);
}
