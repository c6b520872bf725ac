//! Synchronous exits: decode once, find the handler, apply what it has decided.

use super::{devices, firmware, irq, lifecycle, outcome::Outcome, sysregs};
use crate::{
    arch::{
        el1,
        guest::{self, Exit, GuestRegs},
        regs,
    },
    emul::{
        advance, byte_order, errata,
        inject::{self, Exception, Interrupted, PstateFields},
        smccc,
    },
    spec::{
        esr::{self, DataAbort, Fault, InstrAbort, Syndrome, SysregTrap},
        gic::{GicVersion, SgiRegister, SgiRequest},
        translation::PAGE,
    },
    types::{Abort, Ipa},
    vm::Vcpu,
};

/// A synchronous exception from the guest that is no abort. What is frequent and short comes first, and makes do with the
/// registers that are saved at once; the rest wants the frame to be whole.
#[inline(always)]
pub fn on_sync(regs: &mut GuestRegs, vcpu: &mut Vcpu, syndrome: u64) -> Exit {
    match answers(vcpu, regs, syndrome) {
        true => Exit::Resume,
        false => on_trap(regs, vcpu, syndrome),
    }
}

/// The same exception again, for a handler that wanted the whole frame.
#[inline(always)]
pub fn on_sync_whole(regs: &mut GuestRegs, vcpu: &mut Vcpu, syndrome: u64) -> Exit {
    handle(regs, vcpu, syndrome, true)
}

/// An abort, mostly an access to a device; the guest goes on in any case. The handlers are called last, so that each has a
/// stack frame as large as it needs.
#[inline(always)]
pub fn on_abort(regs: &mut GuestRegs, vcpu: &mut Vcpu, syndrome: u64) {
    let far = guest::fault_address();
    if let Some((abort, ipa)) = esr::device_access(syndrome, far, guest::fault_ipa())
        && let Some(device) = devices::at(ipa)
    {
        let abort = in_byte_order(abort);
        return match far.is_multiple_of(PAGE) && !abort.is_write() {
            true => at_page(regs, vcpu, abort, ipa),
            false => device(regs, vcpu, abort, ipa),
        };
    }
    other(vcpu, syndrome);
}

/// The access, with the byte order of the guest's data.
#[inline(always)]
fn in_byte_order(abort: DataAbort) -> DataAbort {
    #[cold]
    fn maybe_big(abort: DataAbort) -> DataAbort {
        match byte_order::is_big(guest::pstate(), el1::sctlr()) {
            true => abort.with_big_endian(),
            false => abort,
        }
    }
    match byte_order::may_be_big(guest::pstate(), el1::sctlr()) {
        true => maybe_big(abort),
        false => abort,
    }
}

/// Whether it was a firmware call that is only a question, which is answered here: in registers, the shortest of all traps.
#[inline(always)]
fn answers(vcpu: &Vcpu, regs: &mut GuestRegs, syndrome: u64) -> bool {
    if syndrome & !esr::HVC_OR_SMC != esr::HVC_0 & !esr::HVC_OR_SMC {
        return false;
    }
    let Some(x0) = smccc::answer(&vcpu.vm.firmware, &regs.arguments()) else {
        return false;
    };
    regs.set_result(x0);
    // The return address of an HVC is behind it already.
    if syndrome & esr::HVC_OR_SMC != 0 {
        skip();
    }
    true
}

/// Who handles any other exception but an abort.
#[inline(never)]
fn on_trap(regs: &mut GuestRegs, vcpu: &mut Vcpu, syndrome: u64) -> Exit {
    if syndrome & !esr::RT == esr::ICC_SGI1R_WRITE
        && GuestRegs::always_has(esr::rt(syndrome))
        && vcpu.vm.gic.version() == GicVersion::V3
        && is_plain()
    {
        return sgi1r(vcpu, regs.get(esr::rt(syndrome)));
    }
    handle(regs, vcpu, syndrome, false)
}

/// A load of the first register of a device's page, as it seems.
#[inline(never)]
fn at_page(regs: &mut GuestRegs, vcpu: &mut Vcpu, abort: DataAbort, ipa: Ipa) {
    if let Some(device) = devices::at(ipa)
        && !is_stage_1_fault(abort, guest::fault_address())
    {
        device(regs, vcpu, abort, ipa);
    }
}

/// A write of `value` to ICC_SGI1R_EL1.
#[inline(always)]
fn sgi1r(vcpu: &mut Vcpu, value: u64) -> Exit {
    step();
    let request = SgiRequest::decode(value, vcpu.id, vcpu.vm.config.cpus);
    match request.targets.is_empty() {
        true => Exit::Resume,
        false => request_sgi(vcpu, request),
    }
}

#[inline(never)]
fn request_sgi(vcpu: &mut Vcpu, request: SgiRequest) -> Exit {
    irq::request_sgi(vcpu, SgiRegister::Sgi1r, request);
    Exit::Resume
}

/// What has come of an access to a device: it is done, or the device does not answer.
#[inline(always)]
pub fn answered(regs: &mut GuestRegs, abort: DataAbort, answer: Result<u64, Abort>) {
    match answer {
        Ok(value) => {
            if !abort.is_write() {
                regs.set(abort.register(), abort.loaded(value));
            }
            skip();
        }
        Err(Abort) => no_device(abort),
    }
}

