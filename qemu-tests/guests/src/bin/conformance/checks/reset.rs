//! SYSTEM_RESET, SYSTEM_RESET2 and SYSTEM_OFF2: what is left of one life in the next.
//!
//! What a guest knows is in its RAM, and whether that is kept is what is to be found out: so whoever reads the serial line remembers for
//! it how far it has come (`@NAME@ remember STEP COUNT`) and types that when it asks (`@NAME@ recall`); `0 0` in its first life.

use core::{
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

use guests::bare::{Tap, boot, cpu, smccc::Conduit, uart};

use super::{BASE32, BASE64, OFF, SUCCESS, Test, V1_1, V1_3, conduit};

/// How one life ends.
struct Step {
    how: How,
    /// The memory is protected.
    protect: bool,
    /// Which CPU makes the call.
    by: By,
}

#[derive(Clone, Copy, PartialEq)]
enum How {
    Reset,
    /// SYSTEM_RESET2 by that id, of type SYSTEM_WARM_RESET.
    Warm(u64),
}

#[derive(Clone, Copy, PartialEq)]
enum By {
    Boot,
    Last,
}

const fn step(how: How, protect: bool, by: By) -> Step {
    Step { how, protect, by }
}

const SINCE_0_2: [Step; 1] = [step(How::Reset, false, By::Last)];
const SINCE_1_1: [Step; 4] = [
    step(How::Warm(BASE64 + 0x12), false, By::Boot),
    step(How::Warm(BASE32 + 0x12), true, By::Last),
    step(How::Reset, false, By::Last),
    step(How::Reset, true, By::Boot),
];

/// Where in RAM words are left for the next life: behind all that is loaded.
const OFFSET: u64 = 12 << 20;
const WORDS: usize = 8192;

/// The word at that place, different in each life.
const fn word(step: usize, index: usize) -> u64 {
    0x5ca1_ab1e_0000_0000 | (step as u64) << 24 | index as u64
}

impl Test {
    /// The ends that this version has for a life.
    fn steps(&self) -> &'static [Step] {
        match self.version {
            _ if self.on_qemu => &[],
            1 => &[],
            V1_1.. if self.features(BASE64 + 0x12) == 0 => &SINCE_1_1,
            _ => &SINCE_0_2,
        }
    }

    /// Asks which life this is: how many steps have been taken. Results are counted on.
    pub fn recall(&mut self) -> usize {
        if self.steps().is_empty() {
            return 0;
        }
        uart::print(format_args!("@{}@ recall\n", self.guest.name));
        let step = number();
        self.tap = Tap::behind(self.guest.name, number() as u32);
        step as usize
    }

    fn remember(&self, taken: usize) {
        uart::print(format_args!(
            "@{}@ remember {taken} {}\n",
            self.guest.name,
            self.tap.count()
        ));
    }

    /// Goes on with the steps behind the first `taken`, the last of which ended the former life. Returns in the last life only.
    pub fn lives(&mut self, taken: usize) {
        let steps = self.steps();
        if let Some(last) = taken.checked_sub(1).and_then(|last| steps.get(last)) {
            self.after(last, taken - 1);
        }
        assert!(
            taken <= steps.len(),
            "SYSTEM_OFF or SYSTEM_OFF2 has reset the machine"
        );
        for (number, step) in steps.iter().enumerate().skip(taken) {
            self.end_life(step, number);
        }
        self.remember(steps.len() + 1);
    }

    /// Turns everybody on, leaves words in RAM and resets.
    fn end_life(&mut self, step: &Step, number: usize) {
        let cpus = self.guest.cpus;
        for index in 1..cpus {
            self.bring_up(index);
        }
        for (index, left) in self.words().iter().enumerate() {
            left.store(word(number, index), Ordering::Relaxed);
        }
        // A reset need not keep what is in the caches alone.
        cpu::drop_cached(self.words().as_ptr().cast::<[u64; WORDS]>());
        if step.protect {
            self.call(BASE32 + 0x13, 1, 0, 0);
        }
        let id = match step.how {
            How::Reset => BASE32 + 9,
            How::Warm(id) => id,
        };
        RESET.store(id, Ordering::Relaxed);
        self.remember(number + 1);
        if step.by == By::Last && cpus > 1 {
            boot::give_work(cpus - 1, reset);
            cpu::wait_for(|| RESULT.load(Ordering::Acquire) != 0);
        } else {
            reset();
        }
        let result = RESULT.load(Ordering::Acquire) as i64;
        check!(
            self,
            false,
            "{id:#x}: a reset does not return, got {result}"
        );
    }

    /// What the next life has to find.
    fn after(&mut self, step: &Step, number: usize) {
        let name = match step.how {
            How::Reset if step.protect => "SYSTEM_RESET with MEM_PROTECT",
            How::Reset => "SYSTEM_RESET",
            How::Warm(_) if step.protect => "SYSTEM_RESET2 with MEM_PROTECT",
            How::Warm(_) => "SYSTEM_RESET2",
        };
        let mut words = self.words().iter().enumerate();
        if matches!(step.how, How::Warm(_)) {
            let kept = words.all(|(i, left)| left.load(Ordering::Relaxed) == word(number, i));
            check!(self, kept, "{name}: a warm reset keeps RAM");
        } else {
            let cleared = words.all(|(_, left)| left.load(Ordering::Relaxed) == 0);
            check!(self, cleared, "{name}: RAM is cleared before the next boot");
        }
        returns!(
            self,
            self.call(BASE32, 0, 0, 0),
            self.version.into(),
            "{name}: PSCI_VERSION is as before"
        );
        returns!(
            self,
            cpu::affinity() as i64,
            0,
            "{name}: the boot CPU begins, whoever called"
        );
        for index in 1..self.guest.cpus {
            returns!(
                self,
                self.call(BASE64 + 4, self.target(index), 0, 0),
                OFF,
                "{name}: CPU {index} is OFF"
            );
        }
        if step.how != How::Reset {
            returns!(
                self,
                self.call(BASE32 + 0x13, 0, 0, 0),
                0,
                "{name}: MEM_PROTECT is disabled"
            );
        }
    }

    fn words(&self) -> &'static [AtomicU64] {
        let (ram, _) = self.guest.fdt.memory().unwrap_or_default();
        // SAFETY: RAM that holds no image, whose words are accessed in no other way.
        unsafe { slice::from_raw_parts((ram + OFFSET) as *const AtomicU64, WORDS) }
    }

    /// Id and type of SYSTEM_OFF2 as HIBERNATE_OFF, where there is one; each conduit has a form of its own.
    pub fn hibernate(&self) -> Option<(u64, u64)> {
        let (id, kind) = match self.conduit {
            Conduit::Hvc => (BASE64 + 0x15, 1),
            Conduit::Smc => (BASE32 + 0x15, 0),
        };
        (self.version >= V1_3 && self.features(id) == 1).then_some((id, kind))
    }
}

/// A number that is typed.
fn number() -> u64 {
    let mut number = None;
    loop {
        match uart::poll() {
            Some(digit @ b'0'..=b'9') => {
                number = Some(number.unwrap_or(0) * 10 + u64::from(digit - b'0'));
            }
            Some(_) if number.is_some() => return number.unwrap_or(0),
            _ => core::hint::spin_loop(),
        }
    }
}

/// The reset's id, for the CPU that calls.
static RESET: AtomicU64 = AtomicU64::new(0);
/// What a reset returned.
static RESULT: AtomicU64 = AtomicU64::new(SUCCESS as u64);

/// Type 0, SYSTEM_WARM_RESET, has no use for the cookie.
extern "C" fn reset() {
    let result = conduit().call3(RESET.load(Ordering::Relaxed), 0, 0xc00c_1e00, 0);
    RESULT.store(result, Ordering::Release);
}
