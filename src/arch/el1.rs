//! The EL1 and EL0 registers of the vCPU that this CPU runs, and the EL2 controls over it.

use super::regs::{isb, read_reg, write_reg};
use crate::types::Mpidr;
use aarch64_cpu::registers::*;
use core::arch::{asm, global_asm};

/// PSTATE of a vCPU that starts: EL1h with D, A, I and F masked (DEN0022F.b 6.4.1).
pub const START_PSTATE: u64 = 0x3c5;

/// SCTLR_EL1 of a vCPU that starts: MMU and caches off, the bits RES1 on a CPU without later features
/// (ITD and so on zero), no trap of WFI, WFE or DC ZVA's siblings.
const START_SCTLR: u64 = 0x30d5_0838;

/// CPTR_EL2 (E2H = 0), RES1 bits and: SVE (TZ), SME (TSM), trace (TTA) and activity monitors (TAM) trapped, FP and
/// SIMD the guest's own. The crate has the field TAM only.
const GUEST_CPTR: u64 = 0x22ff | 1 << 8 | 1 << 12 | 1 << 20 | 1 << 30;

/// Puts this CPU's EL2 controls in place for a vCPU with affinity `mpidr`; its virtual counter reads as the
/// physical one minus `counter_offset`.
pub fn configure(mpidr: Mpidr, counter_offset: u64) {
    // Stage 2, set/way by address (SWIO), walks of device memory fault (PTW), interrupts and SErrors to EL2.
    // Trapped: ID registers, SMC, implementation defined registers (TIDCP, TACR), LORegions, and RAS error records
    // (TERR), which are the board's. WFI and WFE are not: a vCPU has its CPU for itself.
    HCR_EL2.write(
        HCR_EL2::VM::SET
            + HCR_EL2::SWIO::SET
            + HCR_EL2::PTW::SET
            + HCR_EL2::FMO::SET
            + HCR_EL2::IMO::SET
            + HCR_EL2::AMO::SET
            + HCR_EL2::TID3::SET
            + HCR_EL2::TSC::SET
            + HCR_EL2::TIDCP::SET
            + HCR_EL2::TACR::SET
            + HCR_EL2::RW::SET
            + HCR_EL2::TLOR::SET
            + HCR_EL2::TERR::SET,
    );
    CPTR_EL2.set(GUEST_CPTR);
    // Performance monitors, statistical profiling (E2PB = 0), trace filters and buffer (E2TB = 0) and the OS
    // lock trapped; the breakpoints are the guest's own.
    MDCR_EL2.write(
        MDCR_EL2::TPM::SET
            + MDCR_EL2::TPMCR::SET
            + MDCR_EL2::TPMS::SET
            + MDCR_EL2::TTRF::SET
            + MDCR_EL2::TDOSA::SET
            + MDCR_EL2::HPMN.val(event_counters()),
    );
    write_reg!("hstr_el2", 0);
    // E2H = 0: the physical counter is read directly, the physical timer traps.
    CNTHCTL_EL2.write(CNTHCTL_EL2::EL1PCTEN::SET);
    CNTVOFF_EL2.set(counter_offset);
    write_reg!("vpidr_el2", MIDR_EL1.get());
    VMPIDR_EL2.set(VMPIDR_EL2::RES1::SET.value | mpidr.affinity());
    reset_feature_controls();
    isb();
}

/// PMCR_EL0.N where there is a PMU: MDCR_EL2.HPMN says how many counters EL1 has, all of them as after reset
/// (D24.3.20).
fn event_counters() -> u64 {
    match ID_AA64DFR0_EL1.read(ID_AA64DFR0_EL1::PMUVer) {
        1..=14 => read_reg!("pmcr_el0") >> 11 & 0x1f,
        _ => 0,
    }
}

