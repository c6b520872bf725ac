//! From the bundle to VMs: which vCPU runs where, which RAM is whose, and why a VM is not there.

use super::{
    entropy, lifecycle,
    machine::{Machine, Pcpu},
    roll::State,
    serial, timers,
};
use crate::{
    arch::{cache, crc32::crc32, el1, mmu},
    config::{
        bundle::{Bundle, ConfigError, Resources},
        vm::VmConfig,
    },
    console::Guest,
    emul::{
        firmware::{Firmware, PsciChoice},
        fw_registers::{Offer, Register, Registers, SetError},
        mitigation,
        pv_time::Records,
        rtc::Rtc,
        timer::Timer,
        uart::Uart,
        vgic::{ListRegs, Vgic},
    },
    hw::gic::{Gic, KICK, SgiTarget},
    load::fill::{self, LoadError},
    mm::{
        guest_ram::{self, GuestRam},
        pool::{self, PoolTables},
        ram::{NoRoom, Ram},
    },
    spec::{
        machine::{GICC, PV_TIME, RAM_BASE, VIRTUAL_TIMER_INTID},
        translation::{Attributes, MapError, PAGE, Tables, stage2_input_bits},
    },
    sync::{Mutex, atomic::AtomicBool},
    types::{MAX_PCPUS, MAX_VMS, Pa, PaRange, VcpuId, VmId},
    vm::{Vcpu, Vm},
};
use arrayvec::ArrayVec;
use core::fmt;

/// Guest RAM begins on a boundary of its blocks, so that one descriptor maps each.
const RAM_ALIGN: u64 = guest_ram::BLOCK;
/// Time of day on a board without a clock, in seconds since 1970: 2026-01-01.
const EPOCH: u32 = 1_767_225_600;
type Vms = ArrayVec<&'static Vm, MAX_VMS>;

/// Makes every VM of the bundle that can be made and starts them; says of each other one why not.
pub fn start(initrd: Option<&'static mut [u8]>, ram: &mut Ram, machine: &'static Machine) {
    match initrd.map(|initrd| Bundle::open(initrd)) {
        Some(Ok(bundle)) => start_all(&bundle, ram, machine),
        Some(Err(error)) => nothing_to_run(format_args!("{error}")),
        None => nothing_to_run(format_args!(
            "no bundle: load one as the initrd (QEMU: -initrd FILE.itb)"
        )),
    }
}

/// Not inlined, as its frame is large and without a bundle there is no use for it.
#[inline(never)]
fn start_all(bundle: &Bundle<'static>, ram: &mut Ram, machine: &'static Machine) {
    let resources = Resources {
        cpus: machine.online().count(),
        vcpus: machine.gic.version().max_vcpus(),
        memory: ram.largest(RAM_ALIGN),
        reach: (1 << stage2_input_bits(mmu::physical_address_bits())) - RAM_BASE.get(),
    };
    let mut homes = Homes::new(machine);
    let mut vms = Vms::new();
    for found in bundle.vms(resources, crc32) {
        for name in found.ignored() {
            serial::warn(format_args!(
                "/configurations/{}: {name}: unknown property, ignored",
                found.name
            ));
        }
        let id = VmId::new(vms.len() as u8);
        let config = found.config.map_err(NotMade::Config);
        match config.and_then(|config| make(id, config, ram, &mut homes)) {
            Ok(vm) => {
                let state = match vm.config.manual_start {
                    true => State::NotStarted,
                    false => State::On,
                };
                lifecycle::enrol(found.name, Some(id), state);
                let _ = vms.try_push(vm);
            }
            Err(reason) => {
                serial::print(format_args!(
                    "bulkhead: vm {}: not started: {reason}",
                    found.name
                ));
                lifecycle::enrol(found.name, None, State::NotStarted);
            }
        }
    }
    let vms = machine.vms.call_once(|| vms);
    vms.iter()
        .filter(|vm| !vm.config.manual_start)
        .for_each(|vm| serial::expect(vm.id));
    lifecycle::begin();
    homes.open();
}

fn nothing_to_run(reason: fmt::Arguments) {
    serial::print(format_args!("bulkhead: {reason}"));
    lifecycle::begin();
}

