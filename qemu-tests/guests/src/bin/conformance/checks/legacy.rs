//! PSCI 0.1.

use guests::{
    bare::{cpu, gic},
    msr,
};

use super::{NOT_SUPPORTED, SUCCESS, Test};

impl Test {
    /// 0.1: ids by device tree, CPU_SUSPEND and MIGRATE may be refused.
    pub fn version_0_1(&mut self) {
        let psci = self.psci;
        check!(
            self,
            psci.cpu_on != psci.cpu_off,
            "CPU_ON and CPU_OFF have different ids"
        );
        if let Some(migrate) = psci.migrate {
            returns!(
                self,
                self.call(migrate.into(), 0, 0, 0),
                NOT_SUPPORTED,
                "MIGRATE: no trusted OS"
            );
        }
        if let Some(suspend) = psci.cpu_suspend {
            gic::set_virtual_timer(cpu::ms(5));
            let result = self.call(suspend.into(), 0, 0, 0);
            msr!("cntv_ctl_el0", 0);
            cpu::isb();
            check!(
                self,
                result == SUCCESS || result == NOT_SUPPORTED,
                "CPU_SUSPEND: standby or NOT_SUPPORTED, got {result}"
            );
        }
    }
}
