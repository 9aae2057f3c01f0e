#include "band.h"

static const struct band BANDS[BAND_COUNT] = {
    {863000000, 865000000, 10, 14},
    {865000000, 868000000, 100, 14},
    {868000000, 868600000, 100, 14},
    {868700000, 869200000, 10, 14},
    {869400000, 869650000, 1000, 22}, /* 27 dBm ERP are allowed; 22 dBm is all that an SX1262 has */
    {869700000, 870000000, 100, 14},
};

uint32_t band_of(uint32_t frequency_hz, uint32_t bandwidth_hz)
{
    for (uint32_t i = 0; i < BAND_COUNT; i++) {
        if (frequency_hz >= BANDS[i].low_hz && frequency_hz - BANDS[i].low_hz >= bandwidth_hz / 2 && frequency_hz <= BANDS[i].high_hz
            && BANDS[i].high_hz - frequency_hz >= bandwidth_hz / 2) {
            return i;
        }
    }
    return BAND_NONE;
}

const struct band *band_at(uint32_t index)
{
    return &BANDS[index];
}

uint32_t band_budget_us(uint32_t index)
{
    return BANDS[index].duty_per_10000 * (BAND_HOUR_US / 10000);
}
