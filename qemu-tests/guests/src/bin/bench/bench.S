// Where interrupts and other CPUs arrive: the first instruction of each reads the counter.

.section .text.bench, "ax"

// Like boot.S's vectors, but for interrupts taken from EL1. They are taken only while x9 waits for one: x9 = when, x10 = CPU interface of
// a GICv2, or 0; x11 is lost. What the timers can still ask for is turned off.
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

interrupt:
    msr     cntv_ctl_el0, xzr
    msr     cntp_ctl_el0, xzr
    isb
    cbnz    x10, 1f
    mrs     x11, icc_iar1_el1
    msr     icc_eoir1_el1, x11
    isb
    eret
1:  ldr     w11, [x10, #0xc]        // GICC_IAR
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
