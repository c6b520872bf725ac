//! CPU_ON and CPU_OFF: errors, the state in which a CPU arrives.

use guests::{
    bare::{boot, boot::EntryRecord, cpu},
    mrs, msr,
};

use super::{
    ALREADY_ON, BASE32, BASE64, INVALID_ADDRESS, INVALID_PARAMETERS, OFF, ON, SUCCESS, Test, V0_2,
    life::cpu_off,
};

impl Test {
    /// The ids of CPU_ON in this version.
    fn cpu_on_ids(&self) -> [Option<u64>; 2] {
        if self.version == 1 {
            [Some(self.psci.cpu_on), None]
        } else {
            [Some(BASE32 + 3), Some(BASE64 + 3)]
        }
    }

    /// What this version calls a bad entry point.
    fn bad_entry(&self) -> i64 {
        match self.version {
            1 | V0_2 => INVALID_PARAMETERS,
            _ => INVALID_ADDRESS,
        }
    }

    /// Errors in the order CPU, entry point, state.
    pub fn cpu_on_errors(&mut self) {
        let (entry, me) = (boot::entry_point(), cpu::affinity());
        for id in self.cpu_on_ids().into_iter().flatten() {
            self.bad_targets(id);
            returns!(
                self,
                self.call(id, me, entry, 0),
                if self.version == 1 {
                    INVALID_PARAMETERS
                } else {
                    ALREADY_ON
                },
                "CPU_ON {id:#x}: the caller is on"
            );
            if self.guest.cpus > 1 && !self.on_qemu {
                self.bad_entries(id);
            }
        }
        if self.version != 1 {
            for bit in [32, 39, 40, 63] {
                returns!(
                    self,
                    self.call(BASE64 + 3, me | 1 << bit, entry, 0),
                    INVALID_PARAMETERS,
                    "CPU_ON64: target bit {bit}"
                );
            }
        }
        if self.guest.cpus > 1 {
            let state = if self.version == 1 {
                OFF
            } else {
                self.call(BASE64 + 4, self.target(1), 0, 0)
            };
            returns!(
                self,
                state,
                OFF,
                "CPU_ON: its failures leave the target off"
            );
        }
    }

    fn bad_targets(&mut self, id: u64) {
        let (entry, me) = (boot::entry_point(), cpu::affinity());
        for (target, entry, text) in [
            (self.absent_cpu(), entry, "a CPU that is not there"),
            (me | 0x1_0000, entry, "another Aff2"),
            (me | 0x100, entry, "another Aff1"),
            (me ^ 0x10, entry, "Aff0 of 16 and more"),
            (me | 1 << 24, entry, "reserved bit 24"),
            (me | 1 << 31, entry, "reserved bit 31"),
            (
                self.absent_cpu(),
                entry | 1,
                "the CPU is checked before the entry",
            ),
        ] {
            returns!(
                self,
                self.call(id, target, entry, 0),
                INVALID_PARAMETERS,
                "CPU_ON {id:#x}: {text}"
            );
        }
    }

    fn bad_entries(&mut self, id: u64) {
        let (ram, size) = self.guest.fdt.memory().unwrap_or_default();
        let entry = boot::entry_point();
        for (bad, text) in [
            (entry | 1, "bit 0"),
            (entry | 2, "bit 1"),
            (0, "no memory there"),
            (ram - 4, "before memory"),
            (ram + size, "behind memory"),
            (0x0900_0000, "a device"),
        ] {
            returns!(
                self,
                self.call(id, self.target(1), bad, 0),
                self.bad_entry(),
                "CPU_ON {id:#x}: bad entry, {text}"
            );
        }
    }

    /// DEN0022 6.4: the state in which a CPU arrives.
    pub fn cpu_on_state(&mut self) {
        for id in self.cpu_on_ids().into_iter().flatten() {
            boot::clear_entry_record(1);
            let starts = boot::starts(1);
            let context = self.start_for_its_state(id);
            check!(
                self,
                cpu::wait_for(|| boot::starts(1) > starts),
                "CPU_ON {id:#x}: the CPU arrives"
            );
            let record = boot::entry_record(1);
            self.registers_on_entry(id, &record, context);
            self.system_on_entry(id, &record);
            self.calls_for_one_that_is_on(id);
            check!(
                self,
                boot::starts(1) == starts + 1,
                "CPU_ON {id:#x}: failed calls start nothing"
            );
            // What a former life leaves behind: timers on, exceptions unmasked.
            boot::give_work(1, leave_a_mess);
            check!(self, self.is_off(1), "CPU_OFF: AFFINITY_INFO becomes OFF");
        }
    }

