// Where interrupts and other CPUs arrive: the first instruction of each reads the counter.

.section .text.bench, "ax"

// Like boot.S's vectors, but for interrupts taken from EL1. They are taken only while x9 waits for one: x9 = when, x10 = CPU interface of
// a GICv2, or 0; x11 and the flags are lost. A timer that fired is turned off, and so is the serial port's interrupt.
.balign 2048
.global bench_vectors
bench_vectors:
.set number, 0
.rept 16
.balign 128
.if number == 5
    mrs     x9, cntvct_el0
    b       interrupt
.else
    b       vectors + 128 * number
.endif
.set number, number + 1
.endr

// What has raised the interrupt in w11 raises it no more.
.macro silence
    msr     cntv_ctl_el0, xzr
    cmp     w11, #30
    b.ne    3f
    msr     cntp_ctl_el0, xzr
3:  cmp     w11, #33
    b.ne    4f
    str     x10, [sp, #-16]!
    mov     x10, #0x09000000
    str     wzr, [x10, #0x38]       // UARTIMSC
    ldr     x10, [sp], #16
4:  isb
.endm

interrupt:
    cbnz    x10, 2f
    mrs     x11, icc_iar1_el1
    silence
    msr     icc_eoir1_el1, x11
    isb
    eret
2:  ldr     w11, [x10, #0xc]        // GICC_IAR
    silence
    str     w11, [x10, #0x10]       // GICC_EOIR
    eret

// CPU_ON leads here with x0 = where to leave the count twice: of the first instruction, and of the CPU_OFF that it calls.
.global bench_started
bench_started:
    mrs     x9, cntvct_el0
    str     x9, [x0]
    mov     x1, x0
    movz    w0, #0x0002
    movk    w0, #0x8400, lsl #16    // CPU_OFF
    mrs     x9, cntvct_el0
    str     x9, [x1, #8]
    hvc     #0
1:  b       1b
