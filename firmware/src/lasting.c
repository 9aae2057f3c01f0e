#include "lasting.h"

enum { AIRTIME_SHARES = 8 }; /* an eighth of a budget is reserved at once: eight writes an hour at full use */

#define SETTINGS_REST_US 60000000u   /* between two writes of settings, so that no host wears the flash out */
#define COUNTERS_REST_US 3600000000u /* between two writes of counters */

_Static_assert(sizeof(struct lasting_record) <= JOURNAL_RECORD_SIZE, "a record is one page of flash");

union record_bytes {
    struct lasting_record record;
    uint8_t bytes[JOURNAL_RECORD_SIZE];
};

static void set_defaults(struct lasting_record *record)
{
    const struct channel channel = channel_default();

    *record = (struct lasting_record){
        .settings =
            {
                .frequency_hz = channel.frequency_hz,
                .bandwidth_hz = channel.modulation.bandwidth_hz,
                .spreading_factor = channel.modulation.spreading_factor,
                .coding_rate = channel.modulation.coding_rate,
                .power_dbm = channel.power_dbm,
                .carries = true,
            },
    };
}

void lasting_start(struct lasting *lasting, struct board *board, uint64_t now_us)
{
    union record_bytes read;

    *lasting = (struct lasting){.board = board, .written_us = now_us};
    const enum journal_found found = journal_open(&lasting->journal, board, read.bytes);
    if (found == JOURNAL_RECORD) {
        lasting->record = read.record;
    } else {
        set_defaults(&lasting->record);
    }
    for (uint32_t band = 0; band < BAND_COUNT && (found == JOURNAL_LOST || found == JOURNAL_FAULT); band++) {
        lasting->record.reserved_us[band] = band_budget_us(band);
    }
    lasting->faulty = found == JOURNAL_FAULT;
    lasting->sequence = lasting->record.sequence_limit;
    lasting->record.counters[COUNT_REBOOTS] += 1;
}

bool lasting_write(struct lasting *lasting, uint64_t now_us)
{
    union record_bytes written = {.bytes = {0}};

    if (lasting->faulty) {
        return false;
    }
    written.record = lasting->record;
    lasting->written_us = now_us;
    if (!journal_write(&lasting->journal, lasting->board, written.bytes)) {
        return false;
    }
    lasting->dirty = false;
    return true;
}

bool lasting_take_sequence(struct lasting *lasting, uint64_t now_us, uint32_t *sequence)
{
    if (lasting->sequence == lasting->record.sequence_limit) {
        const uint32_t limit = lasting->record.sequence_limit;

        lasting->record.sequence_limit = limit + LASTING_SEQUENCES;
        if (limit > UINT32_MAX - LASTING_SEQUENCES || !lasting_write(lasting, now_us)) {
            lasting->record.sequence_limit = limit;
            return false;
        }
    }
    *sequence = lasting->sequence;
    lasting->sequence += 1;
    return true;
}

bool lasting_reserve_airtime(struct lasting *lasting, uint32_t band, uint32_t spent_us, uint32_t budget_us, uint64_t now_us)
{
    const uint32_t reserved_us = lasting->record.reserved_us[band];
    const uint32_t share_us = budget_us / AIRTIME_SHARES;
    const uint32_t wanted_us = budget_us - spent_us < share_us ? budget_us : spent_us + share_us;

    if (spent_us <= reserved_us) {
        /* What the hour gave back is let go with the next write. Flash promises more until then, which is safe. */
        lasting->record.reserved_us[band] = wanted_us < reserved_us ? wanted_us : reserved_us;
        return true;
    }
    lasting->record.reserved_us[band] = wanted_us;
    if (!lasting_write(lasting, now_us)) {
        lasting->record.reserved_us[band] = reserved_us;
        return false;
    }
    return true;
}

uint64_t lasting_tend(struct lasting *lasting, uint64_t now_us)
{
    const uint64_t at_us = lasting->written_us + (lasting->dirty ? SETTINGS_REST_US : COUNTERS_REST_US);

    if (now_us < at_us) {
        return at_us;
    }
    lasting_write(lasting, now_us); /* what cannot be written is tried again after the same rest */
    lasting->written_us = now_us;
    return now_us + (lasting->dirty ? SETTINGS_REST_US : COUNTERS_REST_US);
}
