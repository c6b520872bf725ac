//! Why a VM of the bundle cannot be; each prints as one line.

use super::settings::Kind;
use crate::{spec::fdt::Property, types::MAX_VMS};
use core::fmt;

/// What is wrong with a VM, and where.
#[derive(Clone, Copy, Debug)]
pub struct ConfigError<'a> {
    place: Place<'a>,
    fault: Fault<'a>,
}

/// A node of the bundle.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Configuration(&'a str),
    Image(&'a str),
    Hash { image: &'a str, hash: &'a str },
}

impl<'a> Place<'a> {
    pub(super) fn error(self, fault: Fault<'a>) -> ConfigError<'a> {
        ConfigError { place: self, fault }
    }
}

/// What is wrong with a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault<'a> {
    /// A required property is missing.
    Missing(&'static str),
    /// A property has another type or value than is allowed.
    Value {
        property: Property<'a>,
        allowed: Allowed,
    },
    /// A property names an image that is not there.
    NoSuchImage(Property<'a>),
    /// The image's data are not within the bundle.
    Outside {
        offset: u64,
        bytes: u64,
        have: usize,
    },
    /// The image's data are not what was hashed.
    Mismatch,
    /// The VM's name has characters that it may not have, or too many.
    Name,
    /// The VM's name is an earlier VM's.
    Taken,
    /// There are more VMs than can be.
    TooMany,
}

/// The values that a property may have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Allowed {
    /// What settings of that kind may.
    Setting(&'static Kind),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// Numbers from 1 to this.
    UpTo(u32),
    /// Board CPUs, of which there are so many.
    BoardCpus(usize),
    /// So many bytes.
    Bytes(usize),
    /// Something that words say.
    Words(&'static str),
}

impl fmt::Display for ConfigError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.place {
            Place::Configuration(vm) => write!(f, "/configurations/{vm}: ")?,
            Place::Image(image) => write!(f, "/images/{image}: ")?,
            Place::Hash { image, hash } => write!(f, "/images/{image}/{hash}: ")?,
        }
        match self.fault {
            Fault::Missing(property) => write!(f, "{property} is missing"),
            Fault::Value { property, allowed } => {
                write!(f, "{} = {property}, allowed: {allowed}", property.name())
            }
            Fault::NoSuchImage(property) => write!(
                f,
                "{} = {property}, allowed: the name of a node of /images",
                property.name()
            ),
            Fault::Outside {
                offset,
                bytes,
                have,
            } => write!(
                f,
                "data of {bytes} bytes at {offset:#x} are not within the bundle, which has {have} bytes"
            ),
            Fault::Mismatch => f.write_str("value is not that of the data: the image is damaged"),
            Fault::Name => {
                f.write_str("name of the VM, allowed: 1 to 31 letters, digits or ,._+-@")
            }
            Fault::Taken => f.write_str("name of the VM, allowed: one that no earlier VM has"),
            Fault::TooMany => write!(
                f,
                "this VM and later ones are left out, allowed: {MAX_VMS} VMs"
            ),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Self::Setting(kind) => write!(f, "{kind}"),
            Self::OneOf(names) => write_list(f, names),
            Self::UpTo(most) => write!(f, "1 to {most}"),
            Self::BoardCpus(cpus) => {
                write!(f, "numbers of board CPUs, 0 to {}", cpus.saturating_sub(1))
            }
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::Words(words) => f.write_str(words),
        }
    }
}

/// `items` with commas between them.
pub(super) fn write_list(
    f: &mut fmt::Formatter,
    items: impl IntoIterator<Item = impl fmt::Display>,
) -> fmt::Result {
    let mut separator = "";
    for item in items {
        write!(f, "{separator}{item}")?;
        separator = ", ";
    }
    Ok(())
}
