# ROM has loaded everything and jumps here. The data section needs no copying.
.section .text.boot, "ax"
.globl _start
_start:
.option push
.option norelax
    la gp, __global_pointer$
.option pop
    la sp, _stack_top
    la t0, bss_start
    la t1, bss_end
1:  bgeu t0, t1, 2f
    sw zero, 0(t0)
    addi t0, t0, 4
    j 1b
2:  la t0, trap
    csrw mtvec, t0
    call board_run

# Whatever goes wrong, the chip starts again: bit 31 of RTC_CNTL_OPTIONS0 is its reset. What lasts is in flash.
.balign 256
trap:
    li t0, 0x60008000
    lw t1, 0(t0)
    li t2, 0x80000000
    or t1, t1, t2
    sw t1, 0(t0)
3:  j 3b
