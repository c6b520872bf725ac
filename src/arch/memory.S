// The four functions that compiled code calls for bytes in bulk, in place of those that come with the compiler.
//
// All memory that Rust sees is Normal, and EL2 does not check alignment (SCTLR_EL2.A = 0), so any address will do for any load. Short
// pieces, and the ends of long ones, are covered by loads that overlap. They need no stack and no relocation: boot.S calls them, too.

// memcpy(x0 = to, x1 = from, x2 = bytes) and memmove: everything of a step is loaded before it is stored.
    .section .text.memmove, "ax"
    .global memcpy, memmove
memcpy:
memmove:
    add     x4, x1, x2
    add     x5, x0, x2
    cmp     x2, #16
    b.hi    3f
    cmp     x2, #8
    b.lo    1f
    ldr     x6, [x1]
    ldr     x7, [x4, #-8]
    str     x6, [x0]
    str     x7, [x5, #-8]
    ret
1:  tbz     x2, #2, 2f
    ldr     w6, [x1]
    ldr     w7, [x4, #-4]
    str     w6, [x0]
    str     w7, [x5, #-4]
    ret
2:  cbz     x2, 9f
    lsr     x3, x2, #1
    ldrb    w6, [x1]
    ldrb    w7, [x1, x3]
    ldrb    w8, [x4, #-1]
    strb    w6, [x0]
    strb    w7, [x0, x3]
    strb    w8, [x5, #-1]
9:  ret
3:  sub     x3, x0, x1
    cmp     x3, x2
    b.lo    7f                      // it begins within what is to be copied: from the end down
    ldp     x16, x17, [x4, #-16]    // the last bytes, up to 16
    mov     x3, x0
    subs    x2, x2, #128
    b.ls    5f
4:  .rept   2
    ldp     x6, x7, [x1], #64
    ldp     x8, x9, [x1, #-48]
    ldp     x10, x11, [x1, #-32]
    ldp     x12, x13, [x1, #-16]
    stp     x6, x7, [x3], #64
    stp     x8, x9, [x3, #-48]
    stp     x10, x11, [x3, #-32]
    stp     x12, x13, [x3, #-16]
    .endr
    subs    x2, x2, #128
    b.hi    4b
5:  adds    x2, x2, #(128 - 16)
    b.le    6f
8:  ldp     x6, x7, [x1], #16
    stp     x6, x7, [x3], #16
    subs    x2, x2, #16
    b.gt    8b
6:  stp     x16, x17, [x5, #-16]
    ret
7:  ldp     x16, x17, [x1]          // the first bytes, up to 16
    subs    x2, x2, #64
    b.ls    2f
1:  ldp     x6, x7, [x4, #-64]!
    ldp     x8, x9, [x4, #16]
    ldp     x10, x11, [x4, #32]
    ldp     x12, x13, [x4, #48]
    stp     x6, x7, [x5, #-64]!
    stp     x8, x9, [x5, #16]
    stp     x10, x11, [x5, #32]
    stp     x12, x13, [x5, #48]
    subs    x2, x2, #64
    b.hi    1b
2:  adds    x2, x2, #(64 - 16)
    b.le    4f
3:  ldp     x6, x7, [x4, #-16]!
    stp     x6, x7, [x5, #-16]!
    subs    x2, x2, #16
    b.gt    3b
4:  stp     x16, x17, [x0]
    ret

// memset(x0 = to, w1 = byte, x2 = bytes).
    .section .text.memset, "ax"
    .global memset
memset:
    and     x1, x1, #0xff
    orr     x1, x1, x1, lsl #8
    orr     x1, x1, x1, lsl #16
    orr     x1, x1, x1, lsl #32
    mov     x3, x0
    subs    x2, x2, #64
    b.ls    2f
1:  stp     x1, x1, [x3], #64
    stp     x1, x1, [x3, #-48]
    stp     x1, x1, [x3, #-32]
    stp     x1, x1, [x3, #-16]
    subs    x2, x2, #64
    b.hi    1b
2:  adds    x2, x2, #(64 - 16)      // what is left, less 16
    b.lt    4f
3:  stp     x1, x1, [x3], #16
    subs    x2, x2, #16
    b.ge    3b
4:  tbz     x2, #3, 5f              // less 16 changes none of the lower bits
    str     x1, [x3], #8
5:  tbz     x2, #2, 6f
    str     w1, [x3], #4
6:  tbz     x2, #1, 7f
    strh    w1, [x3], #2
7:  tbz     x2, #0, 8f
    strb    w1, [x3]
8:  ret

// memcmp(x0, x1, x2 = bytes) and bcmp: below, at or above 0.
    .section .text.memcmp, "ax"
    .global memcmp, bcmp
memcmp:
bcmp:
    mov     w5, wzr
    subs    x2, x2, #8
    b.lo    2f
1:  ldr     x3, [x0], #8
    ldr     x4, [x1], #8
    cmp     x3, x4
    b.ne    5f
    subs    x2, x2, #8
    b.hs    1b
2:  adds    x2, x2, #8
    b.eq    4f
3:  ldrb    w3, [x0], #1
    ldrb    w4, [x1], #1
    subs    w5, w3, w4
    b.ne    4f
    subs    x2, x2, #1
    b.ne    3b
4:  mov     w0, w5
    ret
5:  rev     x3, x3                  // the first byte counts most
    rev     x4, x4
    cmp     x3, x4
    cset    w0, ne
    cneg    w0, w0, lo
    ret

// copy_to_memory(x0 = to, x1 = from, x2 = bytes): lines of 64 bytes, each cleaned and invalidated as soon as it is written. It wants
// the first of a line in x0 and a multiple of 512 in x2. v0-v3 are lost.
    .section .text.copy_to_memory, "ax"
    .arch_extension fp
    .arch_extension simd
    .global copy_to_memory
copy_to_memory:
    sub     x0, x0, #32
    cbz     x2, 2f
1:  .rept   8
    ldp     q0, q1, [x1], #64
    ldp     q2, q3, [x1, #-32]
    stp     q0, q1, [x0, #32]
    stp     q2, q3, [x0, #64]!
    dc      civac, x0               // in the line that was written
    .endr
    subs    x2, x2, #512
    b.ne    1b
2:  ret
    .arch_extension nosimd
    .arch_extension nofp
