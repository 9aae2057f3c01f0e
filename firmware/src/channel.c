#include "channel.h"

#include "band.h"

struct channel channel_default(void)
{
    return (struct channel){
        .frequency_hz = 869525000,
        .modulation = {.bandwidth_hz = 125000, .spreading_factor = 7, .coding_rate = 5, .preamble = CHANNEL_PREAMBLE},
        .power_dbm = 14,
    };
}

bool channel_allowed(const struct channel *channel)
{
    if (!rmn_modulation_valid(&channel->modulation) || channel->power_dbm < CHANNEL_POWER_MIN_DBM) {
        return false;
    }
    const uint32_t band = band_of(channel->frequency_hz, channel->modulation.bandwidth_hz);
    return band != BAND_NONE && channel->power_dbm <= band_at(band)->power_max_dbm
           && channel_airtime_us(channel, RMN_AIR_FRAME_SIZE_MAX) <= CHANNEL_AIRTIME_MAX_US;
}

uint32_t channel_airtime_us(const struct channel *channel, uint32_t size)
{
    return rmn_airtime_us(&channel->modulation, size);
}

/* A frame of 255 bytes lasts 2 ms and more at every allowed setting, so that its milliseconds divide it well enough. */
uint32_t channel_bps(const struct channel *channel)
{
    const uint32_t airtime_ms = (channel_airtime_us(channel, RMN_AIR_FRAME_SIZE_MAX) + 999) / 1000;

    return RMN_AIR_FRAME_SIZE_MAX * 8 * 1000 / airtime_ms;
}
