//! Image nodes of a FIT: what they hold, where, and whether it is still what it was.

use super::error::{Allowed, ConfigError, Fault, Place};
use crate::{
    spec::{
        crc32::Crc32,
        fdt::{Node, Property, Tree},
    },
    types::MAX_VMS,
};
use arrayvec::ArrayVec;
use sha2::{Digest, Sha256};

/// What an image is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Kernel,
    Ramdisk,
    Fdt,
}

impl Role {
    /// Values of `type` that fit (U-Boot's names).
    const fn types(self) -> &'static [&'static str] {
        match self {
            Self::Kernel => &["kernel", "kernel_noload", "standalone", "firmware"],
            Self::Ramdisk => &["ramdisk"],
            Self::Fdt => &["flat_dt"],
        }
    }

    /// Values of `compression` that fit. A compressed RAM disk is passed on as it is, since guests
    /// unpack it themselves.
    const fn compressions(self) -> &'static [&'static str] {
        match self {
            Self::Kernel | Self::Ramdisk => &["none", "gzip"],
            Self::Fdt => &["none"],
        }
    }
}

/// An image that is complete and fits its role.
pub(super) struct Image<'a> {
    pub(super) data: &'a [u8],
    /// `compression` is gzip.
    pub(super) gzip: bool,
}

/// The images that VMs asked for, up to three each.
const MAX_IMAGES: usize = 3 * MAX_VMS;

/// The nodes of `/images`.
pub(super) struct Images<'t, 'a> {
    tree: &'t Tree<'a>,
    crc32: Crc32,
    /// Images whose hashes have been computed, with the name of the first hash node that differs:
    /// those that several VMs share are read once.
    verdicts: ArrayVec<(&'a str, Option<&'a str>), MAX_IMAGES>,
}

impl<'t, 'a> Images<'t, 'a> {
    pub(super) fn new(tree: &'t Tree<'a>, crc32: Crc32) -> Self {
        Self {
            tree,
            crc32,
            verdicts: ArrayVec::new(),
        }
    }

    /// The image of that name, if there is one.
    pub(super) fn get(
        &mut self,
        name: &str,
        role: Role,
    ) -> Result<Option<Image<'a>>, ConfigError<'a>> {
        let node = self.tree.node("/images").and_then(|node| node.child(name));
        let Some(node) = node else {
            return Ok(None);
        };
        let place = Place::Image(node.name());
        let error = |fault| place.error(fault);
        choice(node, "type", role.types()).map_err(error)?;
        choice(node, "arch", &["arm64"]).map_err(error)?;
        let compression = choice(node, "compression", role.compressions()).map_err(error)?;
        let data = self.data(node).map_err(error)?;
        self.verify(node, data)?;
        Ok(Some(Image {
            data,
            gzip: compression == Some("gzip"),
        }))
    }

    /// The image's bytes: inline, or outside of the tree, counted from the start of the bundle or
    /// from the first multiple of four bytes behind the tree (U-Boot, doc/usage/fit, "External data";
    /// the order of precedence is U-Boot's).
    fn data(&self, node: Node<'t, 'a>) -> Result<&'a [u8], Fault<'a>> {
        let base = self.tree.size().next_multiple_of(4) as u64;
        let offset = match number(node, "data-position")? {
            Some(position) => Some(position),
            None => number(node, "data-offset")?.map(|offset| offset.saturating_add(base)),
        };
        let Some(offset) = offset else {
            let data = node.property("data").map(Property::bytes);
            return data
                .filter(|data| !data.is_empty())
                .ok_or(Fault::Missing("data"));
        };
        let bytes = number(node, "data-size")?
            .filter(|bytes| *bytes > 0)
            .ok_or(Fault::Missing("data-size"))?;
        let bundle = self.tree.blob();
        let end = offset.saturating_add(bytes);
        bundle
            .get(offset as usize..end as usize)
            .ok_or(Fault::Outside {
                offset,
                bytes,
                have: bundle.len(),
            })
    }

    /// Checks every hash node of the image, which is read through at most once per algorithm.
    fn verify(&mut self, node: Node<'t, 'a>, data: &'a [u8]) -> Result<(), ConfigError<'a>> {
        let image = node.name();
        let place = |hash| Place::Hash { image, hash };
        for hash in hash_nodes(node) {
            Hash::read(hash).map_err(|fault| place(hash.name()).error(fault))?;
        }
        let known = self.verdicts.iter().find(|(name, _)| *name == image);
        let damaged = match known {
            Some((_, damaged)) => *damaged,
            None => {
                let damaged = mismatch(node, data, self.crc32).map(Node::name);
                // There is room: no more images are asked for than there are slots.
                let _ = self.verdicts.try_push((image, damaged));
                damaged
            }
        };
        match damaged {
            Some(hash) => Err(place(hash).error(Fault::Mismatch)),
            None => Ok(()),
        }
    }
}

/// The string in `property`, if the node has it, which must be one of `allowed`.
fn choice<'a>(
    node: Node<'_, 'a>,
    property: &str,
    allowed: &'static [&'static str],
) -> Result<Option<&'a str>, Fault<'a>> {
    let Some(property) = node.property(property) else {
        return Ok(None);
    };
    let fits = property.str().filter(|text| allowed.contains(text));
    fits.map(Some).ok_or(Fault::Value {
        property,
        allowed: Allowed::OneOf(allowed),
    })
}

/// The number in `property`, if the node has it.
fn number<'a>(node: Node<'_, 'a>, property: &str) -> Result<Option<u64>, Fault<'a>> {
    let Some(property) = node.property(property) else {
        return Ok(None);
    };
    property.u64().map(Some).ok_or(Fault::Value {
        property,
        allowed: Allowed::Words("a number"),
    })
}

/// `hash`, `hash-1`, `hash@1` and so on: like U-Boot, whatever begins so.
fn hash_nodes<'t, 'a>(image: Node<'t, 'a>) -> impl Iterator<Item = Node<'t, 'a>> {
    let children = image.children();
    children.filter(|child| child.name().starts_with("hash"))
}

/// The first hash node of `image` whose value is not that of `data`.
fn mismatch<'t, 'a>(image: Node<'t, 'a>, data: &[u8], crc32: Crc32) -> Option<Node<'t, 'a>> {
    let (mut crc, mut sha) = (None, None);
    hash_nodes(image).find(|hash| match Hash::read(*hash) {
        Ok(Hash::Crc32(value)) => *value != crc.get_or_insert_with(|| crc32(data)).to_be_bytes(),
        Ok(Hash::Sha256(value)) => *value != **sha.get_or_insert_with(|| Sha256::digest(data)),
        Err(_) => true,
    })
}

/// What a hash node says.
enum Hash<'a> {
    Crc32(&'a [u8; 4]),
    Sha256(&'a [u8; 32]),
}

impl<'a> Hash<'a> {
    /// An algorithm that is not known is refused: whoever put it there wants the image checked.
    fn read(node: Node<'_, 'a>) -> Result<Self, Fault<'a>> {
        let algorithm = choice(node, "algo", &["crc32", "sha256"])?;
        match algorithm.ok_or(Fault::Missing("algo"))? {
            "crc32" => value(node).map(Self::Crc32),
            _ => value(node).map(Self::Sha256),
        }
    }
}

/// The value of a hash node, which has `N` bytes.
fn value<'a, const N: usize>(node: Node<'_, 'a>) -> Result<&'a [u8; N], Fault<'a>> {
    let property = node.property("value").ok_or(Fault::Missing("value"))?;
    property.bytes().try_into().map_err(|_| Fault::Value {
        property,
        allowed: Allowed::Bytes(N),
    })
}
