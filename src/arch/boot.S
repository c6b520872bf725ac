// From the loader to Rust: the arm64 Image header, the early map, relocation.
//
// Entered as Documentation/arch/arm64/booting.rst says: MMU off, x0 = device tree, any address that is a
// multiple of 4 KiB. Exclusives need cacheable memory and unaligned accesses need the MMU, so
// no Rust runs before it is on. Bulkhead works at EL2; the same steps at EL1 and EL3 bring it just far
// enough to say so on the UART.

    .pushsection .head, "ax"
    .global _start
_start:
    b       primary
    nop
    .quad   0                       // text_offset
    .quad   __image_size            // what we need from here on, loaded or not
    .quad   0xa                     // little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

// All of it stays in front of the vectors, which begin on a multiple of 2 KiB.

// Early descriptors: Normal write-back (MAIR attribute 0), inner shareable, accessed, block.
.equ BLOCK_NORMAL,  (3 << 8) | (1 << 10) | 1
.equ AP1_RES1,      1 << 6          // RES1 at EL2 and EL3; at EL1 it would open the page to EL0
.equ MAIR_VALUE,    0x04ff          // 0: Normal write-back, 1: Device-nGnRE
.equ TCR_COMMON,    (3 << 12) | (1 << 10) | (1 << 8) | 16    // SH0 inner, WB walks, 48-bit addresses
.equ SCTLR_ON,      (1 << 12) | (1 << 3) | (1 << 2) | 1      // I, SA, C, M

primary:
    msr     daifset, #0xf
    mov     x19, x0                 // device tree
    adrp    x20, _start             // where we are
    mrs     x23, CurrentEL
    lsr     x23, x23, #2
    cmp     x23, #2
    b.ne    1f
    bl      init_el2
    mrs     x0, hcr_el2
    tbnz    x0, #34, host_only
1:  bl      build_early_map
    bl      enable_mmu

    // The constants are loaded right behind the code, the data right behind the constants, and both belong on
    // pages of their own. What goes further goes first.
    adrp    x0, __data_start
    adrp    x1, __data_load
    add     x1, x1, :lo12:__data_load
    ldr     x2, =__data_bytes
    bl      memmove
    adrp    x0, __rodata_start
    adrp    x1, __rodata_load
    add     x1, x1, :lo12:__rodata_load
    ldr     x2, =__rodata_bytes
    bl      memmove

    // What the Image protocol does not load.
    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    mov     w1, wzr
    ldr     x2, =__bss_bytes
    bl      memset
    bl      relocate

    adrp    x0, __stack_top
    mov     sp, x0
    mov     x29, xzr                // end of the frame-pointer chain
    mov     x30, xzr
    mov     x0, x19
    mov     x1, x23
    bl      {main}
4:  wfe
    b       4b

// What a loader may have left in EL2, or a reset UNKNOWN. Without E2H the registers have the layouts that
// are used from here on. Interrupts are EL2's (AMO, IMO, FMO), so that they end its WFI. The timers whose
// PPIs will be enabled stay silent until their owner sets them (CNTx_CTL.ENABLE is UNKNOWN after a reset).
init_el2:
    msr     spsel, #1
    ldr     x0, =(1 << 31) | (7 << 3)       // HCR_EL2: RW, AMO, IMO, FMO
    msr     hcr_el2, x0
    isb
    msr     cnthp_ctl_el2, xzr
    msr     cntv_ctl_el0, xzr
    // Later extensions of TCR_EL2 and SCTLR_EL2 would give bits of ours another meaning: permissions by index, SErrors that
    // PSTATE does not mask. They are UNKNOWN after a reset, and ours if the CPU has them (booting.rst).
    mrs     x0, s3_0_c0_c7_3        // ID_AA64MMFR3_EL1
    tst     x0, #0xf                // TCRX
    b.eq    1f
    msr     s3_4_c2_c0_3, xzr       // TCR2_EL2