/// Controls that only later CPUs have; without them the registers do not exist.
fn reset_feature_controls() {
    // FEAT_FGT: nothing trapped but what later features add with inverted bits, none of which is offered.
    let fine_grained_traps = ID_AA64MMFR0_EL1.get() >> 56 & 0xf;
    if fine_grained_traps >= 1 {
        HFGRTR_EL2.set(0);
        HFGWTR_EL2.set(0);
        HFGITR_EL2.set(0);
        HDFGRTR_EL2.set(0);
        HDFGWTR_EL2.set(0);
    }
    if fine_grained_traps >= 2 {
        // FEAT_FGT2: HFGRTR2_EL2, HFGWTR2_EL2, HFGITR2_EL2, HDFGRTR2_EL2, HDFGWTR2_EL2.
        write_reg!("s3_4_c3_c1_2", 0);
        write_reg!("s3_4_c3_c1_3", 0);
        write_reg!("s3_4_c3_c1_7", 0);
        write_reg!("s3_4_c3_c1_0", 0);
        write_reg!("s3_4_c3_c1_1", 0);
    }
    if ID_AA64MMFR1_EL1.get() >> 40 & 0xf != 0 {
        // FEAT_HCX, HCRX_EL2: nothing of it is offered.
        write_reg!("s3_4_c1_c2_2", 0);
    }
    if ID_AA64PFR0_EL1.get() >> 40 & 0xf != 0 || ID_AA64PFR1_EL1.get() >> 16 & 0xf != 0 {
        // FEAT_MPAM, MPAM2_EL2: EL2's own partition is 0; TRAPMPAM1EL1 and TRAPMPAM0EL1, so that no guest chooses
        // another VM's share of caches and memory bandwidth.
        write_reg!("s3_4_c10_c5_0", 0b11 << 48);
    }
}

/// Whether the guest's stage 1 lets EL1 read at `address` (AT S1E1R; PAR_EL1.F is 0). PAR_EL1 is the guest's.
pub fn stage_1_translates(address: u64) -> bool {
    let guests = read_reg!("par_el1");
    // SAFETY: asks the tables of the vCPU that is loaded; nothing but PAR_EL1 changes.
    unsafe { asm!("at s1e1r, {}", in(reg) address, options(nostack, preserves_flags)) };
    isb();
    let translates = read_reg!("par_el1") & 1 == 0;
    write_reg!("par_el1", guests);
    translates
}

/// Whether the vCPU runs big-endian at EL1 (SCTLR_EL1.EE).
pub fn is_big_endian() -> bool {
    SCTLR_EL1.is_set(SCTLR_EL1::EE)
}

/// The virtual timer after reset: off.
pub fn reset_virtual_timer() {
    set_cntv_ctl(0);
    write_reg!("cntv_cval_el0", 0);
}

/// The state of a CPU after reset (DEN0022F.b, initial state of a core): nothing of its former life shows but its
/// virtual timer, which has power of its own.
pub fn reset(big_endian: bool) {
    let byte_order = if big_endian {
        SCTLR_EL1::EE::SET + SCTLR_EL1::E0E::SET
    } else {
        SCTLR_EL1::EE::CLEAR + SCTLR_EL1::E0E::CLEAR
    };
    SCTLR_EL1.set(byte_order.modify(START_SCTLR));
    macro_rules! clear {
        ($($reg:literal)*) => { $(write_reg!($reg, 0);)* };
    }
    clear!("ttbr0_el1" "ttbr1_el1" "tcr_el1" "mair_el1" "amair_el1" "vbar_el1" "contextidr_el1"
           "tpidr_el0" "tpidrro_el0" "tpidr_el1" "cpacr_el1" "esr_el1" "far_el1" "afsr0_el1" "afsr1_el1"
           "par_el1" "csselr_el1" "sp_el0" "sp_el1" "elr_el1" "spsr_el1" "mdscr_el1"
           "cntkctl_el1");
    // The OS lock stays open: power-down of the CPU is not the guest's business, and its registers trap.
    OSLAR_EL1.set(0);
    clear_debug();
    clear_fp();
    isb();
    super::tlb::invalidate_vcpu();
}

