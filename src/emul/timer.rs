//! The EL1 physical timer of a vCPU (Arm ARM D12.2): CNTP_CTL, CNTP_CVAL and CNTP_TVAL.
//!
//! The virtual timer is the guest's own; this one is emulated because EL2 has only one physical timer
//! per pCPU to keep time with. Time is the physical counter, which guests read natively: every
//! function that depends on it is told its value.

/// Which register of the timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// CNTP_CTL_EL0.
    Control,
    /// CNTP_CVAL_EL0.
    CompareValue,
    /// CNTP_TVAL_EL0.
    TimerValue,
}

/// CNTP_CTL_EL0.ENABLE.
const ENABLE: u64 = 1 << 0;
/// CNTP_CTL_EL0.IMASK.
const IMASK: u64 = 1 << 1;
/// CNTP_CTL_EL0.ISTATUS, read-only.
const ISTATUS: u64 = 1 << 2;

/// The timer. After reset it is disabled; the architecture leaves the rest UNKNOWN, we start from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    control: u64,
    compare: u64,
}

impl Timer {
    /// A timer out of reset.
    pub const fn new() -> Self {
        Self {
            control: 0,
            compare: 0,
        }
    }

    /// Reads a register when the counter is at `now`.
    pub const fn read(&self, register: Register, now: u64) -> u64 {
        match register {
            Register::Control if self.condition(now) => self.control | ISTATUS,
            Register::Control => self.control,
            Register::CompareValue => self.compare,
            Register::TimerValue => self.compare.wrapping_sub(now) & 0xffff_ffff,
        }
    }

    /// Writes a register when the counter is at `now`.
    ///
    /// TimerValue is a signed 32-bit distance from now. A negative one lies in the past, so that the
    /// condition is met at once; but below counter value 0 the sum wraps to the far end of the
    /// 64-bit range, as it does in hardware.
    pub const fn write(&mut self, register: Register, value: u64, now: u64) {
        match register {
            Register::Control => self.control = value & (ENABLE | IMASK),
            Register::CompareValue => self.compare = value,
            Register::TimerValue => self.compare = now.wrapping_add_signed(value as i32 as i64),
        }
    }

    /// Whether the timer asserts its interrupt when the counter is at `now`; level-sensitive.
    pub const fn line(&self, now: u64) -> bool {
        self.control & IMASK == 0 && self.condition(now)
    }

    /// The counter value from which on the interrupt is asserted if nothing is written; it may be in
    /// the past. `None` when it cannot be asserted.
    pub const fn deadline(&self) -> Option<u64> {
        if self.control & (ENABLE | IMASK) == ENABLE {
            Some(self.compare)
        } else {
            None
        }
    }

    /// The timer condition: the difference of counter and CompareValue, both zero-extended, is not
    /// negative (D12.2.4). Without ENABLE, ISTATUS is UNKNOWN; we read it as 0.
    const fn condition(&self, now: u64) -> bool {
        self.control & ENABLE != 0 && now >= self.compare
    }
}

#[cfg(test)]
mod tests {
    use super::Register::{CompareValue, Control, TimerValue};
    use super::*;
    use proptest::prelude::*;

    fn enabled(compare: u64) -> Timer {
        let mut timer = Timer::new();
        timer.write(CompareValue, compare, 0);
        timer.write(Control, 1, 0);
        timer
    }

    #[test]
    fn the_condition_is_met_from_the_compare_value_on() {
        let timer = enabled(1000);
        assert_eq!(timer.read(Control, 999), 0b001);
        assert!(!timer.line(999));
        assert_eq!(timer.read(Control, 1000), 0b101);
        assert!(timer.line(1000) && timer.line(u64::MAX));
    }

    #[test]
    fn a_masked_timer_shows_its_status_but_no_interrupt() {
        let mut timer = enabled(10);
        timer.write(Control, 0b011, 0);
        assert_eq!(timer.read(Control, 10), 0b111);
        assert!(!timer.line(10));
        assert_eq!(timer.deadline(), None);
    }

    #[test]
    fn a_disabled_timer_asserts_nothing() {
        let mut timer = enabled(10);
        timer.write(Control, 0b010, 0);
        assert_eq!(timer.read(Control, 10), 0b010);
        assert!(!timer.line(10));
        assert_eq!(timer.deadline(), None);
    }

    #[test]
    fn the_timer_value_is_a_signed_distance() {
        let mut timer = enabled(0);
        timer.write(TimerValue, 0x7fff_ffff, 0x1_0000_0000);
        assert_eq!(timer.read(CompareValue, 0), 0x1_7fff_ffff);
        timer.write(TimerValue, 0xffff_ffff, 0x1_0000_0000);
        assert_eq!(timer.read(CompareValue, 0), 0xffff_ffff);
        assert!(timer.line(0x1_0000_0000), "one tick ago");
        timer.write(TimerValue, 0xffff_ffff_0000_0010, 0x100);
        assert_eq!(
            timer.read(CompareValue, 0),
            0x110,
            "bits 63:32 do not count"
        );
    }

    #[test]
    fn the_timer_value_reads_as_32_bits_that_go_on_down_past_zero() {
        let timer = enabled(0x5_0000_0010);
        assert_eq!(timer.read(TimerValue, 0x5_0000_0000), 0x10);
        assert_eq!(timer.read(TimerValue, 0x5_0000_0011), 0xffff_ffff);
    }

    #[test]
    fn a_distance_below_counter_zero_wraps() {
        let mut timer = enabled(0);
        timer.write(TimerValue, 0x8000_0000, 0x10);
        assert_eq!(timer.read(CompareValue, 0), 0xffff_ffff_8000_0010);
        assert!(!timer.line(0x11));
    }

    #[test]
    fn only_enable_and_imask_are_stored() {
        let mut timer = Timer::new();
        timer.write(Control, u64::MAX, 0);
        timer.write(CompareValue, u64::MAX, 0);
        assert_eq!(timer.read(Control, 0), 0b011);
    }

    proptest! {
        #[test]
        fn the_deadline_is_where_the_line_rises(value: u64, start: u64) {
            let mut timer = Timer::new();
            timer.write(Control, 1, start);
            timer.write(TimerValue, value, start);
            let at = timer.deadline().unwrap();
            prop_assert!(timer.line(at));
            prop_assert!(at == 0 || !timer.line(at - 1));
            prop_assert_eq!(timer.read(TimerValue, start), value & 0xffff_ffff);
        }
    }
}
