//! The properties of a VM: one table that reading, warnings and messages go by.

use super::{
    Resources,
    error::{Allowed, ConfigError, Fault, Place, write_list},
    image::{Image, Images, Role},
};
use crate::{
    config::vm::{Kernel, OnCrash, VmConfig},
    spec::{
        fdt::{Node, Property},
        psci::FunctionSet,
        services,
    },
    types::{Conduit, MAX_PCPUS, PsciVersion},
};
use core::fmt;

/// The longest text, in bytes: Linux on arm64 takes 2048 for its command line, and it has to fit into a device tree.
const MAX_TEXT: usize = 16 << 10;

/// A property that a VM may have.
pub(super) struct Setting {
    name: &'static str,
    kind: Kind,
}

/// What type a setting's value has, and where it goes.
#[derive(Debug)]
pub(super) enum Kind {
    /// The name of an image that fits the role.
    Image(Role, for<'a> fn(&mut VmConfig<'a>, Image<'a>)),
    /// A string of up to [`MAX_TEXT`] bytes.
    Text(for<'a> fn(&mut VmConfig<'a>, &'a str)),
    /// A number from 1 to what the board has.
    Number(fn(Resources) -> u32, fn(&mut VmConfig, u32)),
    /// A list of board CPUs, as a bit mask.
    BoardCpus(fn(&mut VmConfig, u64)),
    /// A PSCI revision.
    Revision(fn(&mut VmConfig, PsciVersion)),
    /// Names of optional PSCI functions.
    Hidden(fn(&mut VmConfig, FunctionSet)),
    /// A function id of PSCI 0.1.
    Id(fn(&mut VmConfig, u32)),
    /// Bits of a bitmap of SMCCC services.
    Bitmap(fn(&mut VmConfig, u32)),
    /// One of several strings.
    Choice(&'static [Choice]),
    /// True when it is there.
    Flag(fn(&mut VmConfig)),
}

/// A string that a setting may be, and what it means.
type Choice = (&'static str, fn(&mut VmConfig));

const fn setting(name: &'static str, kind: Kind) -> Setting {
    Setting { name, kind }
}

/// All properties that a VM may have; no more than a word has bits.
pub(super) static SETTINGS: [Setting; 19] = [
    setting(
        "kernel",
        Kind::Image(Role::Kernel, |vm, image| {
            vm.kernel = match image.gzip {
                true => Kernel::Gzip(image.data),
                false => Kernel::Plain(image.data),
            }
        }),
    ),
    setting(
        "ramdisk",
        Kind::Image(Role::Ramdisk, |vm, image| vm.ramdisk = Some(image.data)),
    ),
    setting(
        "fdt",
        Kind::Image(Role::Fdt, |vm, image| vm.fdt = Some(image.data)),
    ),
    setting("bootargs", Kind::Text(|vm, text| vm.bootargs = text)),
    setting(
        "cpus",
        Kind::Number(
            |board| board.vcpus as u32,
            |vm, cpus| vm.cpus = cpus as usize,
        ),
    ),
    setting(
        "cpu-affinity",
        Kind::BoardCpus(|vm, cpus| vm.affinity = Some(cpus)),
    ),
    setting(
        "memory-mib",
        Kind::Number(
            |board| (board.reach >> 20) as u32,
            |vm, mib| vm.memory = u64::from(mib) << 20,
        ),
    ),
    setting("psci-version", Kind::Revision(|vm, psci| vm.psci = psci)),
    setting(
        "psci-method",
        Kind::Choice(&[
            (Conduit::Hvc.name(), |vm| vm.conduit = Conduit::Hvc),
            (Conduit::Smc.name(), |vm| vm.conduit = Conduit::Smc),
        ]),
    ),
    setting(
        "psci-hide",
        Kind::Hidden(|vm, functions| vm.psci_hide = functions),
    ),
    setting(CPU_SUSPEND, Kind::Id(|vm, id| vm.psci_ids.cpu_suspend = id)),
    setting(CPU_OFF, Kind::Id(|vm, id| vm.psci_ids.cpu_off = id)),
    setting(CPU_ON, Kind::Id(|vm, id| vm.psci_ids.cpu_on = id)),
    setting(MIGRATE, Kind::Id(|vm, id| vm.psci_ids.migrate = id)),
    setting(
        "smccc-std-bmap",
        Kind::Bitmap(|vm, bits| vm.services.std = Some(bits)),
    ),
    setting(
        "smccc-std-hyp-bmap",
        Kind::Bitmap(|vm, bits| vm.services.std_hyp = Some(bits)),
    ),
    setting(
        "smccc-vendor-hyp-bmap",
        Kind::Bitmap(|vm, bits| vm.services.vendor_hyp = Some(bits)),
    ),
    setting("manual-start", Kind::Flag(|vm| vm.manual_start = true)),
    setting(
        "on-crash",
        Kind::Choice(&[
            ("halt", |vm| vm.on_crash = OnCrash::Halt),
            ("restart", |vm| vm.on_crash = OnCrash::Restart),
        ]),
    ),
];

const CPU_SUSPEND: &str = "psci-cpu-suspend";
const CPU_OFF: &str = "psci-cpu-off";
const CPU_ON: &str = "psci-cpu-on";
const MIGRATE: &str = "psci-migrate";

/// The ids of PSCI 0.1 have to differ. To blame is the last of `node`'s properties that gives one which
/// another function has, be it by default.
pub(super) fn check_psci_ids<'a>(node: Node<'_, 'a>, vm: &VmConfig) -> Result<(), Fault<'a>> {
    let ids = &vm.psci_ids;
    let all = [
        (CPU_SUSPEND, ids.cpu_suspend),
        (CPU_OFF, ids.cpu_off),
        (CPU_ON, ids.cpu_on),
        (MIGRATE, ids.migrate),
    ];
    let is_taken = |name: &str, id| all.iter().any(|other| other.0 != name && other.1 == id);
    let blamed = all.iter().rev().find_map(|&(name, id)| {
        let property = node.property(name)?;
        is_taken(name, id).then_some(property)
    });
    let allowed = Allowed::Words("an id that no other function of PSCI 0.1 has");
    blamed.map_or(Ok(()), |property| Err(Fault::Value { property, allowed }))
}

/// Properties of any FIT configuration that say nothing about the VM.
const STANDARD: [&str; 4] = ["compatible", "description", "phandle", "linux,phandle"];

/// The setting of that name, and which of the table it is.
pub(super) fn find(name: &str) -> Option<(usize, &'static Setting)> {
    let mut settings = SETTINGS.iter().enumerate();
    settings.find(|(_, setting)| setting.name == name)
}

/// Whether a property of that name is no mistake.
pub(super) fn is_known(name: &str) -> bool {
    STANDARD.contains(&name) || find(name).is_some()
}

impl Setting {
    /// Puts the value of `property` into `vm`.
    pub(super) fn read<'a>(
        &'static self,
        vm: &mut VmConfig<'a>,
        property: Property<'a>,
        images: &mut Images<'_, 'a>,
        board: Resources,
    ) -> Result<(), ConfigError<'a>> {
        let node = Place::Configuration(vm.name);
        let refused = |allowed| node.error(Fault::Value { property, allowed });
        let good = match &self.kind {
            Kind::Image(role, set) => {
                let name = property.str();
                let name = name.ok_or_else(|| refused(Allowed::Setting(&self.kind)))?;
                let missing = || node.error(Fault::NoSuchImage(property));
                set(vm, images.get(name, *role)?.ok_or_else(missing)?);
                Some(())
            }
            Kind::Text(set) => property
                .str()
                .filter(|text| text.len() <= MAX_TEXT)
                .map(|text| set(vm, text)),
            Kind::Number(most, set) => {
                let most = most(board);
                let number = property.u32().filter(|number| (1..=most).contains(number));
                set(vm, number.ok_or(refused(Allowed::UpTo(most)))?);
                Some(())
            }
            Kind::BoardCpus(set) => {
                let cpus = mask(property, board.cpus);
                set(vm, cpus.ok_or(refused(Allowed::BoardCpus(board.cpus)))?);
                Some(())
            }
            Kind::Revision(set) => property
                .str()
                .and_then(|text| text.parse().ok())
                .map(|revision| set(vm, revision)),
            Kind::Hidden(set) => hidden(property).map(|functions| set(vm, functions)),
            Kind::Id(set) => property.u32().map(|id| set(vm, id)),
            Kind::Bitmap(set) => property
                .u32()
                .filter(|bits| bits & !services::BITMAP_BITS == 0)
                .map(|bits| set(vm, bits)),
            Kind::Choice(choices) => choices
                .iter()
                .find(|(name, _)| property.str() == Some(name))
                .map(|(_, set)| set(vm)),
            Kind::Flag(set) => property.bytes().is_empty().then(|| set(vm)),
        };
        good.ok_or_else(|| refused(Allowed::Setting(&self.kind)))
    }
}

/// The bit mask of the CPUs that `property` lists, if each is one of the board's `cpus`.
fn mask(property: Property, cpus: usize) -> Option<u64> {
    let cpus = cpus.min(MAX_PCPUS) as u32;
    let mut listed = property.cells().filter(|cells| !cells.is_empty())?;
    listed.try_fold(0, |mask, cpu| (cpu < cpus).then(|| mask | 1 << cpu))
}

/// The optional functions that `property` lists, if it lists nothing else.
fn hidden(property: Property) -> Option<FunctionSet> {
    if property.bytes().last() != Some(&0) {
        return None;
    }
    let mut names = property.strings();
    let listed = names.try_fold(FunctionSet::default(), FunctionSet::with)?;
    // Text that is no string ends the list early.
    let strings = property.bytes().iter().filter(|byte| **byte == 0).count();
    (property.strings().count() == strings).then_some(listed)
}

/// What a setting of that kind may be.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Image(..) => f.write_str("the name of a node of /images"),
            Self::Text(_) => write!(f, "a string of at most {MAX_TEXT} bytes"),
            Self::Number(..) => f.write_str("a number"),
            Self::BoardCpus(_) => f.write_str("numbers of board CPUs"),
            Self::Revision(_) => write_list(f, PsciVersion::ALL),
            Self::Hidden(_) => write_list(f, FunctionSet::hideable()),
            Self::Id(_) => f.write_str("one function id"),
            Self::Bitmap(_) => write!(f, "0 to {}", services::BITMAP_BITS),
            Self::Choice(choices) => write_list(f, choices.iter().map(|(name, _)| name)),
            Self::Flag(_) => f.write_str("no value"),
        }
    }
}
