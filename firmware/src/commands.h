/* The frames of the host link: those of RNodes by their numbers, and our own from A0 on. README.md describes them for a host. */
#ifndef RELAY_COMMANDS_H
#define RELAY_COMMANDS_H

enum command {
    COMMAND_DATA = 0x00,
    COMMAND_FREQUENCY = 0x01,
    COMMAND_BANDWIDTH = 0x02,
    COMMAND_POWER = 0x03,
    COMMAND_SPREADING_FACTOR = 0x04,
    COMMAND_CODING_RATE = 0x05,
    COMMAND_RADIO_STATE = 0x06,
    COMMAND_DETECT = 0x08,
    COMMAND_LEAVE = 0x0A,
    COMMAND_AIRTIME_SHORT = 0x0B,
    COMMAND_AIRTIME_LONG = 0x0C,
    COMMAND_READY = 0x0F,
    COMMAND_N_RECEIVED = 0x21,
    COMMAND_N_SENT = 0x22,
    COMMAND_RSSI = 0x23,
    COMMAND_SNR = 0x24,
    COMMAND_RANDOM = 0x40,
    COMMAND_PLATFORM = 0x48,
    COMMAND_MCU = 0x49,
    COMMAND_VERSION = 0x50,
    COMMAND_ERROR = 0x90,

    COMMAND_IDENTITY = 0xA0,
    COMMAND_HOST_ID = 0xA1,
    COMMAND_TERMS = 0xA2,
    COMMAND_COUNTERS = 0xA3,
    COMMAND_RECEIPT = 0xA4,
    COMMAND_RAW = 0xA5,
    COMMAND_DUTY = 0xA6,
    COMMAND_CLOCK = 0xA7,
    COMMAND_NEIGHBOURS = 0xA8,
    COMMAND_REFUSED = 0xAF,
};

enum {
    DETECT_ASK = 0x73,
    DETECT_ANSWER = 0x46,
    PLATFORM_ESP32 = 0x80,
    MCU_ESP32 = 0x81,
    VERSION_MAJOR = 1, /* of the RNode protocol that this is a subset of */
    VERSION_MINOR = 74,
    ERROR_RADIO = 0x01, /* the radio does not start */
    ASK = 0xFF,         /* as the value of the radio's state: which is it? */
    REFUSED_UNKNOWN = 0xFF, /* no command of ours; other reasons are relay_refusal's */
};

#endif
