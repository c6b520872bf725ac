//! HVC and SMC: what the guest's firmware answers, applied.

use super::{entropy, machine, suspend};
use crate::{
    arch::{
        el1,
        guest::{Exit, GuestRegs},
    },
    emul::{
        firmware::{Answer, Caller},
        smccc, trng,
    },
    spec::psci::Error,
    types::VcpuSet,
    vm::Vcpu,
};

/// Answers a call with this immediate. Only x0 changes unless the call defines more (DEN0028 2.6).
pub fn call(vcpu: &mut Vcpu, regs: &mut GuestRegs, imm: u16) -> Exit {
    let caller = Caller {
        vcpu: vcpu.id,
        big_endian: el1::is_big_endian(),
    };
    match smccc::call(&vcpu.vm.firmware, caller, imm, &regs.arguments()) {
        Answer::Return(x0) => regs.set_result(x0),
        Answer::ReturnTwo(words) => regs.set_results(&words.map(u64::from)),
        Answer::ReturnFour(words) => regs.set_results(&words.map(u64::from)),
        Answer::TurnedOn(target) => {
            regs.set_result(SUCCESS);
            vcpu.vm.kick(VcpuSet::one(target));
        }
        Answer::Suspend(depth) => {
            regs.set_result(SUCCESS);
            return suspend::suspend(vcpu, regs, depth);
        }
        // Should the vCPU ever come back by mistake, its caller reads a failure.
        Answer::Off => {
            regs.set_result(Error::InternalFailure.x0());
            return Exit::Park;
        }
        Answer::Freeze => {
            regs.set_result(Error::InternalFailure.x0());
            vcpu.frozen = true;
            return Exit::Park;
        }
        Answer::Stop(_) => {
            regs.set_result(Error::InternalFailure.x0());
            vcpu.vm.kick(vcpu.vm.firmware.power.all().without(vcpu.id));
            return Exit::Park;
        }
        Answer::Entropy(request) => match entropy::draw(request.words()) {
            Some(words) => regs.set_results(&request.results(&words)),
            None => regs.set_result(trng::Error::NoEntropy.x0()),
        },
        // Only what is called for reaches the board's firmware, no register of the guest's.
        Answer::Mitigate(workaround) => {
            if let Some(firmware) = machine::try_get().and_then(|board| board.smccc) {
                firmware.mitigate(workaround.call());
            }
        }
    }
    Exit::Resume
}

const SUCCESS: u64 = 0;
