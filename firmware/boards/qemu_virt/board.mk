PREFIX := riscv64-unknown-elf-
TARGET := -misa-spec=2.2 -march=rv32imc -mabi=ilp32 -mcmodel=medany
EXTRA := boards/bare/memory.c boards/lockstep/lockstep.c
IMAGE := objcopy
