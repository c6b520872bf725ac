//! The life of a VM once it is made: start, reset, off, crash; and the end of them all.

use super::{
    machine,
    roll::{Roll, State},
    serial, timers,
};
use crate::{
    arch::{self, cache, crc32::crc32, semihosting},
    config::vm::OnCrash,
    emul::power::{Entry, StopEvent},
    load::fill::{self, LoadError},
    sync::Mutex,
    types::{VcpuSet, VmId},
    vm::{BOOT_VCPU, Vm},
};
use core::fmt;

/// All VMs. Under its lock nothing is locked but the serial line.
static ROLL: Mutex<Roll> = Mutex::new(Roll::EMPTY);

/// The next VM of the bundle; it has no id when it could not be made.
pub fn enrol(name: &'static str, vm: Option<VmId>, state: State) {
    ROLL.lock().add(name, vm, state);
}

/// All VMs of the bundle are known; none may run before. Returns if there is one to wait for.
pub fn begin() {
    end_if_over(&ROLL.lock());
}

/// What a VM finds in its RAM besides its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// Zeros.
    Cleared,
    /// What its former life left there.
    Kept,
}

/// Starts a VM whose vCPUs are all parked, from its pristine images. Called by the pCPU of its vCPU 0.
pub fn start(vm: &Vm) {
    start_with(vm, Memory::Cleared);
}

fn start_with(vm: &Vm, memory: Memory) {
    match fill(vm, memory) {
        Ok(entry) => {
            let version = vm.firmware.version();
            serial::print(format_args!(
                "bulkhead: vm {}: on, PSCI {version}",
                vm.config.name
            ));
            if !vm.firmware.start(entry) {
                log::error!("vm {}: it was to start while it ran", vm.config.name);
            }
            // It may be another CPU's vCPU that carries this out.
            vm.kick(VcpuSet::one(BOOT_VCPU));
        }
        Err(error) => {
            serial::stopped(
                vm.id,
                format_args!("bulkhead: vm {}: not started: {error}", vm.config.name),
            );
            gone(vm, State::NotStarted);
        }
    }
}

/// Puts the VM's images in place. Where its RAM is kept they are written all the same: a kernel does not survive
/// its own run, whose data and early code it has changed.
fn fill(vm: &Vm, memory: Memory) -> Result<Entry, LoadError> {
    match memory {
        Memory::Cleared => vm.ram.withdraw(),
        Memory::Kept => vm.ram.keep(),
    }
    let images = vm.placement.ranges();
    for image in images.filter_map(|image| vm.ram.pa_of(image)) {
        vm.ram.provide_all(image);
    }
    let entry = vm.ram.while_stopped(|bytes| {
        fill::fill(
            &vm.config,
            &vm.placement,
            vm.gic.version(),
            vm.firmware.legacy_ids(),
            (crc32, cache::settle),
            bytes,
        )
    })?;
    cache::invalidate_instructions();
    Ok(entry)
}

/// What the last of a VM's vCPUs to park carries out.
pub fn finish(vm: &Vm, event: StopEvent) {
    let name = vm.config.name;
    match event {
        StopEvent::Off => stopped(vm, State::Off, format_args!("bulkhead: vm {name}: off")),
        StopEvent::AllOff => stopped(
            vm,
            State::Off,
            format_args!("bulkhead: vm {name}: off, every CPU was turned off"),
        ),
        StopEvent::Reset => restart(
            vm,
            Memory::Cleared,
            format_args!("bulkhead: vm {name}: reset"),
        ),
        StopEvent::WarmReset => restart(
            vm,
            Memory::Kept,
            format_args!("bulkhead: vm {name}: reset, its memory is kept"),
        ),
        StopEvent::Crash if vm.config.on_crash == OnCrash::Restart => {
            restart(
                vm,
                Memory::Cleared,
                format_args!("bulkhead: vm {name}: restart after a crash"),
            );
        }
        StopEvent::Crash => stopped(
            vm,
            State::Crash,
            format_args!("bulkhead: vm {name}: halted after a crash"),
        ),
    }
}

fn stopped(vm: &Vm, state: State, text: fmt::Arguments) {
    serial::stopped(vm.id, text);
    gone(vm, state);
}

/// Everything but the VM's configuration, and `memory` where that is wanted, is as on its first start.
fn restart(vm: &Vm, memory: Memory, text: fmt::Arguments) {
    serial::print(text);
    vm.reset(timers::seconds());
    start_with(vm, memory);
}

/// Ends a VM that cannot go on; the others do.
pub fn crash(vm: &Vm, reason: fmt::Arguments) {
    serial::print(format_args!(
        "bulkhead: vm {}: crash: {reason}",
        vm.config.name
    ));
    vm.firmware.power.stop(StopEvent::Crash);
    vm.kick(vm.firmware.power.all());
}

/// `vm` runs no more; the last one ends the board's work.
fn gone(vm: &Vm, state: State) {
    let mut roll = ROLL.lock();
    roll.set(vm.id, state);
    end_if_over(&roll);
}

fn end_if_over(roll: &Roll) {
    if roll.is_over() {
        end(roll);
    }
}

/// Sums up and turns the board off: by semihosting where an emulator listens, for the exit status; else by the
/// board's firmware.
fn end(roll: &Roll) -> ! {
    if !roll.is_empty() {
        serial::print(format_args!("bulkhead: summary: {roll}"));
    }
    serial::print(format_args!("bulkhead: powering off"));
    semihosting::exit(u64::from(!roll.is_success()));
    serial::flush();
    if let Some(board) = machine::try_get() {
        board.power_off();
    }
    serial::print(format_args!(
        "bulkhead: the board cannot be turned off from here"
    ));
    arch::halt()
}
