# QEMU jumps to 0x80000000, not to the ELF's entry: this section comes first.
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
2:  la t0, data_load
    la t1, data_start
    la t2, data_end
3:  bgeu t1, t2, 4f
    lw t3, 0(t0)
    sw t3, 0(t1)
    addi t0, t0, 4
    addi t1, t1, 4
    j 3b
4:  li t0, 0x800          # mie.MEIE alone, with mstatus.MIE left at 0: WFI wakes, and nobody needs a handler
    csrw mie, t0
    la t0, trap
    csrw mtvec, t0
    call lockstep_run

.balign 4
trap:
    j trap
