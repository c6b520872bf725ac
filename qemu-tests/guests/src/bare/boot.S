// The arm64 Image header (Linux, Documentation/arch/arm64/booting.rst), the way of the first CPU to Rust, and that of the others.

.section .text.head, "ax"
.global _head
_head:
    b       start
    .long   0
    .quad   0x80000             // text_offset: from a 2 MiB boundary
    .quad   _end - _head        // image_size: BSS and stacks included
    .quad   0xa                 // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

// x0 = the device tree. MMU and caches are off.
start:
    mrs     x20, cntpct_el0
    msr     daifset, #0xf
    mov     x19, x0

    // The image is linked at 0, so where it is is what every relative relocation (RELR) has to add.
    adr     x1, _head
    adrp    x2, _relr_start
    add     x2, x2, :lo12:_relr_start
    adrp    x3, _relr_end
    add     x3, x3, :lo12:_relr_end
1:  cmp     x2, x3
    b.hs    5f
    ldr     x4, [x2], #8
    tbnz    x4, #0, 2f
    add     x5, x1, x4          // an address: one word, and where the next bitmap begins
    ldr     x6, [x5]
    add     x6, x6, x1
    str     x6, [x5], #8
    b       1b
2:  mov     x7, x5              // a bitmap of the next 63 words
3:  lsr     x4, x4, #1
    cbz     x4, 4f
    tbz     x4, #0, 6f
    ldr     x6, [x7]
    add     x6, x6, x1
    str     x6, [x7]
6:  add     x7, x7, #8
    b       3b
4:  add     x5, x5, #504
    b       1b

5:  adrp    x1, _bss_start
    adrp    x2, _bss_end
7:  stp     xzr, xzr, [x1], #16
    cmp     x1, x2
    b.lo    7b

    adrp    x1, {stacks} + {stack_size}
    add     x1, x1, :lo12:({stacks} + {stack_size})
    mov     sp, x1
    bl      enter_virtual_memory
    mov     x0, x19
    mov     x1, x20
    bl      {first_main}
    b       .

