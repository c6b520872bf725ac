//! Why a board cannot be used; each prints as one line.

use crate::spec::fdt::{Node, Property};
use core::fmt;

/// What is wrong with the board's device tree, and where.
#[derive(Clone, Copy)]
pub struct BoardError<'t, 'a> {
    node: Node<'t, 'a>,
    fault: Fault<'a>,
}

/// What is wrong with a node.
#[derive(Clone, Copy)]
pub(super) enum Fault<'a> {
    /// It has no property of that name.
    Missing(&'static str),
    /// It has no node that is needed.
    NoNode(&'static str),
    /// A property has another type or value than is allowed.
    Value {
        property: Property<'a>,
        allowed: &'static str,
    },
    /// There is more of something than there is room for.
    TooMany { what: &'static str, limit: usize },
}

impl<'t, 'a> BoardError<'t, 'a> {
    pub(super) fn new(node: Node<'t, 'a>, fault: Fault<'a>) -> Self {
        Self { node, fault }
    }

    /// The property `name` of `node` is missing or of no use.
    #[inline(never)]
    pub(super) fn refused(node: Node<'t, 'a>, name: &'static str, allowed: &'static str) -> Self {
        let fault = match node.property(name) {
            None => Fault::Missing(name),
            Some(property) => Fault::Value { property, allowed },
        };
        Self { node, fault }
    }
}

impl fmt::Display for BoardError<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "board: {}: ", self.node.path())?;
        match self.fault {
            Fault::Missing(property) => write!(f, "{property} is missing"),
            Fault::NoNode(wanted) => write!(f, "there is no {wanted}"),
            Fault::Value { property, allowed } => {
                write!(f, "{} = {property}, allowed: {allowed}", property.name())
            }
            Fault::TooMany { what, limit } => {
                write!(f, "there are more {what} than fit, allowed: {limit}")
            }
        }
    }
}

impl fmt::Debug for BoardError<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
