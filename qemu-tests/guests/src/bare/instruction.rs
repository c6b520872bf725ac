//! Instructions that are made at run time: system registers by number, HVC and SMC with any immediate.

use core::{arch::asm, cell::UnsafeCell};

use super::{
    cpu,
    exception::{Fault, catch},
};

const RET: u32 = 0xd65f_03c0;

#[repr(C, align(4096))]
struct Page(UnsafeCell<[u32; 1024]>);
// SAFETY: only the first CPU makes instructions.
unsafe impl Sync for Page {}
static PAGE: Page = Page(UnsafeCell::new([RET; 1024]));

/// The encoding of a system register (Arm ARM C5.3): op0 (2 or 3), op1, CRn, CRm, op2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemRegister(pub u32, pub u32, pub u32, pub u32, pub u32);

impl SystemRegister {
    fn field(self) -> u32 {
        let Self(op0, op1, crn, crm, op2) = self;
        op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5
    }

    /// Reads it: its value, or the exception.
    pub fn read(self) -> Result<u64, Fault> {
        run(0xd520_0000 | self.field(), 0)
    }

    /// Writes it.
    pub fn write(self, value: u64) -> Result<(), Fault> {
        run(0xd500_0000 | self.field(), value).map(|_| ())
    }

    /// Writes it from XZR: Rt = 31.
    pub fn write_zero_register(self) -> Result<(), Fault> {
        run(0xd500_0000 | self.field() | 31, 0).map(|_| ())
    }

    /// Reads it into XZR.
    pub fn read_to_zero_register(self) -> Result<(), Fault> {
        run(0xd520_0000 | self.field() | 31, 0).map(|_| ())
    }
}

/// HVC with that immediate.
pub const fn hvc(immediate: u16) -> u32 {
    0xd400_0002 | (immediate as u32) << 5
}

/// SMC with that immediate.
pub const fn smc(immediate: u16) -> u32 {
    0xd400_0003 | (immediate as u32) << 5
}

/// Makes a function of one instruction; the next call makes another in its place.
pub fn make(instruction: u32) -> unsafe extern "C" fn() {
    let code = PAGE.0.get().cast::<u32>();
    // SAFETY: the page is ours, and nobody runs in it now.
    unsafe { code.write_volatile(instruction) };
    cpu::sync_instruction(code);
    // SAFETY: it holds an instruction and a return.
    unsafe { core::mem::transmute::<*mut u32, unsafe extern "C" fn()>(code) }
}

/// Runs an instruction that has x0 as operand and result, if it has any.
pub fn run(instruction: u32, x0: u64) -> Result<u64, Fault> {
    let function = make(instruction);
    let mut value = x0;
    // SAFETY: the instruction changes no register but x0; what it does otherwise is the test.
    let fault = catch(|| unsafe {
        asm!("blr {}", in(reg) function, inout("x0") value, clobber_abi("C"));
    });
    fault.map_or(Ok(value), Err)
}