/// Why a VM is not there.
enum NotMade {
    Config(ConfigError<'static>),
    Load(LoadError),
    Firmware(SetError),
    Cpus { wanted: usize, free: usize },
    Room(NoRoom),
    Map(MapError),
    Pool(pool::Exhausted),
}

impl fmt::Display for NotMade {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Config(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Firmware(error) => error.fmt(f),
            Self::Cpus { wanted, free } => {
                write!(
                    f,
                    "cpus = <{wanted}>, allowed: as many as board CPUs are free for it, {free}"
                )
            }
            Self::Room(error) => write!(f, "memory-mib = <{}>: {error}", error.wanted >> 20),
            Self::Map(error) => error.fmt(f),
            Self::Pool(error) => error.fmt(f),
        }
    }
}

/// Makes one VM with its vCPUs; nothing of it runs yet.
#[inline(never)]
fn make(
    id: VmId,
    config: VmConfig<'static>,
    ram: &mut Ram,
    homes: &mut Homes,
) -> Result<&'static Vm, NotMade> {
    let placement = fill::place(&config).map_err(NotMade::Load)?;
    let registers = registers(&config, homes.offer).map_err(NotMade::Firmware)?;
    let psci = PsciChoice {
        legacy: config.psci_ids,
        hidden: config.psci_hide,
    };
    let pcpus = homes.choose(&config)?;
    let piece = ram.take(config.memory, RAM_ALIGN).map_err(NotMade::Room)?;
    let gic = &homes.machine.gic;
    let stolen: &Records = pool::place(Records::default()).map_err(NotMade::Pool)?;
    let tables = stage2(stolen, gic)?;
    // VMID 0 is nobody's.
    let vttbr = (id.index() as u64 + 1) << 48 | tables.root().get();
    let ram = GuestRam::new(piece, tables, placement.ranges()).map_err(NotMade::Map)?;
    let ipa = ram.ipa().ok_or(NotMade::Map(MapError::BadRange))?;
    let time_of_day = homes.machine.rtc.map_or(EPOCH, |rtc| rtc.seconds());
    let (name, manual) = (config.name, config.manual_start);
    let guest = pool::place(Guest::new(name)).map_err(NotMade::Pool)?;
    let mut vgic = Vgic::new(gic.version(), config.cpus, gic.priority_bits());
    // The one link of the table; there is room for sixteen.
    let _ = vgic.link(VIRTUAL_TIMER_INTID, super::irq::VIRTUAL_TIMER as u16);
    let mut targets = ArrayVec::new();
    for (.., target) in &pcpus {
        // There are as many as vCPUs.
        let _ = targets.try_push(*target);
    }
    let vm: &'static Vm = pool::place(Vm {
        id,
        placement,
        vttbr,
        counter_offset: el1::counter(),
        firmware: Firmware::new(registers, psci, config.cpus, ipa, timers::frequency()),
        stolen,
        vgic_identity: vgic.identity(),
        vgic: Mutex::new(vgic),
        uart: Mutex::new(Uart::new()),
        rtc: Mutex::new(Rtc::new(time_of_day, timers::seconds())),
        alarm_is_set: AtomicBool::new(false),
        gic,
        homes: targets,
        ram,
        config,
    })
    .map_err(NotMade::Pool)?;
    homes.settle(vm, &pcpus)?;
    serial::add(guest);
    if manual {
        serial::warn(format_args!(
            "vm {name}: manual-start: nothing starts it yet"
        ));
    }
    Ok(vm)
}

/// The firmware's registers, with what the bundle says written to them.
fn registers(config: &VmConfig, offer: Offer) -> Result<Registers, SetError> {
    let mut registers = Registers::new(offer);
    registers.set(Register::PsciVersion, config.psci.word().into())?;
    for (register, bits) in [
        (Register::StdBmap, config.services.std),
        (Register::StdHypBmap, config.services.std_hyp),
        (Register::VendorHypBmap, config.services.vendor_hyp),
    ] {
        if let Some(bits) = bits {
            registers.set(register, bits.into())?;
        }
    }
    Ok(registers)
}

