// A Linux program that prints the virtual count: "ticks N".

    .global _start
_start:
    isb
    mrs     x0, cntvct_el0
    adr     x1, end                 // digits are written from the end backwards
    mov     x2, #10
1:  udiv    x3, x0, x2
    msub    x4, x3, x2, x0
    add     x4, x4, #'0'
    strb    w4, [x1, #-1]!
    mov     x0, x3
    cbnz    x0, 1b
    mov     w4, #' '
    strb    w4, [x1, #-1]!
    adr     x3, word + 5
    mov     x5, #5
2:  ldrb    w4, [x3, #-1]!
    strb    w4, [x1, #-1]!
    subs    x5, x5, #1
    b.ne    2b
    adr     x2, end + 1
    sub     x2, x2, x1
    mov     x0, #1
    mov     x8, #64                 // write
    svc     #0
    mov     x0, #0
    mov     x8, #93                 // exit
    svc     #0

word:
    .ascii  "ticks"

    .data
    .skip   32
end:
    .ascii  "\n"
