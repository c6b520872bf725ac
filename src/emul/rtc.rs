//! PL031 real-time clock (DDI0224C).
//!
//! It counts seconds since 1970 and always runs, as firmware has started it. Time is given by the
//! caller in seconds of its counter, `now`; what the guest loads is an offset to that, so that one VM's
//! setting of the clock moves nobody else's.

use super::primecell::{self, Identification, Lanes};
use crate::types::{Abort, Access, Op};

/// RTCPeriphID and RTCPCellID, as QEMU's `virt` has them (3.3.9, 3.3.10).
const ID: Identification = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// Positions of the registers, four bytes each (table 3-1).
mod register {
    pub const DR: usize = 0;
    pub const MR: usize = 1;
    pub const LR: usize = 2;
    pub const CR: usize = 3;
    pub const IMSC: usize = 4;
    pub const RIS: usize = 5;
    pub const MIS: usize = 6;
    pub const ICR: usize = 7;
}

/// The counter comes round every 2^32 seconds.
const PERIOD: u64 = 1 << 32;

/// What an access comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What a load reads.
    pub value: u64,
    /// The level of the interrupt afterwards.
    pub line: bool,
}

/// The clock of a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rtc {
    /// RTCDR is the caller's time plus this.
    offset: u32,
    /// RTCLR.
    load: u32,
    /// RTCMR.
    compare: u32,
    /// The caller's time at which RTCDR is next equal to RTCMR.
    alarm: u64,
    unmasked: bool,
    raw: bool,
}

impl Rtc {
    /// A clock that shows `epoch`, seconds since 1970-01-01, when the caller's time is `now`. Boards
    /// have a PL031 to ask (its RTCDR) or no clock at all; then a fixed epoch, that of the build, is
    /// better than 1970: file systems and certificates are not from the future.
    pub const fn new(epoch: u32, now: u64) -> Self {
        let mut rtc = Self {
            offset: epoch.wrapping_sub(now as u32),
            load: epoch,
            compare: 0,
            alarm: 0,
            unmasked: false,
            raw: false,
        };
        rtc.alarm = rtc.next_match(now);
        rtc
    }

    /// The guest's machine is reset: the alarm is gone, the time goes on.
    pub const fn reset(&mut self, now: u64) {
        self.compare = 0;
        self.unmasked = false;
        self.raw = false;
        self.alarm = self.next_match(now);
    }

    /// A load or store of the guest at time `now`.
    pub fn access(&mut self, access: Access, now: u64) -> Result<Effect, Abort> {
        let lanes = Lanes::of(&access)?;
        let _ = self.advance(now);
        let mut value = 0;
        match access.op {
            Op::Read => value = lanes.load(self.read(lanes.register, now)),
            Op::Write(data) => {
                if let Some(data) = lanes.store(data) {
                    self.write(lanes.register, data, now);
                }
            }
        }
        Ok(Effect {
            value,
            line: self.line(),
        })
    }

    /// Time has come to `now`. Returns the level of the interrupt.
    pub const fn advance(&mut self, now: u64) -> bool {
        if now >= self.alarm {
            self.raw = true;
            self.alarm = self.next_match(now);
        }
        self.line()
    }

    /// The time at which [`Self::advance`] will raise the interrupt; `None` when it is up already or
    /// masked.
    pub const fn deadline(&self) -> Option<u64> {
        if self.unmasked && !self.raw {
            Some(self.alarm)
        } else {
            None
        }
    }

    /// The level of the interrupt.
    pub const fn line(&self) -> bool {
        self.raw && self.unmasked
    }

    const fn seconds(&self, now: u64) -> u32 {
        (now as u32).wrapping_add(self.offset)
    }

    /// The first time after `now` at which RTCDR comes to be equal to RTCMR.
    const fn next_match(&self, now: u64) -> u64 {
        match self.compare.wrapping_sub(self.seconds(now)) {
            0 => now.saturating_add(PERIOD),
            seconds => now.saturating_add(seconds as u64),
        }
    }