/// Translation tables that map a VM's stolen time and a GICv2's CPU interface; its RAM joins as it is touched.
fn stage2(stolen: &'static Records, gic: &Gic) -> Result<Tables, NotMade> {
    let mut memory = PoolTables;
    let bits = stage2_input_bits(mmu::physical_address_bits());
    let tables = Tables::new(&mut memory, bits).ok_or(NotMade::Pool(pool::Exhausted))?;
    let stolen = Pa::new(core::ptr::from_ref(stolen) as u64);
    let stolen = PaRange::new(stolen, PV_TIME.size).ok_or(NotMade::Map(MapError::BadRange))?;
    // A guest with its MMU off reads past the caches.
    cache::clean_and_invalidate(stolen);
    // One page only: behind it lies GICV_DIR, by which the guest could deactivate what the vGIC still counts on.
    let interface = gic.guest_page().and_then(|page| PaRange::new(page, PAGE));
    for (ipa, pa, attributes) in [
        (PV_TIME.base, Some(stolen), Attributes::GUEST_CONSTANTS),
        (GICC.base, interface, Attributes::GUEST_DEVICE),
    ] {
        let Some(pa) = pa else { continue };
        tables
            .map(&mut memory, ipa.get(), pa.start(), pa.bytes(), attributes)
            .map_err(NotMade::Map)?;
    }
    Ok(tables)
}

/// Board CPUs with their index, and how SGIs reach them.
type Chosen = ArrayVec<(usize, &'static Pcpu, SgiTarget), MAX_PCPUS>;

/// vCPUs, each with the index of its board CPU.
type Settled = ArrayVec<(usize, &'static mut Vcpu), MAX_PCPUS>;

/// What the board has for VMs: the CPUs, some of which have a vCPU already, and its firmware's offer.
struct Homes {
    machine: &'static Machine,
    offer: Offer,
    taken: u64,
    vcpus: Settled,
}

impl Homes {
    fn new(machine: &'static Machine) -> Self {
        Self {
            machine,
            offer: Offer {
                workarounds: mitigation::worst(machine.facts()),
                trng: entropy::settle(machine),
            },
            taken: 0,
            vcpus: ArrayVec::new(),
        }
    }

    /// One free CPU for each vCPU, of those that the VM may use.
    fn choose(&self, config: &VmConfig) -> Result<Chosen, NotMade> {
        let allowed = config.affinity.unwrap_or(u64::MAX) & !self.taken;
        let mut free = Chosen::new();
        for (index, pcpu) in self.machine.online() {
            if allowed >> index & 1 != 0
                && let Some(target) = pcpu.sgi_target.get()
            {
                let _ = free.try_push((index, pcpu, *target));
            }
        }
        if free.len() < config.cpus {
            return Err(NotMade::Cpus {
                wanted: config.cpus,
                free: free.len(),
            });
        }
        free.truncate(config.cpus);
        Ok(free)
    }

    /// Makes the VM's vCPUs, each for its CPU; all of them or none.
    fn settle(&mut self, vm: &'static Vm, pcpus: &Chosen) -> Result<(), NotMade> {
        let before = self.vcpus.len();
        let mut taken = self.taken;
        for (id, (index, pcpu, _)) in (0..).zip(pcpus) {
            let vcpu = pool::place(Vcpu {
                id: VcpuId::new(id),
                vm,
                hardening: self.machine.hardening(pcpu),
                list_regs: ListRegs::new(vm.gic.list_registers()),
                physical_timer: Timer::new(),
                settle_at: None,
                frozen: false,
            });
            let Ok(vcpu) = vcpu else {
                self.vcpus.truncate(before);
                return Err(NotMade::Pool(pool::Exhausted));
            };
            taken |= 1 << index;
            // Each board CPU is chosen once.
            let _ = self.vcpus.try_push((*index, vcpu));
        }
        self.taken = taken;
        Ok(())
    }

    /// Hands the vCPUs to their CPUs.
    fn open(self) {
        for (index, vcpu) in self.vcpus {
            if let Some(pcpu) = self.machine.cpus.get(index) {
                *pcpu.work.lock() = Some(vcpu);
                if let Some(target) = pcpu.sgi_target.get() {
                    self.machine.gic.send_sgi(*target, KICK);
                }
            }
        }
    }
}