1:  tst     x0, #0xf0               // SCTLRX
    b.eq    2f
    msr     s3_4_c1_c0_3, xzr       // SCTLR2_EL2
2:  ret

// E2H reads as 1 whatever is written: a CPU without FEAT_E2H0, whose EL2 is of another kind than ours
// (ID_AA64MMFR4_EL1.E2H0). Start again at EL1, from where the UART still tells that EL2 cannot be used.
host_only:
    ldr     x0, =0x30d00800         // RES1 bits; MMU and caches off
    msr     s3_5_c1_c0_0, x0        // SCTLR_EL12
    mov     x0, #0x3c5              // EL1h, all exceptions masked
    msr     spsr_el2, x0
    adr     x0, primary
    msr     elr_el2, x0
    mov     x0, x19
    eret

// Maps the image and the device tree, in blocks of 2 MiB, onto themselves. The tables are written with the
// caches off (Arm ARM B2.8, mismatched attributes). Lines that a boot loader left there are dropped before,
// as a dirty one could be evicted over what is written, and after, as the walker reads through the cache
// and a clean one may have been fetched meanwhile.
build_early_map:
    mov     x24, x30
    adrp    x21, __early_tables     // next free table
    bl      add_table
    mov     x25, x0                 // root
    mov     x22, #BLOCK_NORMAL
    cmp     x23, #1
    b.eq    2f
    orr     x22, x22, #AP1_RES1
2:
    and     x26, x20, #~0x1fffff
    adrp    x27, __image_end