    /// Turns CPU 1 on and answers the context that it has to find.
    fn start_for_its_state(&mut self, id: u64) -> u64 {
        let context = 0xfeed_f00d_dead_c0de;
        if id != BASE32 + 3 {
            returns!(
                self,
                self.turn_on(id, 1, context),
                SUCCESS,
                "CPU_ON {id:#x}: SUCCESS"
            );
            return context;
        }
        // A 32-bit call takes the lower halves alone.
        let junk = if self.on_qemu {
            0
        } else {
            0xffff_ffff_0000_0000
        };
        let (target, entry) = (self.target(1) | junk, boot::entry_point() | junk);
        returns!(
            self,
            self.call(id, target, entry, context),
            SUCCESS,
            "CPU_ON {id:#x}: SUCCESS"
        );
        context & 0xffff_ffff
    }

    fn registers_on_entry(&mut self, id: u64, record: &EntryRecord, context: u64) {
        returns!(
            self,
            record.x[0] as i64,
            context as i64,
            "CPU_ON {id:#x}: x0 is the context id"
        );
        check!(
            self,
            record.x[1..].iter().all(|x| *x == 0),
            "CPU_ON {id:#x}: x1 to x30 are zero"
        );
        returns!(self, record.current_el as i64, 4, "CPU_ON {id:#x}: at EL1");
        returns!(self, record.sp_sel as i64, 1, "CPU_ON {id:#x}: with SP_EL1");
        returns!(
            self,
            record.daif as i64,
            0x3c0,
            "CPU_ON {id:#x}: D, A, I and F are masked"
        );
    }

    fn system_on_entry(&mut self, id: u64, record: &EntryRecord) {
        // M, C, I; EE and E0E as the caller has them: little-endian.
        returns!(
            self,
            (record.sctlr & (1 | 1 << 2 | 1 << 12 | 1 << 25)) as i64,
            0,
            "CPU_ON {id:#x}: MMU and caches are off, endianness is the caller's"
        );
        returns!(
            self,
            (record.mpidr & 0xff_00ff_ffff) as i64,
            self.target(1) as i64,
            "CPU_ON {id:#x}: MPIDR is the target's"
        );
        check!(
            self,
            record.cntv_ctl & 1 == 0 && record.cntp_ctl & 1 == 0,
            "CPU_ON {id:#x}: the timers are off"
        );
        check!(
            self,
            record.cntfrq == mrs!("cntfrq_el0"),
            "CPU_ON {id:#x}: CNTFRQ is valid"
        );
    }

    fn calls_for_one_that_is_on(&mut self, id: u64) {
        let (target, entry) = (self.target(1), boot::entry_point());
        if self.version == 1 {
            returns!(
                self,
                self.call(id, target, entry, 0),
                INVALID_PARAMETERS,
                "CPU_ON {id:#x}: a CPU that is on"
            );
            return;
        }
        returns!(
            self,
            self.call(BASE64 + 4, target, 0, 0),
            ON,
            "AFFINITY_INFO: ON after CPU_ON {id:#x}"
        );
        returns!(
            self,
            self.call(id, target, entry, 0),
            ALREADY_ON,
            "CPU_ON {id:#x}: ALREADY_ON"
        );
        returns!(
            self,
            self.call(id, target, entry | 1, 0),
            self.bad_entry(),
            "CPU_ON {id:#x}: the entry is checked before the state"
        );
    }
}

extern "C" fn leave_a_mess() {
    msr!("cntv_cval_el0", 0);
    msr!("cntv_ctl_el0", 3);
    msr!("cntp_cval_el0", 0);
    msr!("cntp_ctl_el0", 3);
    cpu::isb();
    cpu_off();
}
