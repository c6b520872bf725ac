//! From the Image header to a guest's `run`, and on to its other CPUs.

use core::{
    arch::global_asm,
    cell::UnsafeCell,
    panic::PanicInfo,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

use super::{cpu, exception, fdt::Fdt, gic, sleep, smccc::Psci, uart};

/// CPUs that a guest can use; MPIDR's Aff0 counts them.
pub const MAX_CPUS: usize = 8;
const STACK_SIZE: usize = 0x8000;

#[repr(C, align(4096))]
struct Stacks(UnsafeCell<[[u8; STACK_SIZE]; MAX_CPUS]>);
// SAFETY: each CPU uses its own stack only.
unsafe impl Sync for Stacks {}
static STACKS: Stacks = Stacks(UnsafeCell::new([[0; STACK_SIZE]; MAX_CPUS]));

#[repr(C, align(4096))]
struct PageTable([u64; 512]);

/// Level 1 blocks of 1 GiB (Arm ARM D8.3): valid, accessed, inner shareable.
static PAGE_TABLE: PageTable = {
    const BLOCK: u64 = 1 | 1 << 10 | 3 << 8;
    const DEVICE: u64 = 1 << 2 | 1 << 53 | 1 << 54;
    let mut table = [0; 512];
    let mut index = 0;
    while index < 512 {
        table[index] = (index as u64) << 30 | BLOCK | if index == 0 { DEVICE } else { 0 };
        index += 1;
    }
    PageTable(table)
};

/// T0SZ 25 (39 bits), TTBR0 walks write-back inner shareable, TTBR1 off, 40-bit output.
const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23 | 2 << 32;
/// RES1 bits of Armv8.0, I, C and M.
const SCTLR: u64 = 0x30d0_0800 | 1 << 12 | 1 << 2 | 1;

const RECORD_SHIFT: usize = 10;

/// What a CPU found when it came out of CPU_ON, see boot.S.
#[repr(C, align(1024))]
#[derive(Clone, Copy)]
pub struct EntryRecord {
    /// x0 to x30.
    pub x: [u64; 31],
    /// CurrentEL: 4 at EL1.
    pub current_el: u64,
    /// DAIF: 0x3c0 when all are masked.
    pub daif: u64,
    /// SPSel: 1 for SP_EL1.
    pub sp_sel: u64,
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// MPIDR_EL1.
    pub mpidr: u64,
    /// CNTV_CTL_EL0.
    pub cntv_ctl: u64,
    /// CNTP_CTL_EL0.
    pub cntp_ctl: u64,
    /// CNTFRQ_EL0.
    pub cntfrq: u64,
}

const EMPTY: EntryRecord = EntryRecord {
    x: [!0; 31],
    current_el: !0,
    daif: !0,
    sp_sel: !0,
    sctlr: !0,
    mpidr: !0,
    cntv_ctl: !0,
    cntp_ctl: !0,
    cntfrq: !0,
};

struct Records(UnsafeCell<[EntryRecord; MAX_CPUS]>);
// SAFETY: a CPU writes its own record before it announces itself, and others read it afterwards.
unsafe impl Sync for Records {}
static RECORDS: Records = Records(UnsafeCell::new([EMPTY; MAX_CPUS]));

/// How often each CPU came out of CPU_ON.
static STARTS: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];
/// What each CPU runs next, as the address of an `extern "C" fn()`.
static WORK: [AtomicUsize; MAX_CPUS] = [const { AtomicUsize::new(0) }; MAX_CPUS];

global_asm!(
    include_str!("boot.S"),
    stacks = sym STACKS,
    stack_size = const STACK_SIZE,
    page_table = sym PAGE_TABLE,
    records = sym RECORDS,
    record_shift = const RECORD_SHIFT,
    max_cpus = const MAX_CPUS,
    tcr = const TCR,
    sctlr = const SCTLR,
    first_main = sym first_main,
    secondary_main = sym secondary_main,
    exception = sym exception::exception,
    sleeper = sym sleep::SLEEPER,
);

unsafe extern "C" {
    fn secondary_entry();
}

/// What a guest is told.
#[derive(Clone, Copy)]
pub struct Guest {
    /// The device tree.
    pub fdt: Fdt,
    /// Its name.
    pub name: &'static str,
    /// CPUs in the device tree.
    pub cpus: usize,
    /// PSCI as the device tree describes it.
    pub psci: Psci,
    /// The physical count at its first instruction.
    pub started: u64,
}

unsafe extern "Rust" {
    /// What a guest's binary does: defined by [`guest_main!`](crate::guest_main).
    safe fn guest_main(guest: Guest);
}

/// Names the function `fn(Guest)` that a guest is.
#[macro_export]
macro_rules! guest_main {
    ($function:path) => {
        // SAFETY: no other item of a guest has this name.
        #[unsafe(no_mangle)]
        fn guest_main(guest: $crate::bare::Guest) {
            $function(guest)
        }
    };
}

extern "C" fn first_main(fdt: *const u8, started: u64) {
    // SAFETY: the boot protocol has put the device tree's address into x0.
    let fdt = unsafe { Fdt::at(fdt) };
    let guest = Guest {
        fdt,
        name: fdt.bootarg("vm=").unwrap_or("guest"),
        cpus: fdt.count("/cpus/cpu"),
        psci: Psci::from_fdt(fdt),
        started,
    };
    guest_main(guest);
    guest.psci.off();
    loop {
        cpu::wfi();
    }
}

extern "C" fn secondary_main() {
    let me = cpu::index();
    STARTS[me].fetch_add(1, Ordering::Release);
    gic::enable();
    loop {
        let work = WORK[me].swap(0, Ordering::Acquire);
        if work != 0 {
            // SAFETY: only `give_work` writes here, and it takes an `extern "C" fn()`.
            let work = unsafe { core::mem::transmute::<usize, extern "C" fn()>(work) };
            work();
        } else {
            cpu::wfi();
            while gic::take() < 1020 {}
        }
    }
}

/// Where CPU_ON has to start a CPU of ours.
pub fn entry_point() -> u64 {
    secondary_entry as *const () as u64
}

/// How often that CPU was started.
pub fn starts(cpu: usize) -> u64 {
    STARTS[cpu].load(Ordering::Acquire)
}

/// What that CPU found when it was started last.
pub fn entry_record(cpu: usize) -> EntryRecord {
    // It was written with the caches off.
    cpu::drop_cached(RECORDS.0.get().cast::<EntryRecord>().wrapping_add(cpu));
    // SAFETY: in bounds, and the CPU has long written it.
    unsafe { (*RECORDS.0.get())[cpu] }
}

/// Wipes that CPU's record before it is started.
pub fn clear_entry_record(cpu: usize) {
    // SAFETY: in bounds, and the CPU is off.
    unsafe { (*RECORDS.0.get())[cpu] = EMPTY };
    cpu::drop_cached(RECORDS.0.get().cast::<EntryRecord>().wrapping_add(cpu));
}

/// Has a CPU that is on and idle run `work`.
pub fn give_work(cpu: usize, work: extern "C" fn()) {
    WORK[cpu].store(work as *const () as usize, Ordering::Release);
    gic::send(cpu);
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    uart::print(format_args!("Bail out! {info}\n"));
    Psci::system_off_by_both();
    loop {
        cpu::wfi();
    }
}
