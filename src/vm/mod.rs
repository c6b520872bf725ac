//! A virtual machine: what its vCPUs share, and what each of them has for itself.

use crate::{
    arch::guest::Hardening,
    config::vm::VmConfig,
    emul::{
        firmware::Firmware,
        pv_time::Records,
        rtc::Rtc,
        timer::Timer,
        uart::Uart,
        vgic::{Identity, ListRegs, Vgic},
    },
    hw::gic::{Gic, KICK, SgiTarget},
    load::image::Placement,
    mm::guest_ram::GuestRam,
    spec::machine::{RTC_INTID, UART_INTID},
    sync::{Mutex, atomic::AtomicBool},
    types::{MAX_VCPUS, VcpuId, VcpuSet, VmId},
};
use arrayvec::ArrayVec;

/// The vCPU that a VM starts with.
pub const BOOT_VCPU: VcpuId = VcpuId::new(0);

/// What the vCPUs of a VM share. Immutable but for what stands behind locks. In the order in which exits ask for it: what
/// comes first is in reach of one instruction.
#[repr(C)]
pub struct Vm {
    /// PSCI and SMCCC, with every vCPU's power state.
    pub firmware: Firmware,
    /// The board's interrupt controller.
    pub gic: &'static Gic,
    /// What the interrupt controller says of itself.
    pub vgic_identity: Identity,
    /// The interrupt controller.
    pub vgic: Mutex<Vgic>,
    /// The PL011.
    pub uart: Mutex<Uart>,
    /// Position in the bundle.
    pub id: VmId,
    /// What the bundle says.
    pub config: VmConfig<'static>,
    /// Its RAM.
    pub ram: GuestRam,
    /// Where kernel, RAM disk and device tree go.
    pub placement: Placement,
    /// VTTBR_EL2: VMID and root of stage 2.
    pub vttbr: u64,
    /// CNTVOFF_EL2: the virtual counter starts at 0 with the VM.
    pub counter_offset: u64,
    /// The stolen time of its vCPUs, which the guest reads.
    pub stolen: &'static Records,
    /// The PL031.
    pub rtc: Mutex<Rtc>,
    /// Its alarm is another one since the vCPU that looks after it did so.
    pub alarm_is_set: AtomicBool,
    /// The pCPU of each vCPU.
    pub homes: ArrayVec<SgiTarget, MAX_VCPUS>,
}

impl Vm {
    /// Makes the vCPUs in `who` look: their CPUs leave the guest or wake up. Mostly there are none.
    #[inline(always)]
    pub fn kick(&self, who: VcpuSet) {
        if !who.is_empty() {
            self.interrupt(who);
        }
    }

    fn interrupt(&self, who: VcpuSet) {
        for vcpu in who {
            if let Some(home) = self.homes.get(vcpu.index()) {
                self.gic.send_sgi(*home, KICK);
            }
        }
    }

    /// Puts interrupt controller and devices into their state after reset, at `now`, in seconds of the RTC's time base.
    /// A line that a device held up falls with it.
    pub fn reset(&self, now: u64) {
        self.stolen.reset();
        self.vgic.lock().reset();
        let mut uart = self.uart.lock();
        uart.reset();
        self.set_spi(UART_INTID, uart.line());
        let mut rtc = self.rtc.lock();
        rtc.reset(now);
        self.set_spi(RTC_INTID, rtc.line());
    }

    /// Sets the input of a shared interrupt and makes its target look. For everybody who does not run a vCPU of this
    /// VM or holds none of its state; under the lock of the device whose line it is, so that no older level comes later.
    pub fn set_spi(&self, intid: u32, level: bool) {
        let kick = self.vgic.lock().set_line(intid, VcpuId::new(0), level);
        self.kick(kick);
    }
}

/// What one vCPU has for itself; only the pCPU that runs it touches it.
pub struct Vcpu {
    /// Which one.
    pub id: VcpuId,
    /// Of which VM.
    pub vm: &'static Vm,
    /// What its pCPU wants to be done at exits.
    pub hardening: Hardening,
    /// Image of the list registers.
    pub list_regs: ListRegs,
    /// The emulated EL1 physical timer.
    pub physical_timer: Timer,
    /// Counter value at which the console is to be settled after lines of this vCPU.
    pub settle_at: Option<u64>,
    /// It is off by CPU_FREEZE: what interrupts it stays pending.
    pub frozen: bool,
}