/// Disables the breakpoints and watchpoints that this CPU has (ID_AA64DFR0_EL1.BRPs and WRPs name the last ones).
fn clear_debug() {
    macro_rules! clear {
        ($reg:literal up to $last:expr; $($n:literal)*) => {
            'done: {
                let last = $last;
                $(
                    write_reg!(concat!($reg, $n, "_el1"), 0);
                    if last <= $n {
                        break 'done;
                    }
                )*
            }
        };
    }
    let features = ID_AA64DFR0_EL1.extract();
    clear!("dbgbcr" up to features.read(ID_AA64DFR0_EL1::BRPs); 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    clear!("dbgwcr" up to features.read(ID_AA64DFR0_EL1::WRPs); 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
}

global_asm!(
    ".arch_extension fp",
    ".arch_extension simd",
    "clear_fp_registers:",
    ".irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
    "movi v\\n\\().2d, #0",
    ".endr",
    "msr fpcr, xzr",
    "msr fpsr, xzr",
    "ret",
    ".arch_extension nosimd",
    ".arch_extension nofp",
);

/// Zeroes the FP and SIMD registers, where the CPU has them.
fn clear_fp() {
    unsafe extern "C" {
        fn clear_fp_registers();
    }
    if has_fp() {
        // SAFETY: EL2 code is soft-float and keeps nothing there; CPTR_EL2.TFP is clear.
        unsafe { clear_fp_registers() }
    }
}

/// Whether the CPU has FP and SIMD registers (ID_AA64PFR0_EL1.FP).
pub fn has_fp() -> bool {
    ID_AA64PFR0_EL1.get() >> 16 & 0xf != 0xf
}

/// The raw value of an ID register with op0 = 3, op1 = 0, CRn = 0 and the given CRm (1 to 7) and op2 (0 to 7); the
/// unallocated ones read as zero (D24.3.1).
pub fn id_register(crm: u8, op2: u8) -> u64 {
    macro_rules! table {
        ($($crm:literal)*) => {
            match (crm, op2) {
                $(
                    ($crm, 0) => read_reg!(concat!("s3_0_c0_c", $crm, "_0")),
                    ($crm, 1) => read_reg!(concat!("s3_0_c0_c", $crm, "_1")),
                    ($crm, 2) => read_reg!(concat!("s3_0_c0_c", $crm, "_2")),
                    ($crm, 3) => read_reg!(concat!("s3_0_c0_c", $crm, "_3")),
                    ($crm, 4) => read_reg!(concat!("s3_0_c0_c", $crm, "_4")),
                    ($crm, 5) => read_reg!(concat!("s3_0_c0_c", $crm, "_5")),
                    ($crm, 6) => read_reg!(concat!("s3_0_c0_c", $crm, "_6")),
                    ($crm, 7) => read_reg!(concat!("s3_0_c0_c", $crm, "_7")),
                )*
                _ => 0,
            }
        };
    }
    table!(1 2 3 4 5 6 7)
}

macro_rules! accessors {
    ($($(#[$doc:meta])* $name:ident: $reg:ident $direction:ident;)*) => {
        $(accessors!(@$direction $(#[$doc])* $name $reg);)*
    };
    (@read $(#[$doc:meta])* $name:ident $reg:ident) => {
        $(#[$doc])*
        pub fn $name() -> u64 { $reg.get() }
    };
    (@write $(#[$doc:meta])* $name:ident $reg:ident) => {
        $(#[$doc])*
        pub fn $name(value: u64) { $reg.set(value); }
    };
}

accessors! {
    /// SCTLR_EL1.
    sctlr: SCTLR_EL1 read;
    /// VBAR_EL1.
    vbar: VBAR_EL1 read;
    /// ELR_EL1.
    set_elr: ELR_EL1 write;
    /// SPSR_EL1.
    set_spsr: SPSR_EL1 write;
    /// ESR_EL1.
    set_esr: ESR_EL1 write;
    /// FAR_EL1.
    set_far: FAR_EL1 write;
    /// CNTHP_CTL_EL2, the hypervisor timer's control.
    set_cnthp_ctl: CNTHP_CTL_EL2 write;
}

/// CNTV_CTL_EL0, the virtual timer's control.
pub fn cntv_ctl() -> u64 {
    CNTV_CTL_EL0.get()
}

/// Writes CNTV_CTL_EL0. It takes effect before what follows: an interrupt that is deactivated next does not come
/// again from a timer that was just stopped.
pub fn set_cntv_ctl(value: u64) {
    CNTV_CTL_EL0.set(value);
    isb();
}

/// CNTHP_CVAL_EL2, when the hypervisor timer fires.
pub fn set_cnthp_cval(value: u64) {
    write_reg!("cnthp_cval_el2", value);
}

/// Stops the timers whose interrupts come to EL2. ENABLE of either is UNKNOWN after a reset (Arm ARM, CNTV_CTL_EL0,
/// CNTHP_CTL_EL2), and what the board's firmware leaves running would interrupt a CPU that has nobody to serve.
pub fn stop_timers() {
    set_cntv_ctl(0);
    set_cnthp_ctl(0);
    isb();
}

/// The physical counter, in ticks of [`counter_frequency`]; not read ahead of earlier instructions (D12.2.1).
pub fn counter() -> u64 {
    isb();
    CNTPCT_EL0.get()
}

/// Ticks of the counter per second (CNTFRQ_EL0).
pub fn counter_frequency() -> u64 {
    CNTFRQ_EL0.get()
}