    /// After RTCMR or RTCLR was written. The comparator sees equality at once.
    const fn rearm(&mut self, now: u64) {
        if self.compare == self.seconds(now) {
            self.raw = true;
        }
        self.alarm = self.next_match(now);
    }

    fn read(&self, register: usize, now: u64) -> u32 {
        match register {
            register::DR => self.seconds(now),
            register::MR => self.compare,
            register::LR => self.load,
            register::CR => 1,
            register::IMSC => u32::from(self.unmasked),
            register::RIS => u32::from(self.raw),
            register::MIS => u32::from(self.line()),
            _ => primecell::identify(register, &ID),
        }
    }

    /// RTCCR can start the clock, which runs already, and cannot stop it (3.3.4).
    fn write(&mut self, register: usize, value: u32, now: u64) {
        match register {
            register::MR => {
                self.compare = value;
                self.rearm(now);
            }
            register::LR => {
                self.load = value;
                self.offset = value.wrapping_sub(now as u32);
                self.rearm(now);
            }
            register::IMSC => self.unmasked = value & 1 != 0,
            register::ICR => self.raw &= value & 1 == 0,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Width;
    use proptest::prelude::*;
    use std::vec::Vec;

    const DR: u64 = 0x00;
    const MR: u64 = 0x04;
    const LR: u64 = 0x08;
    const CR: u64 = 0x0c;
    const IMSC: u64 = 0x10;
    const RIS: u64 = 0x14;
    const MIS: u64 = 0x18;
    const ICR: u64 = 0x1c;
    /// 2026-01-01 00:00:00 UTC.
    const EPOCH: u32 = 1_767_225_600;

    impl Rtc {
        fn get(&mut self, offset: u64, now: u64) -> u64 {
            let access = Access {
                offset,
                width: Width::Word,
                op: Op::Read,
            };
            self.access(access, now).unwrap().value
        }

        fn set(&mut self, offset: u64, value: u64, now: u64) -> bool {
            let access = Access {
                offset,
                width: Width::Word,
                op: Op::Write(value),
            };
            self.access(access, now).unwrap().line
        }
    }

    #[test]
    fn the_clock_goes_on_from_the_epoch() {
        let mut rtc = Rtc::new(EPOCH, 500);
        assert_eq!(rtc.get(DR, 500), 1_767_225_600);
        assert_eq!(rtc.get(DR, 560), 1_767_225_660);
    }

    #[test]
    fn an_amba_bus_driver_finds_a_pl031() {
        let mut rtc = Rtc::new(EPOCH, 0);
        let id: Vec<u64> = (0..8).map(|i| rtc.get(0xfe0 + 4 * i, 0)).collect();
        assert_eq!(id, [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
    }

    #[test]
    fn the_clock_runs_and_cannot_be_stopped() {
        let mut rtc = Rtc::new(EPOCH, 0);
        assert_eq!(rtc.get(CR, 0), 1);
        rtc.set(CR, 0, 0);
        assert_eq!(rtc.get(CR, 0), 1);
        assert_eq!(rtc.get(DR, 7), 1_767_225_607);
    }

    #[test]
    fn a_guest_sets_its_clock() {
        let mut rtc = Rtc::new(EPOCH, 100);
        rtc.set(LR, 1000, 100);
        assert_eq!(rtc.get(LR, 150), 1000);
        assert_eq!(rtc.get(DR, 150), 1050);
    }

    #[test]
    fn the_counter_wraps_at_32_bits() {
        let mut rtc = Rtc::new(0xffff_ffff, 0);
        assert_eq!(rtc.get(DR, 1), 0);
        assert_eq!(rtc.get(RIS, 1), 1, "RTCMR is 0 out of reset");
    }

    #[test]
    fn the_alarm_rings_at_its_second_until_it_is_cleared() {
        let mut rtc = Rtc::new(1000, 0);
        rtc.set(MR, 1010, 0);
        rtc.set(IMSC, 1, 0);
        assert_eq!(rtc.deadline(), Some(10));
        assert!(!rtc.advance(9));
        assert!(rtc.advance(10));
        assert_eq!(rtc.deadline(), None);
        assert_eq!((rtc.get(RIS, 20), rtc.get(MIS, 20)), (1, 1));
        assert!(!rtc.set(ICR, 1, 20));
        assert_eq!(rtc.get(RIS, 20), 0);
        assert_eq!(rtc.deadline(), Some(10 + (1 << 32)));
    }

    #[test]
    fn a_masked_alarm_shows_in_ris_only() {
        let mut rtc = Rtc::new(1000, 0);
        rtc.set(MR, 1010, 0);
        assert_eq!(rtc.deadline(), None);
        assert_eq!((rtc.get(RIS, 15), rtc.get(MIS, 15)), (1, 0));
        assert!(rtc.set(IMSC, 1, 15));
    }

    #[test]
    fn a_match_with_the_present_second_rings_at_once() {
        let mut rtc = Rtc::new(1000, 0);
        rtc.set(IMSC, 1, 0);
        assert!(rtc.set(MR, 1003, 3));
        rtc.set(ICR, 1, 3);
        assert!(!rtc.set(MR, 2000, 3));
        assert!(rtc.set(LR, 2000, 3));
    }

    #[test]
    fn an_alarm_in_the_past_waits_for_the_next_round() {
        let mut rtc = Rtc::new(1000, 0);
        rtc.set(IMSC, 1, 0);
        assert!(!rtc.set(MR, 999, 0));
        assert_eq!(rtc.deadline(), Some((1 << 32) - 1));
    }

    #[test]
    fn setting_the_clock_moves_the_alarm() {
        let mut rtc = Rtc::new(1000, 0);
        rtc.set(MR, 2000, 0);
        rtc.set(IMSC, 1, 0);
        rtc.set(LR, 1990, 5);
        assert_eq!(rtc.deadline(), Some(15));
    }

    #[test]
    fn reset_keeps_the_time() {
        let mut rtc = Rtc::new(EPOCH, 0);
        rtc.set(LR, 5000, 0);
        rtc.set(MR, 5001, 0);
        rtc.set(IMSC, 1, 0);
        rtc.advance(1);
        rtc.reset(2);
        assert!(!rtc.line());
        assert_eq!(rtc.get(DR, 3), 5003);
        assert_eq!((rtc.get(MR, 3), rtc.get(IMSC, 3)), (0, 0));
    }

    #[test]
    fn a_64_bit_access_gets_no_answer() {
        let access = Access {
            offset: DR,
            width: Width::Double,
            op: Op::Read,
        };
        assert_eq!(Rtc::new(0, 0).access(access, 0), Err(Abort));
    }

    proptest! {
        #[test]
        fn the_deadline_is_when_the_clock_shows_the_match(epoch: u32, compare: u32, now in 0..1u64 << 40) {
            let mut rtc = Rtc::new(epoch, now);
            rtc.set(IMSC, 1, now);
            let line = rtc.set(MR, u64::from(compare), now);
            prop_assert_eq!(line, compare == epoch);
            if let Some(at) = rtc.deadline() {
                prop_assert!(!rtc.clone().advance(at - 1));
                prop_assert_eq!(rtc.get(DR, at), u64::from(compare));
                prop_assert!(rtc.line());
            }
        }

        #[test]
        fn no_access_panics(steps in proptest::collection::vec((any::<u64>(), 0u64..4, any::<Option<u64>>(), any::<u64>()), 0..50)) {
            let mut rtc = Rtc::new(0, 0);
            for (offset, sas, write, now) in steps {
                let op = write.map_or(Op::Read, Op::Write);
                let _ = rtc.access(Access { offset: offset & 0x1f, width: Width::from_sas(sas), op }, now);
                let _ = rtc.access(Access { offset, width: Width::from_sas(sas), op }, now);
            }
        }
    }
}
