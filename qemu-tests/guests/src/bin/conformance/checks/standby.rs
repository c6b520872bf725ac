//! CPU_SUSPEND where the state is kept: standby, and a power-down that does not come to pass.

use guests::{
    bare::{boot, cpu, gic, smccc},
    msr,
};

use super::{BASE32, BASE64, INVALID_ADDRESS, INVALID_PARAMETERS, SUCCESS, Test, V0_2, V1_0};

impl Test {
    /// Standby: returns 0 with every register kept when an interrupt is pending, masked or not; reserved bits are refused.
    pub fn suspend_standby(&mut self) {
        for base in [BASE32, BASE64] {
            let id = base + 1;
            gic::set_virtual_timer(cpu::ms(5));
            let mut before = smccc::pattern(id);
            before[1] = 0;
            let after = self.conduit.call(before);
            let fired = gic::pending() == gic::VIRTUAL_TIMER;
            msr!("cntv_ctl_el0", 0);
            cpu::isb();
            returns!(
                self,
                after[0] as i64,
                SUCCESS,
                "CPU_SUSPEND {id:#x}: standby ends with an interrupt"
            );
            check!(
                self,
                after[1..] == before[1..],
                "CPU_SUSPEND {id:#x}: standby keeps registers"
            );
            check!(
                self,
                fired,
                "CPU_SUSPEND {id:#x}: the interrupt is pending when standby ends"
            );
            // Must-be-zero bits of the format that FEATURES tells (original below 1.0).
            let extended = self.version >= V1_0 && self.features(id) & 2 != 0;
            let reserved: &[u64] = if extended {
                &[28, 29, 31]
            } else {
                &[17, 23, 26, 31]
            };
            for bit in reserved {
                returns!(
                    self,
                    self.call(id, 1 << bit, 0, 0),
                    INVALID_PARAMETERS,
                    "CPU_SUSPEND {id:#x}: power_state bit {bit} is reserved"
                );
            }
            if !extended {
                returns!(
                    self,
                    self.call(id, 3 << 24, 0, 0),
                    INVALID_PARAMETERS,
                    "CPU_SUSPEND {id:#x}: no power domain has level 3"
                );
            }
        }
    }

    /// A power-down when an interrupt is there already: returns 0 with every register kept. A bad entry point is told.
    pub fn power_down_abandoned(&mut self) {
        let bad_entry = match self.version {
            V0_2 => INVALID_PARAMETERS,
            _ => INVALID_ADDRESS,
        };
        for base in [BASE32, BASE64] {
            let id = base + 1;
            gic::make_virtual_timer_pending();
            let mut before = smccc::pattern(id);
            (before[1], before[2]) = (1 << 16, boot::entry_point());
            let after = self.conduit.call(before);
            returns!(
                self,
                after[0] as i64,
                SUCCESS,
                "CPU_SUSPEND {id:#x}: a power-down is abandoned when an interrupt is pending"
            );
            check!(
                self,
                after[1..] == before[1..],
                "CPU_SUSPEND {id:#x}: an abandoned power-down keeps registers"
            );
            for entry in [0, boot::entry_point() | 1] {
                if !self.on_qemu {
                    returns!(
                        self,
                        self.call(id, 1 << 16, entry, 0),
                        bad_entry,
                        "CPU_SUSPEND {id:#x}: power-down to {entry:#x}"
                    );
                }
            }
            msr!("cntv_ctl_el0", 0);
            cpu::isb();
        }
    }
}
