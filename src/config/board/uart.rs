//! The serial line for console and log.

use super::{Uart, interrupt::interrupts, reg::Buses};
use crate::spec::{
    fdt::{Node, Property, Tree},
    uart::{self, KINDS},
};

/// What `/chosen/stdout-path` names. When that is a device without a driver, none: what else there
/// is may well be wired to something other than a terminal. Only when it names nothing, the first
/// line by alias, or else in the tree, that has a driver.
pub(super) fn discover<'t, 'a>(tree: &'t Tree<'a>, gic: Node<'t, 'a>) -> Option<Uart<'a>> {
    if let Some((node, options)) = stdout(tree) {
        return uart(tree, node, gic, options);
    }
    const ALIASES: [&str; 4] = ["serial0", "serial1", "serial2", "serial3"];
    let by_alias = ALIASES
        .iter()
        .filter_map(|alias| tree.node(tree.alias(alias)?));
    let in_tree = tree.nodes().filter(|node| kind(*node).is_some());
    by_alias
        .chain(in_tree.take(1))
        .find_map(|node| uart(tree, node, gic, ""))
}

/// The node that `stdout-path` names, and the options behind the colon (DTSpec 3.6).
fn stdout<'t, 'a>(tree: &'t Tree<'a>) -> Option<(Node<'t, 'a>, &'a str)> {
    let chosen = tree.node("/chosen")?;
    let value = ["stdout-path", "linux,stdout-path"]
        .iter()
        .find_map(|name| chosen.property(name))
        .and_then(Property::str)?;
    let (path, options) = value.split_once(':').unwrap_or((value, ""));
    let path = match path.starts_with('/') {
        true => path,
        false => tree.alias(path)?,
    };
    Some((tree.node(path)?, options))
}

fn kind(node: Node) -> Option<&'static uart::Uart> {
    let row = KINDS.iter().find(|row| node.is_compatible(row.compatible));
    row.filter(|_| node.is_okay())
}

fn uart<'t, 'a>(
    tree: &'t Tree<'a>,
    node: Node<'t, 'a>,
    gic: Node<'t, 'a>,
    options: &'a str,
) -> Option<Uart<'a>> {
    Some(Uart {
        kind: kind(node)?,
        regs: Buses::above(tree, node).ok()?.first_reg(node)?,
        interrupt: interrupts(tree, node, gic).first().copied().flatten(),
        name: node.name(),
        options,
    })
}