3:  bl      map_block
    add     x26, x26, #0x200000
    cmp     x26, x27
    b.lo    3b
    // The tree: at most 2 MiB, so at most two blocks; what it does not reach may be no memory. Address 0, one out of reach or
    // one that is no multiple of 8 is no tree.
    cbz     x19, 4f
    lsr     x0, x19, #47
    cbnz    x0, 4f
    tst     x19, #7
    b.ne    4f
    and     x26, x19, #~0x1fffff
    bl      map_block
    dc      civac, x19              // the loader need not have cleaned it
    dsb     sy
    ldr     w0, [x19, #4]           // totalsize, big-endian
    rev     w0, w0
    add     x0, x0, x19
    add     x26, x26, #0x200000
    cmp     x0, x26
    b.ls    4f
    bl      map_block
4:  mov     x30, x24
    adrp    x0, __early_tables
    mov     x1, x21
// Drops the lines from x0 to x1, pages that nothing else shares.
drop_lines:
    dmb     sy
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4         // DminLine: log2 of words
    mov     x3, #4
    lsl     x3, x3, x2
1:  dc      ivac, x0
    add     x0, x0, x3
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

// Takes the next free table, at x21, zeroes it and returns it in x0.
add_table:
    mov     x13, x30
    mov     x0, x21
    add     x21, x21, #4096
    mov     x1, x21
    bl      drop_lines
    sub     x0, x21, #4096
1:  stp     xzr, xzr, [x0], #64
    stp     xzr, xzr, [x0, #-48]
    stp     xzr, xzr, [x0, #-32]
    stp     xzr, xzr, [x0, #-16]
    cmp     x0, x21
    b.lo    1b
    sub     x0, x21, #4096
    ret     x13

// x26 = address of the block, x25 = root, x21 = next free table, x22 = attributes. Ten tables are
// enough for any two ranges of these sizes: each crosses at most one boundary per level.
map_block:
    mov     x28, x30
    mov     x9, x25
    ubfx    x10, x26, #39, #9
    bl      descend
    ubfx    x10, x26, #30, #9
    bl      descend
    ubfx    x10, x26, #21, #9
    orr     x11, x26, x22
    str     x11, [x9, x10, lsl #3]
    ret     x28
// x9 = table, x10 = index; leaves the next level's table in x9.
descend:
    ldr     x11, [x9, x10, lsl #3]
    cbnz    x11, 1f
    mov     x12, x30
    bl      add_table
    mov     x30, x12
    orr     x11, x0, #3             // a table descriptor
    str     x11, [x9, x10, lsl #3]
1:  bic     x9, x11, #0xfff
    ret

// Turns on the MMU at the current EL (x23) with the tables at x25.
enable_mmu:
    ldr     x0, =MAIR_VALUE
    ldr     x1, =TCR_COMMON
    mrs     x2, id_aa64mmfr0_el1
    and     x2, x2, #0xf            // PARange is encoded as PS
    cmp     x2, #5                  // 48 bits is what these descriptors can hold
    mov     x3, #5
    csel    x2, x3, x2, hi
    ldr     x4, =SCTLR_ON | 0x30c50830
    cmp     x23, #2
    b.eq    2f
    cmp     x23, #3
    b.eq    3f
    orr     x1, x1, x2, lsl #32
    orr     x1, x1, #(1 << 23)      // EPD1: no walks through TTBR1
    msr     mair_el1, x0
    msr     tcr_el1, x1
    msr     ttbr0_el1, x25
    isb
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el1, x4
    isb
    ret
2:  orr     x1, x1, x2, lsl #16
    orr     x1, x1, #(1 << 31)      // RES1
    orr     x1, x1, #(1 << 23)      // RES1
    msr     mair_el2, x0
    msr     tcr_el2, x1
    msr     ttbr0_el2, x25
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x4
    isb
    ret
3:  orr     x1, x1, x2, lsl #16
    orr     x1, x1, #(1 << 31)
    orr     x1, x1, #(1 << 23)
    msr     mair_el3, x0
    msr     tcr_el3, x1
    msr     ttbr0_el3, x25
    isb
    tlbi    alle3
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el3, x4
    isb
    ret

// Adds the load address to every word that .relr.dyn names (RELR, gABI): an even entry is the address
// of one word, an odd one a bitmap of the 63 words that follow.
relocate:
    adrp    x0, __relr_start
    add     x0, x0, :lo12:__relr_start
    adrp    x1, __relr_end
    add     x1, x1, :lo12:__relr_end
1:  cmp     x0, x1
    b.hs    5f
    ldr     x2, [x0], #8
    tbnz    x2, #0, 2f
    add     x3, x20, x2
    ldr     x4, [x3]
    add     x4, x4, x20
    str     x4, [x3], #8
    b       1b
2:  mov     x5, x3
    lsr     x2, x2, #1
3:  tbz     x2, #0, 4f
    ldr     x4, [x5]
    add     x4, x4, x20
    str     x4, [x5]
4:  add     x5, x5, #8
    lsr     x2, x2, #1
    cbnz    x2, 3b
    add     x3, x3, #(63 * 8)
    b       1b
5:  ret

// A further CPU that left a spin table (Documentation/arch/arm64/booting.rst): x0 says nothing. The records that were
// published are in memory, cleaned to PoC; ours is the one with our affinity.
    .global spin_table_entry
spin_table_entry:
    mrs     x1, mpidr_el1
    and     x1, x1, #0xffffffffff
    bic     x1, x1, #0xff000000     // Aff3, Aff2, Aff1, Aff0
    adrp    x0, {published}
    ldr     x0, [x0, :lo12:{published}]
1:  cbz     x0, 2f
    ldp     x2, x3, [x0, #{AFFINITY}]
    cmp     x1, x2
    b.eq    secondary_entry
    mov     x0, x3
    b       1b
2:  wfe                             // nobody waits for this CPU
    b       2b

// A further CPU, at EL2 with the MMU off; x0 = its `Secondary` record, cleaned to PoC for us.
    .global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    bl      init_el2
    ldp     x0, x1, [x19, #{MAIR}]
    ldp     x2, x3, [x19, #{TTBR}]
    msr     mair_el2, x0
    msr     tcr_el2, x1
    msr     ttbr0_el2, x2
    isb
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x3
    isb
    ldp     x1, x0, [x19, #{STACK}]
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    bl      {secondary_main}
1:  wfe
    b       1b
    .ltorg
    .popsection
