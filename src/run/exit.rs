//! Synchronous exits: decode once, find the handler, apply what it has decided.

use super::{
    devices, firmware, lifecycle,
    outcome::{Exit, Outcome},
    sysregs,
};
use crate::{
    arch::{
        el1,
        guest::{self, GuestRegs},
        regs,
    },
    emul::{
        advance, errata,
        inject::{self, Exception, Interrupted, PstateFields},
        smccc,
    },
    spec::{
        esr::{self, DataAbort, Fault, InstrAbort, Syndrome},
        machine::RAM_BASE,
        translation::PAGE,
    },
    types::Ipa,
    vm::Vcpu,
};

/// Whether a firmware call is only a question that is answered here: in registers, the shortest of all traps.
#[inline(always)]
pub fn answers(vcpu: &Vcpu, regs: &mut GuestRegs, syndrome: u64) -> bool {
    if syndrome & !esr::HVC_OR_SMC != esr::HVC_0 & !esr::HVC_OR_SMC {
        return false;
    }
    let Some(x0) = smccc::answer(&vcpu.vm.firmware, &regs.arguments()) else {
        return false;
    };
    regs.set_result(x0);
    if syndrome != esr::HVC_0 {
        skip(A64_INSTRUCTION);
    }
    true
}

/// A synchronous exception from the guest. An access to an emulated device comes first, as the most frequent one.
pub fn on_sync(vcpu: &mut Vcpu, regs: &mut GuestRegs) -> Exit {
    let (syndrome, far, hpfar) = (
        guest::syndrome(),
        guest::fault_address(),
        guest::fault_ipa(),
    );
    if let Some((abort, ipa)) = esr::device_access(syndrome, far, hpfar)
        && ipa < RAM_BASE
        && (!far.is_multiple_of(PAGE) || !is_stage_1_fault(abort, far))
        && devices::access(vcpu, regs, abort, ipa)
    {
        skip(esr::instruction_bytes(syndrome));
        return Exit::Resume;
    }
    handle(vcpu, regs)
}

fn handle(vcpu: &mut Vcpu, regs: &mut GuestRegs) -> Exit {
    let outcome = match Syndrome::decode(guest::syndrome()) {
        Syndrome::Hvc { imm } => firmware::call(vcpu, regs, imm),
        Syndrome::DataAbort(abort) => data_abort(vcpu, abort),
        Syndrome::Sysreg(trap) => sysregs::access(vcpu, regs, trap),
        // A trapped SMC has not been executed: its caller goes on behind it whatever it asked for.
        Syndrome::Smc { imm } => {
            advance();
            firmware::call(vcpu, regs, imm)
        }
        Syndrome::InstrAbort(abort) => instruction_abort(vcpu, abort),
        // Not trapped while a vCPU has its CPU for itself; a trap left over means: go on.
        Syndrome::Wfx(_) => Outcome::Advance,
        Syndrome::FpAccess
        | Syndrome::Sve
        | Syndrome::Sme
        | Syndrome::PointerAuth
        | Syndrome::Coprocessor
        | Syndrome::IllegalState
        | Syndrome::SError
        | Syndrome::Unknown { .. } => Outcome::Inject(Exception::Undefined),
    };
    apply(outcome)
}

/// An SError that arrived while the guest ran: nobody can say whose it is, so this VM alone ends.
pub fn on_serror(vcpu: &mut Vcpu, _regs: &mut GuestRegs) -> Exit {
    lifecycle::crash(
        vcpu.vm,
        format_args!("SError, ESR_EL2 {:#x}", guest::syndrome()),
    );
    Exit::Park
}

fn apply(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Advance => advance(),
        Outcome::Resume => {}
        Outcome::Inject(exception) => take_exception(exception),
        Outcome::Park => return Exit::Park,
    }
    Exit::Resume
}

/// A guest that reads or writes where there is no device: RAM that it has not touched before, or an abort.
fn data_abort(vcpu: &Vcpu, abort: DataAbort) -> Outcome {
    let far = guest::fault_address();
    if provides(vcpu, abort.fault(), abort.ipa(far, guest::fault_ipa()))
        || is_stage_1_fault(abort, far)
    {
        return Outcome::Resume;
    }
    Outcome::Inject(Exception::DataAbort {
        address: (!abort.far_invalid()).then_some(far),
        write: abort.is_write(),
        maintenance: abort.is_cache_maintenance(),
    })
}

/// Whether a CPU that takes one for the other has reported a fault of stage 1 as one of stage 2, of a load that crosses
/// into another page: at its start, or misaligned. The guest repeats the access, and sees to the fault itself.
fn is_stage_1_fault(abort: DataAbort, far: u64) -> bool {
    errata::misreports_stage_2_faults(regs::midr())
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
fn advance() {
    skip(esr::instruction_bytes(guest::syndrome()));
}

/// Moves the guest behind an instruction of so many bytes.
#[inline(always)]
fn skip(bytes: u64) {
    guest::set_return(
        guest::pc().wrapping_add(bytes),
        advance::behind(guest::pstate()),
    );
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
