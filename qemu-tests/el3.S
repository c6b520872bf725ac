// Firmware of QEMU's virt board at EL3, in its flash: starts Bulkhead at EL2 and is its PSCI, as far as CPU_ON goes.
//
// QEMU's CPUs never have an SError. Firmware that handles errors first has them come to EL3, and hands on what is not for itself: it puts
// the lower EL into the state that the exception would have left there. So it is here, and the error is a guest's WFI.

.equ BULKHEAD,      0x48200000
.equ DEVICE_TREE,   0x44000000
.equ ENTRIES,       0x0e000000      // secure RAM, zero after a reset: for each CPU where it starts, and x0
.equ GICD_CTLR,     0x08000000

.equ SCR,           1 << 12 | 1 << 10 | 1 << 8 | 3 << 4 | 1    // TWI, RW, HCE, RES1, NS
.equ EL2H_MASKED,   0x3c9
.equ ESR_SERROR,    0x2f << 26 | 1 << 25 | 0x11     // asynchronous, of no known kind
.equ CPU_ON,        0xc4000003

    .global _start
_start:                             // all CPUs
    adr     x0, vectors
    msr     vbar_el3, x0
    ldr     x0, =SCR
    msr     scr_el3, x0
    mov     x0, #0xf                // the GIC's system registers, at all ELs
    msr     icc_sre_el3, x0
    isb
    mrs     x1, mpidr_el1
    ands    x1, x1, #0xff
    ldr     x2, =ENTRIES
    add     x2, x2, x1, lsl #4
    b.ne    1f
    ldr     x3, =GICD_CTLR
    mov     w4, #1 << 6             // DS: one security state has all interrupts
    str     w4, [x3]
    ldr     x0, =DEVICE_TREE
    ldr     x3, =BULKHEAD
    b       2f
1:  wfe
    ldr     x3, [x2]
    cbz     x3, 1b
    ldr     x0, [x2, #8]
2:  msr     elr_el3, x3
    mov     x3, #EL2H_MASKED
    msr     spsr_el3, x3
    eret

.balign 2048
vectors:
.rept 8                             // from EL3: nothing is expected
    b       .
.balign 128
.endr
                                    // synchronous, from a lower EL: WFI or SMC
    msr     tpidr_el3, x9
    mrs     x9, esr_el3
    lsr     x9, x9, #26
    cmp     x9, #1
    b.eq    waits
    b       calls
.balign 128
.rept 7
    b       .
.balign 128
.endr

// Bulkhead's own is skipped: WFI may return at any time.
waits:
    mrs     x9, spsr_el3
    tbz     x9, #3, error           // from EL0 or EL1
    mrs     x9, elr_el3
    add     x9, x9, #4
    msr     elr_el3, x9
    b       done
error:
    msr     spsr_el2, x9
    mrs     x9, elr_el3
    msr     elr_el2, x9
    ldr     x9, =ESR_SERROR
    msr     esr_el2, x9
    mrs     x9, vbar_el2
    add     x9, x9, #0x580          // SError from a lower EL in AArch64 state
    msr     elr_el3, x9
    mov     x9, #EL2H_MASKED
    msr     spsr_el3, x9
done:
    mrs     x9, tpidr_el3
    eret

calls:
    ldr     x9, =CPU_ON
    cmp     x0, x9
    mov     x0, #-1                 // NOT_SUPPORTED
    b.ne    done
    ldr     x9, =ENTRIES
    add     x9, x9, x1, lsl #4      // the target's Aff0 is all that it has
    str     x3, [x9, #8]
    dsb     sy
    str     x2, [x9]
    dsb     sy
    sev
    mov     x0, #0
    b       done
