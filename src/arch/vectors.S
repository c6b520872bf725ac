// EL2's exception vectors, and the way into a guest and back.
//
// While a guest runs, SP_EL2 points at its register frame, so an exit saves there at once, and TPIDR_EL2 at what handlers are
// to know. The handler is called from the vector and its answer decides: 0 goes straight back into the guest. Cheap traps never
// unwind; the rare ones (CPU_OFF, reset) end a plain function call.
//
// Only what a function may change is saved, x0-x19 and x29-x30: of the others the guest's values stay in the registers
// until the handler returns. An abort whose syndrome may name one of x20-x28 has them saved as well. What else wants
// the whole frame, which is rare, asks for it and is called again.

// Offsets in the frame: x0-x30 in order, then what the hardened vectors look at. Those up to x18 a function may change, the
// others only with the frame's help.
    .macro store_x2_x19
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    .endm

    .macro store_x20_x28
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    str     x28, [sp, #224]
    .endm

    .macro load_x2_x19
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    .endm

    .macro load_x20_x28
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldr     x28, [sp, #224]
    .endm

    .macro save_volatile
    stp     x0, x1, [sp, #0]
    store_x2_x19
    stp     x29, x30, [sp, #232]
    add     x29, sp, #{FRAME}       // the frame record of `enter_guest`: no backtrace follows the guest's x29
    .endm

// On a CPU on which a guest may have trained the prediction of our branches. First the firmware invalidates
// the predictors, where it is to be asked; then the loop's taken branches, or CLRBHB, push the guest's out of the
// branch history. Each of the conditional branches may itself be predicted wrongly, as the guest likes; so behind
// them all nothing is executed, speculatively either, before the barriers are through, and the first branch that
// could lead elsewhere (indirect, or a return) comes later. x0-x3 are lost to the call, and were saved.
    .macro harden
    ldr     w0, [sp, #{CALL}]
    cbz     w0, 1f
    smc     #0
1:  ldr     w1, [sp, #{LOOPS}]
2:  b       3f
3:  subs    w1, w1, #1
    b.hi    2b                      // a count of 0 ends, too
    hint    #22                     // CLRBHB; a NOP without FEAT_CLRBHB
    dsb     nsh
    isb
    .endm

    .macro no_harden
    .endm

// A handler of a table: 32 instructions at most. The assembler refuses more.
    .macro slot
    .balign 0x80
9:
    .endm

    .macro end_slot
    .org    9b + 0x80
    .endm

    .macro lower_el_sync harden
    slot
    save_volatile
    \harden
    mov     x0, sp
    mrs     x1, tpidr_el2
    mrs     x2, esr_el2
    tbnz    x2, #31, abort          // EC 0x20 and above
    bl      {on_sync}
    cbz     x0, restore_volatile
    b       rare
    end_slot
    .endm

    .macro lower_el harden, handler
    slot
    save_volatile
    \harden
    mrs     x0, tpidr_el2
    bl      \handler
    cbz     x0, restore_volatile
    b       leave
    end_slot
    .endm

    .macro current_el
    .balign 0x80
    b       fault
    .endm

    .macro table harden
    .balign 0x800
    .rept 8                         // current EL, with SP_EL0 and with SP_ELx
    current_el
    .endr
    lower_el_sync \harden            // lower EL, AArch64
    lower_el \harden, {on_irq}
    lower_el \harden, {on_irq}       // FIQ is routed here only when it stands for an interrupt
    lower_el \harden, {on_serror}
    lower_el_sync \harden            // lower EL, AArch32: the guest's EL0
    lower_el \harden, {on_irq}
    lower_el \harden, {on_irq}
    lower_el \harden, {on_serror}
    .endm

    .pushsection .text
    .balign 0x800
    .global vectors
vectors:
    table   no_harden
    .balign 0x800
    .global hardened_vectors
hardened_vectors:
    table   harden
    .popsection

// What follows fills the room in front of the tables, which would be empty: a table begins on a multiple of 2 KiB.
    .pushsection .head.rest, "ax"
// An abort: x0, x1 and x2 are the handler's arguments. Its syndrome names a register in bits [20:16] (SRT), if any: above x19?
abort:
    tbz     x2, #20, 1f
    tst     x2, #(0b11 << 18)
    b.eq    1f
    store_x20_x28
    bl      {on_abort}
    b       restore
1:  bl      {on_abort}
    b       restore_volatile

// What a handler of a synchronous exception may want besides going on (`Exit`): the same again with the whole frame;
// to leave; or to go on with all of the frame, in which it has put new values.
rare:
    cmp     x0, #{PARK}
    b.eq    leave
    cmp     x0, #{WHOLE}
    b.ne    restore
    store_x20_x28
    mov     x0, sp
    mrs     x1, tpidr_el2
    mrs     x2, esr_el2
    bl      {on_sync_whole}
    cmp     x0, #{PARK}
    b.eq    leave
restore:
    load_x20_x28
restore_volatile:
    load_x2_x19
    ldp     x29, x30, [sp, #232]
    ldp     x0, x1, [sp, #0]
    eret
    dsb     nsh                     // no speculation past the ERET (straight-line speculation)
    isb

// extern "C" fn enter_guest(x0: u64, hardening: u64) -> u64
// ELR_EL2 and SPSR_EL2 say where and how the guest begins, with x0 and nothing else in its registers.
    .global enter_guest
enter_guest:
    stp     x29, x30, [sp, #-96]!
    mov     x29, sp
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    sub     sp, sp, #{FRAME}
    str     x1, [sp, #{CALL}]
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    mov     x\n, #0
    .endr
    eret
    dsb     nsh
    isb
// Out of `enter_guest`, which returns what the handler has answered.
leave:
    add     sp, sp, #{FRAME}
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

// An exception taken from EL2 itself. The stack may be the reason, so a stack kept for this is
// used; TPIDR_EL1 and SP_EL0 hold two registers meanwhile. One CPU reports, others that fault
// (or the reporter, again) stop here.
fault:
    msr     tpidr_el1, x0
    mov     x0, sp
    msr     sp_el0, x0
    msr     tpidrro_el0, x1
    adrp    x0, fault_owner
    add     x0, x0, :lo12:fault_owner
1:  ldaxr   w1, [x0]
    cbnz    w1, halt
    mov     w1, #1
    stxr    w30, w1, [x0]           // x30 is lost: a fault's caller is found by the frame chain
    cbnz    w30, 1b
    adrp    x0, __fault_stack_top
    mov     sp, x0
    sub     sp, sp, #{FAULT_FRAME}
    mrs     x0, tpidr_el1
    mrs     x1, tpidrro_el0
    stp     x0, x1, [sp, #0]
    store_x2_x19
    store_x20_x28
    str     x29, [sp, #232]
    mrs     x0, sp_el0
    mrs     x1, elr_el2
    stp     x0, x1, [sp, #240]
    mrs     x0, esr_el2
    mrs     x1, far_el2
    stp     x0, x1, [sp, #256]
    mov     x0, sp
    bl      {on_fault}
    // It was the probe for semihosting: go on behind it with what the handler left.
    ldr     x1, [sp, #248]
    msr     elr_el2, x1
    ldp     x0, x1, [sp, #0]
    load_x2_x19
    load_x20_x28
    ldp     x29, x30, [sp, #232]
    mov     sp, x30
    adrp    x30, fault_owner        // given back when nothing is read from the fault stack any more
    add     x30, x30, :lo12:fault_owner
    stlr    wzr, [x30]
    eret
    dsb     nsh
    isb
halt:
    wfe
    b       halt

    .popsection

    .pushsection .bss
    .balign 4
fault_owner:
    .word   0
    .popsection
