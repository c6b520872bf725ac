//! What the device tree tells of PSCI.

use super::{Test, V0_2, chosen};

impl Test {
    /// The `/psci` node of each version (Linux, Documentation/devicetree/bindings/arm/psci.yaml).
    pub fn device_tree(&mut self) {
        let fdt = self.guest.fdt;
        let compatible = fdt.property("/psci", "compatible").unwrap_or_default();
        let wanted: &[&[u8]] = match self.version {
            1 => &[b"arm,psci\0"],
            V0_2 => &[b"arm,psci-0.2\0", b"arm,psci-0.2\0arm,psci\0"],
            _ => &[
                b"arm,psci-1.0\0arm,psci-0.2\0",
                b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0",
            ],
        };
        check!(
            self,
            wanted.contains(&compatible),
            "DT: compatible strings of /psci"
        );
        let method = fdt.property("/psci", "method");
        let wanted: &[u8] = match fdt.bootarg("method=") {
            Some("smc") => b"smc\0",
            _ => b"hvc\0",
        };
        check!(
            self,
            method == Some(wanted),
            "DT: method is the configured one"
        );
        check!(
            self,
            fdt.all_have("/cpus/cpu", "enable-method", b"psci\0"),
            "DT: every CPU has the enable-method psci"
        );
        let cpus = fdt
            .bootarg("cpus=")
            .and_then(|n| n.parse().ok())
            .unwrap_or(1);
        check!(
            self,
            self.guest.cpus == cpus,
            "DT: as many CPUs as configured"
        );
        if self.version == 1 {
            let id = |name| fdt.property_u32("/psci", name);
            check!(
                self,
                id("cpu_on").is_some() && id("cpu_off").is_some(),
                "DT: cpu_on and cpu_off of 0.1 have ids"
            );
            let names = ["cpu_suspend", "cpu_off", "cpu_on", "migrate"];
            for (name, wanted) in names.into_iter().zip(chosen(&self.guest, "ids=")) {
                check!(
                    self,
                    id(name).map(u64::from) == Some(wanted),
                    "DT: {name} is {wanted:#x}, as the bundle has it"
                );
            }
        }
    }
}
