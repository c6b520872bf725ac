//! One walk over the tree, which may be long: where everything is that there is one of.

use super::{
    error::BoardError,
    gic::Version,
    memory::{self, Ranges},
};
use crate::spec::{
    fdt::{Item, Match, Node, Path, Property, Tree},
    uart::KINDS,
};

/// What a board has.
pub(super) struct Survey<'t, 'a> {
    pub(super) chosen: Option<Node<'t, 'a>>,
    pub(super) cpus: Option<Node<'t, 'a>>,
    pub(super) reserved_memory: Option<Node<'t, 'a>>,
    /// What the memory nodes say, or what the first one of no use has wrong.
    pub(super) memory: Ranges,
    pub(super) fault: Option<BoardError<'t, 'a>>,
    /// The first interrupt controller in use that is known.
    pub(super) gic: Option<(Path<'t, 'a>, Version)>,
    /// The first PSCI firmware.
    pub(super) psci: Option<Node<'t, 'a>>,
    /// The first architected timer.
    pub(super) timer: Option<Path<'t, 'a>>,
    /// The first power manager of a BCM2835 in use.
    pub(super) power_manager: Option<Path<'t, 'a>>,
    /// The first PL031 in use.
    pub(super) rtc: Option<Path<'t, 'a>>,
    /// The first serial line in use that has a driver.
    pub(super) uart: Option<Path<'t, 'a>>,
}

/// A device that is looked for.
#[derive(Clone, Copy)]
enum Device {
    Gic(Version),
    Psci,
    Timer,
    PowerManager,
    Rtc,
    Uart,
}

/// What device trees call them: of the interrupt controllers, those with virtualization support.
const DEVICES: [(&str, Device); 12] = [
    ("arm,gic-v3", Device::Gic(Version::V3)),
    ("arm,gic-400", Device::Gic(Version::V2)),
    ("arm,cortex-a15-gic", Device::Gic(Version::V2)),
    ("arm,cortex-a7-gic", Device::Gic(Version::V2)),
    ("qcom,msm-qgic2", Device::Gic(Version::V2)),
    ("arm,psci-1.0", Device::Psci),
    ("arm,psci-0.2", Device::Psci),
    ("arm,psci", Device::Psci),
    ("arm,armv8-timer", Device::Timer),
    ("arm,armv7-timer", Device::Timer),
    ("brcm,bcm2835-pm-wdt", Device::PowerManager),
    ("arm,pl031", Device::Rtc),
];

impl<'t, 'a> Survey<'t, 'a> {
    pub(super) fn new() -> Self {
        Self {
            chosen: None,
            cpus: None,
            reserved_memory: None,
            memory: Ranges::new(),
            fault: None,
            gic: None,
            psci: None,
            timer: None,
            power_manager: None,
            rtc: None,
            uart: None,
        }
    }

    #[inline(never)]
    pub(super) fn run(&mut self, tree: &'t Tree<'a>) {
        let root = tree.root();
        let mut nodes = tree.nodes();
        while let Some(item) = nodes.next_item() {
            let path = nodes.path();
            let is_top = path.above().len() == 1;
            match item {
                Item::Node(node) if is_top => self.note_name(node),
                Item::Node(_) => {}
                Item::Property(property) if property.is_named("compatible") => {
                    self.note_devices(path, property);
                }
                Item::Property(property) if is_top && property.is_named("device_type") => {
                    if property.str() == Some("memory") && path.node().is_okay() {
                        let added = memory::add(&mut self.memory, root, path.node());
                        self.fault = self.fault.or(added.err());
                    }
                }
                Item::Property(_) => {}
            }
        }
    }

    /// `node` is right below the root.
    fn note_name(&mut self, node: Node<'t, 'a>) {
        for (slot, name) in [
            (&mut self.chosen, "chosen"),
            (&mut self.cpus, "cpus"),
            (&mut self.reserved_memory, "reserved-memory"),
        ] {
            let answer = node.answers_to(name);
            if answer > Match::None && slot.is_none_or(|known| known.answers_to(name) < answer) {
                *slot = Some(node);
            }
        }
    }

    /// `path` leads to something that is, or is like, what `compatible` lists.
    fn note_devices(&mut self, path: &Path<'t, 'a>, compatible: Property) {
        for entry in compatible.entries() {
            let is_it = |name: &str| name.as_bytes() == entry;
            if let Some((_, device)) = DEVICES.iter().find(|row| is_it(row.0)) {
                self.note(path, *device);
            } else if KINDS.iter().any(|row| is_it(row.compatible)) {
                self.note(path, Device::Uart);
            }
        }
    }

    #[inline(never)]
    fn note(&mut self, path: &Path<'t, 'a>, device: Device) {
        let in_use = path.node().is_okay();
        match device {
            Device::Gic(version) if in_use => {
                self.gic.get_or_insert_with(|| (path.clone(), version));
            }
            Device::PowerManager if in_use => {
                self.power_manager.get_or_insert_with(|| path.clone());
            }
            Device::Rtc if in_use => {
                self.rtc.get_or_insert_with(|| path.clone());
            }
            Device::Uart if in_use => {
                self.uart.get_or_insert_with(|| path.clone());
            }
            Device::Psci => {
                self.psci.get_or_insert(path.node());
            }
            Device::Timer => {
                self.timer.get_or_insert_with(|| path.clone());
            }
            Device::Gic(_) | Device::PowerManager | Device::Rtc | Device::Uart => {}
        }
    }
}
