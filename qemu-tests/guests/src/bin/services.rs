//! What firmware answers besides PSCI (DEN0028, DEN0057A, DEN0070A, DEN0098), one check for each rule. The boot arguments say what to
//! expect: `trng=`, `pvtime=` and `vendor=` are `yes` or `no`; `workarounds=` is `unknown`, `safe` (no CPU needs any) or `ssbs` (the same,
//! but store bypass is left to SSBS).
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod guest {
    use guests::{
        bare::{
            Guest, Tap, catch, mmio,
            smccc::{self, Conduit},
        },
        guest_main,
    };

    guest_main!(run);

    const NOT_SUPPORTED: u64 = -1i64 as u64;
    const INVALID_PARAMETERS: u64 = -2i64 as u64;
    const ARCH_FEATURES: u64 = 0x8000_0001;
    const UPPER: u64 = 0xffff_ffff_0000_0000;

    fn run(guest: Guest) {
        let mut test = Test {
            tap: Tap::new(guest.name),
            conduit: Conduit::Hvc,
            guest,
        };
        for conduit in [Conduit::Hvc, Conduit::Smc] {
            test.conduit = conduit;
            test.convention();
            test.workarounds();
            match test.expects("trng") {
                true => test.random(),
                false => test.absent(&[
                    0x8400_0050,
                    0x8400_0051,
                    0x8400_0052,
                    0x8400_0053,
                    0xc400_0053,
                ]),
            }
            match test.expects("pvtime") {
                true => test.stolen_time(),
                false => test.absent(&[0xc500_0020, 0xc500_0021]),
            }
            match test.expects("vendor") {
                true => test.vendor(),
                false => test.absent(&[0x8600_ff00, 0x8600_ff01, 0x8600_ff03]),
            }
            // The widths that these calls have not, SOC_ID, and KVM's vendor calls.
            test.absent(&[
                0xc000_0000,
                0xc400_0050,
                0x8400_0054,
                0x8500_0020,
                0x8500_0021,
                0xc600_ff01,
                0x8000_0002,
                0xc000_0002,
                0x8600_0000,
                0x8600_0001,
                0x8400_ff01,
            ]);
        }
        test.tap.finish();
        guest.psci.off();
    }

    struct Test {
        tap: Tap,
        conduit: Conduit,
        guest: Guest,
    }

    impl Test {
        fn expects(&self, service: &str) -> bool {
            let arg = match service {
                "trng" => self.guest.fdt.bootarg("trng="),
                "pvtime" => self.guest.fdt.bootarg("pvtime="),
                _ => self.guest.fdt.bootarg("vendor="),
            };
            arg == Some("yes")
        }

        /// x0 of the answer.
        fn x0(&self, id: u64, x1: u64) -> u64 {
            self.conduit.call3(id, x1, 0, 0)
        }

        fn equal(&mut self, found: u64, wanted: u64, what: &str) {
            let conduit = self.conduit;
            self.tap
                .equal(found, wanted, format_args!("{conduit:?} {what}"));
        }

        /// A call that is not there: -1 in x0, and x1 to x28 as they were.
        fn absent(&mut self, ids: &[u64]) {
            for id in ids {
                let conduit = self.conduit;
                let mut wanted = smccc::pattern(*id);
                let found = conduit.call(wanted);
                wanted[0] = NOT_SUPPORTED;
                self.tap.check(
                    found == wanted,
                    format_args!("{conduit:?} {id:#x} is NOT_SUPPORTED and changes x0 only"),
                );
                let features = self.x0(ARCH_FEATURES, *id);
                self.tap.equal(
                    features,
                    NOT_SUPPORTED,
                    format_args!("{conduit:?} SMCCC_ARCH_FEATURES({id:#x})"),
                );
            }
        }

        fn convention(&mut self) {
            self.equal(self.x0(0x8000_0000, 0), 0x1_0002, "SMCCC_VERSION: 1.2");
            self.equal(
                self.x0(ARCH_FEATURES, 0x8000_0000),
                0,
                "SMCCC_ARCH_FEATURES(SMCCC_VERSION)",
            );
            self.equal(
                self.x0(ARCH_FEATURES, ARCH_FEATURES),
                0,
                "SMCCC_ARCH_FEATURES of itself",
            );
        }

        fn workarounds(&mut self) {
            let [one, two, three] = match self.guest.fdt.bootarg("workarounds=") {
                Some("safe") => [1, -2i64 as u64, 1],
                Some("ssbs") => [1, NOT_SUPPORTED, 1],
                _ => [NOT_SUPPORTED; 3],
            };
            for (id, wanted) in [(0x8000_8000, one), (0x8000_7fff, two), (0x8000_3fff, three)] {
                let conduit = self.conduit;
                let features = self.x0(ARCH_FEATURES, id);
                self.tap.equal(
                    features,
                    wanted,
                    format_args!("{conduit:?} SMCCC_ARCH_FEATURES({id:#x})"),
                );
                let before = smccc::pattern(id);
                let after = conduit.call(before);
                let kept = after[1..] == before[1..];
                let answer = if wanted == NOT_SUPPORTED {
                    NOT_SUPPORTED
                } else {
                    0
                };
                self.tap.check(
                    kept && after[0] == answer,
                    format_args!("{conduit:?} {id:#x} changes x0 only"),
                );
            }
        }

        fn random(&mut self) {
            self.equal(self.x0(0x8400_0050, 0), 0x1_0000, "TRNG_VERSION: 1.0");
            for id in [
                0x8400_0050,
                0x8400_0051,
                0x8400_0052,
                0x8400_0053,
                0xc400_0053,
            ] {
                self.equal(self.x0(0x8400_0051, id), 0, "TRNG_FEATURES of its calls");
            }
            for id in [0x8400_0054, 0xc400_0050, 0x8400_0000] {
                self.equal(
                    self.x0(0x8400_0051, id),
                    NOT_SUPPORTED,
                    "TRNG_FEATURES of others",
                );
            }
            let uuid = self.conduit.call(smccc::pattern(0x8400_0052));
            let words = uuid[..4].iter().all(|word| word & UPPER == 0);
            self.tap
                .check(words && uuid[0] != 0xffff_ffff, "TRNG_GET_UUID: four words");
            self.bits();
            for (id, bits) in [
                (0x8400_0053, 0),
                (0x8400_0053, 97),
                (0xc400_0053, 0),
                (0xc400_0053, 193),
            ] {
                let mut before = smccc::pattern(id);
                before[1] = bits;
                let after = self.conduit.call(before);
                self.equal(after[0], INVALID_PARAMETERS, "TRNG_RND: bad number of bits");
                self.tap.check(
                    after[1..] == before[1..],
                    "TRNG_RND: a failure changes x0 only",
                );
            }
        }

        /// Answers have the bits asked for and no more, and are different.
        fn bits(&mut self) {
            for (id, width, most) in [(0x8400_0053, 32, 96), (0xc400_0053, 64, 192)] {
                let (mut ones, mut above, mut same, mut good) = (0, 0, 0, true);
                let mut last = [0; 3];
                for bits in (1..=most).chain([most; 8]) {
                    let mut before = smccc::pattern(id);
                    before[1] = bits;
                    let after = self.conduit.call(before);
                    good &= after[0] == 0 && after[4..] == before[4..];
                    for (register, word) in [3, 2, 1].into_iter().zip(0..) {
                        let left = bits.saturating_sub(word * width).min(width) as u32;
                        let mask = if left == 0 {
                            0
                        } else {
                            u64::MAX >> (64 - left)
                        };
                        above |= after[register] & !mask;
                        ones |= after[register];
                    }
                    same += u32::from(bits > 32 && last == after[1..4]);
                    last.copy_from_slice(&after[1..4]);
                }
                self.tap.check(
                    good,
                    format_args!("TRNG_RND {id:#x}: success in x0, x4 and above kept"),
                );
                self.equal(above, 0, "TRNG_RND: nothing above the bits asked for");
                self.equal(
                    ones,
                    u64::MAX >> (64 - width),
                    "TRNG_RND: every bit is one at times",
                );
                self.equal(same.into(), 0, "TRNG_RND: no two answers are the same");
            }
        }

        fn stolen_time(&mut self) {
            self.equal(
                self.x0(ARCH_FEATURES, 0xc500_0020),
                0,
                "SMCCC_ARCH_FEATURES(PV_TIME_FEATURES)",
            );
            for id in [0xc500_0020, 0xc500_0021] {
                self.equal(self.x0(0xc500_0020, id), 0, "PV_TIME_FEATURES of its calls");
            }
            self.equal(
                self.x0(0xc500_0020, 0xc500_0022),
                NOT_SUPPORTED,
                "PV_TIME_FEATURES of others",
            );
            let record = self.x0(0xc500_0021, 0);
            self.equal(record, 0x090a_0000, "PV_TIME_ST: the boot CPU's record");
            let mut words = [1; 8];
            let read = catch(|| {
                for (word, at) in words.iter_mut().zip((record..).step_by(8)) {
                    *word = mmio::read64(at);
                }
            });
            self.tap.check(
                read.is_none() && words == [0; 8],
                "PV_TIME_ST: 64 bytes, all zero",
            );
            let write = catch(|| mmio::write64(record + 8, 1));
            self.tap.check(
                write.is_some_and(|fault| fault.is_external_data_abort()),
                "PV_TIME_ST: a write is an external abort",
            );
            self.equal(
                mmio::read64(record + 8),
                0,
                "PV_TIME_ST: a write changes nothing",
            );
        }

        fn vendor(&mut self) {
            self.equal(self.x0(0x8600_ff00, 0), 3, "vendor hypervisor: three calls");
            let uid = self.conduit.call(smccc::pattern(0x8600_ff01));
            let wanted = [0x5666_1b00, 0x9c48_9eaf, 0x21da_28be, 0x7eb4_262b];
            self.tap.check(uid[..4] == wanted, "vendor hypervisor: UID");
            let before = smccc::pattern(0x8600_ff03);
            let revision = self.conduit.call(before);
            self.tap.check(
                revision[..2] == [0, 1] && revision[2..] == before[2..],
                "vendor hypervisor: revision 0.1",
            );
        }
    }
}