// A CPU that CPU_ON started. Everything that it finds is put into its entry record before anything else is done.
.global secondary_entry
secondary_entry:
    msr     tpidr_el1, x1
    msr     tpidrro_el0, x2
    mrs     x1, mpidr_el1
    and     x1, x1, #({max_cpus} - 1)
    adrp    x2, {records}
    add     x2, x2, :lo12:{records}
    add     x1, x2, x1, lsl #{record_shift}
    mrs     x2, tpidr_el1
    stp     x0, x2, [x1, #0]
    mrs     x2, tpidrro_el0
    stp     x2, x3, [x1, #16]
    stp     x4, x5, [x1, #32]
    stp     x6, x7, [x1, #48]
    stp     x8, x9, [x1, #64]
    stp     x10, x11, [x1, #80]
    stp     x12, x13, [x1, #96]
    stp     x14, x15, [x1, #112]
    stp     x16, x17, [x1, #128]
    stp     x18, x19, [x1, #144]
    stp     x20, x21, [x1, #160]
    stp     x22, x23, [x1, #176]
    stp     x24, x25, [x1, #192]
    stp     x26, x27, [x1, #208]
    stp     x28, x29, [x1, #224]
    mrs     x2, CurrentEL
    stp     x30, x2, [x1, #240]
    mrs     x2, DAIF
    mrs     x3, SPSel
    stp     x2, x3, [x1, #256]
    mrs     x2, sctlr_el1
    mrs     x3, mpidr_el1
    stp     x2, x3, [x1, #272]
    mrs     x2, cntv_ctl_el0
    mrs     x3, cntp_ctl_el0
    stp     x2, x3, [x1, #288]
    mrs     x2, cntfrq_el0
    str     x2, [x1, #304]
    dsb     sy

    mrs     x1, mpidr_el1
    and     x1, x1, #({max_cpus} - 1)
    add     x1, x1, #1
    adrp    x2, {stacks}
    add     x2, x2, :lo12:{stacks}
    mov     x3, #{stack_size}
    madd    x2, x1, x3, x2
    mov     sp, x2
    bl      enter_virtual_memory
    bl      {secondary_main}
    b       .

// Memory is mapped one to one, so execution just goes on.
enter_virtual_memory:
    adrp    x1, {page_table}
    add     x1, x1, :lo12:{page_table}
    msr     ttbr0_el1, x1
    mov     x1, #0x00ff         // MAIR 0: write-back memory; 1: Device-nGnRnE
    msr     mair_el1, x1
    ldr     x1, ={tcr}
    msr     tcr_el1, x1
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x1, ={sctlr}
    msr     sctlr_el1, x1
    isb
    ret

// u64 call_to_sleep(void (*instruction)(void), u64 registers[4]): a call from which the CPU may go on at resume_entry. What a function has to
// keep is put into the sleeper. Answers 1 after that; if the call returned, 0, with its x0 in registers[0].
.global call_to_sleep
call_to_sleep:
    adrp    x2, {sleeper}
    add     x2, x2, :lo12:{sleeper}
    stp     x19, x20, [x2]
    stp     x21, x22, [x2, #16]
    stp     x23, x24, [x2, #32]
    stp     x25, x26, [x2, #48]
    stp     x27, x28, [x2, #64]
    stp     x29, x30, [x2, #80]
    mov     x9, sp
    str     x9, [x2, #96]
    mov     x9, x0
    mov     x19, x1
    ldp     x2, x3, [x19, #16]
    ldp     x0, x1, [x19]
    blr     x9
    str     x0, [x19]
    mov     x0, #0
    b       1f

// Where a CPU goes on that has lost its state: x0 is its context id.
.global resume_entry
resume_entry:
    mov     x19, x0
    bl      enter_virtual_memory
    adrp    x2, {sleeper}
    add     x2, x2, :lo12:{sleeper}
    str     x19, [x2, #104]
    mov     x0, #1
1:  adrp    x2, {sleeper}
    add     x2, x2, :lo12:{sleeper}
    ldp     x19, x20, [x2]
    ldp     x21, x22, [x2, #16]
    ldp     x23, x24, [x2, #32]
    ldp     x25, x26, [x2, #48]
    ldp     x27, x28, [x2, #64]
    ldp     x29, x30, [x2, #80]
    ldr     x9, [x2, #96]
    mov     sp, x9
    ret

.macro slot number
.balign 128
    sub     sp, sp, #256
    stp     x0, x1, [sp]
    mov     x1, #\number
    b       exception_entry
.endm

.section .text.vectors, "ax"
.balign 2048
.global vectors
vectors:
    slot 0
    slot 1
    slot 2
    slot 3
    slot 4
    slot 5
    slot 6
    slot 7
    slot 8
    slot 9
    slot 10
    slot 11
    slot 12
    slot 13
    slot 14
    slot 15

exception_entry:
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mov     x0, sp
    bl      {exception}
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp]
    add     sp, sp, #256
    eret

// void with_registers(void (*instruction)(void), u64 registers[29]): x0 to x28 as given, then the instruction, then x0 to x28 as found.
// SMCCC (DEN0028) lets a call change x0 to x17 only, and the caller here has to see if it did more.
.section .text.with_registers, "ax"
.global with_registers
with_registers:
    stp     x29, x30, [sp, #-112]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    stp     x1, x18, [sp, #96]
    mov     x29, x0
    mov     x30, x1
    ldp     x0, x1, [x30]
    ldp     x2, x3, [x30, #16]
    ldp     x4, x5, [x30, #32]
    ldp     x6, x7, [x30, #48]
    ldp     x8, x9, [x30, #64]
    ldp     x10, x11, [x30, #80]
    ldp     x12, x13, [x30, #96]
    ldp     x14, x15, [x30, #112]
    ldp     x16, x17, [x30, #128]
    ldp     x18, x19, [x30, #144]
    ldp     x20, x21, [x30, #160]
    ldp     x22, x23, [x30, #176]
    ldp     x24, x25, [x30, #192]
    ldp     x26, x27, [x30, #208]
    ldr     x28, [x30, #224]
    blr     x29
    ldr     x30, [sp, #96]
    stp     x0, x1, [x30]
    stp     x2, x3, [x30, #16]
    stp     x4, x5, [x30, #32]
    stp     x6, x7, [x30, #48]
    stp     x8, x9, [x30, #64]
    stp     x10, x11, [x30, #80]
    stp     x12, x13, [x30, #96]
    stp     x14, x15, [x30, #112]
    stp     x16, x17, [x30, #128]
    stp     x18, x19, [x30, #144]
    stp     x20, x21, [x30, #160]
    stp     x22, x23, [x30, #176]
    stp     x24, x25, [x30, #192]
    stp     x26, x27, [x30, #208]
    str     x28, [x30, #224]
    ldr     x18, [sp, #104]
    ldp     x27, x28, [sp, #80]
    ldp     x25, x26, [sp, #64]
    ldp     x23, x24, [sp, #48]
    ldp     x21, x22, [sp, #32]
    ldp     x19, x20, [sp, #16]
    ldp     x29, x30, [sp], #112
    ret

.global hvc0
hvc0:
    hvc     #0
    ret
.global smc0
smc0:
    smc     #0
    ret