/// Whatever comes less often, decoded in full.
#[inline(never)]
fn handle(regs: &mut GuestRegs, vcpu: &mut Vcpu, syndrome: u64, is_whole: bool) -> Exit {
    match Syndrome::decode(syndrome) {
        Syndrome::Hvc { imm } => firmware::call(vcpu, regs, imm),
        // A trapped SMC has not been executed: its caller goes on behind it whatever it asked for.
        Syndrome::Smc { imm } => {
            advance();
            firmware::call(vcpu, regs, imm)
        }
        Syndrome::Sysreg(trap) if !is_whole && !GuestRegs::always_has(trap.rt()) => Exit::Whole,
        Syndrome::Sysreg(trap) => system_register(regs, vcpu, trap),
        _ => {
            other(vcpu, syndrome);
            Exit::Resume
        }
    }
}

#[inline(never)]
fn system_register(regs: &mut GuestRegs, vcpu: &mut Vcpu, trap: SysregTrap) -> Exit {
    apply(sysregs::access(vcpu, regs, trap));
    Exit::Resume
}

/// What is no call and names no register, or is the access to a register of no device.
#[inline(never)]
fn other(vcpu: &mut Vcpu, syndrome: u64) {
    apply(match Syndrome::decode(syndrome) {
        Syndrome::DataAbort(abort) => data_abort(vcpu, abort),
        Syndrome::InstrAbort(abort) => instruction_abort(vcpu, abort),
        // Not trapped while a vCPU has its CPU for itself; a trap left over means: go on.
        Syndrome::Wfx => Outcome::Advance,
        _ => Outcome::Inject(Exception::Undefined),
    });
}

/// An SError that arrived while the guest ran: nobody can say whose it is, so this VM alone ends.
pub fn on_serror(vcpu: &mut Vcpu) -> Exit {
    lifecycle::crash(
        vcpu.vm,
        format_args!("SError, ESR_EL2 {:#x}", guest::syndrome()),
    );
    Exit::Park
}

fn apply(outcome: Outcome) {
    match outcome {
        Outcome::Advance => advance(),
        Outcome::Resume => {}
        Outcome::Inject(exception) => take_exception(exception),
    }
}

/// A guest that reads or writes where there is no device: RAM that it has not touched before, or an abort.
fn data_abort(vcpu: &Vcpu, abort: DataAbort) -> Outcome {
    let far = guest::fault_address();
    if provides(vcpu, abort.fault(), abort.ipa(far, guest::fault_ipa()))
        || is_stage_1_fault(abort, far)
    {
        return Outcome::Resume;
    }
    external_abort(abort)
}

/// A device does not answer the guest's access, which may not have been meant for it.
#[cold]
fn no_device(abort: DataAbort) {
    if !is_stage_1_fault(abort, guest::fault_address()) {
        apply(external_abort(abort));
    }
}

fn external_abort(abort: DataAbort) -> Outcome {
    let far = guest::fault_address();
    Outcome::Inject(Exception::DataAbort {
        address: (!abort.far_invalid()).then_some(far),
        write: abort.is_write(),
        maintenance: abort.is_cache_maintenance(),
    })
}

/// Whether a CPU that takes one for the other has reported a fault of stage 1 as one of stage 2, of a load that crosses
/// into another page: at its start, or misaligned. The guest repeats the access, and sees to the fault itself.
fn is_stage_1_fault(abort: DataAbort, far: u64) -> bool {
    !abort.is_write()
        && errata::misreports_stage_2_faults(regs::midr())
        && !abort.is_stage_1_walk()
        && !el1::stage_1_translates(far)
}

fn instruction_abort(vcpu: &Vcpu, abort: InstrAbort) -> Outcome {
    let ipa = abort.ipa(guest::fault_address(), guest::fault_ipa());
    if provides(vcpu, abort.fault(), ipa) {
        return Outcome::Resume;
    }
    let address = (!abort.far_invalid()).then_some(guest::fault_address());
    Outcome::Inject(Exception::InstrAbort { address })
}

/// Whether the fault is over because there is RAM now, which the guest had not touched before.
fn provides(vcpu: &Vcpu, fault: Fault, ipa: Option<Ipa>) -> bool {
    fault == Fault::Translation && ipa.is_some_and(|ipa| vcpu.vm.ram.provide(ipa))
}

/// Moves the guest behind the instruction that trapped.
#[cold]
fn advance() {
    let bytes = esr::instruction_bytes(guest::syndrome());
    guest::set_return(
        guest::pc().wrapping_add(bytes),
        advance::behind(guest::pstate()),
    );
}

/// The same, mostly by a step.
#[inline(always)]
fn skip() {
    match is_plain() {
        true => step(),
        false => advance(),
    }
}

/// Whether the guest is in AArch64 state with nothing in PSTATE that an instruction ends.
#[inline(always)]
fn is_plain() -> bool {
    advance::is_plain(guest::pstate())
}

/// Moves a guest of which that is true behind the instruction that trapped.
#[inline(always)]
fn step() {
    guest::set_pc(guest::pc().wrapping_add(A64_INSTRUCTION));
}

/// Bytes of every instruction in AArch64 state.
const A64_INSTRUCTION: u64 = 4;

/// Lets the guest take an exception at EL1.
fn take_exception(exception: Exception) {
    let from = Interrupted {
        spsr: guest::pstate(),
        pc: guest::pc(),
        vbar: el1::vbar(),
        sctlr: el1::sctlr(),
    };
    let fields = PstateFields::of_cpu(el1::id_register(7, 1), el1::id_register(4, 1));
    let entry = inject::take(exception, &from, fields);
    el1::set_elr(entry.elr);
    el1::set_spsr(entry.spsr);
    el1::set_esr(entry.esr);
    if let Some(far) = entry.far {
        el1::set_far(far);
    }
    guest::set_return(entry.pc, entry.pstate);
}
