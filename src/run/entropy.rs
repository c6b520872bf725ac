//! Entropy for guests: the CPUs' own, or the board firmware's; never anything that could be foretold.

use super::machine::Machine;
use crate::{arch::random::random, emul::mitigation::CpuFacts, hw::smccc::Smccc};
use spin::Once;

/// Where entropy comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// RNDRRS; every CPU in use has it.
    Cpu,
    /// The board's firmware.
    Firmware(Smccc),
}

static SOURCE: Once<Option<Source>> = Once::new();

/// How often a CPU that has no number ready is asked again. A guest may try as often as it likes.
const ATTEMPTS: usize = 10;

/// Finds out what the board has, once its CPUs are up; whether that is anything.
pub fn settle(machine: &Machine) -> bool {
    let source = SOURCE.call_once(|| {
        if machine.facts().count() > 0 && machine.facts().all(CpuFacts::has_random) {
            return Some(Source::Cpu);
        }
        let firmware = machine.smccc.filter(|firmware| firmware.has_entropy());
        firmware.map(Source::Firmware)
    });
    match source {
        Some(Source::Cpu) => log::info!("entropy: from the CPUs (RNDRRS)"),
        Some(Source::Firmware(_)) => log::info!("entropy: from the board's firmware (TRNG)"),
        None => log::info!("entropy: none, VMs have no TRNG"),
    }
    source.is_some()
}

/// Entropy in the last `words` words, up to three; `None` when there is not so much right now.
pub fn draw(words: u8) -> Option<[u64; 3]> {
    match SOURCE.get().copied().flatten()? {
        Source::Cpu => {
            let mut drawn = [0; 3];
            for word in drawn.iter_mut().rev().take(words.into()) {
                *word = (0..ATTEMPTS).find_map(|_| random())?;
            }
            Some(drawn)
        }
        Source::Firmware(firmware) => firmware.entropy(words),
    }
}
