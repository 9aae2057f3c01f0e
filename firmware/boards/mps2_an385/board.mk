PREFIX := arm-none-eabi-
TARGET := -mcpu=cortex-m3 -mthumb
EXTRA := boards/bare/memory.c boards/lockstep/lockstep.c
IMAGE := objcopy
