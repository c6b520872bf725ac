//! The serial line for console and log.

use super::{
    Uart,
    interrupt::{SPIS, interrupts},
    reg,
    survey::Survey,
};
use crate::spec::{
    fdt::{Node, Path, Property, Tree},
    uart::{self, KINDS},
};

/// What `/chosen/stdout-path` names. When that is a device without a driver, none: what else there
/// is may well be wired to something other than a terminal. Only when it names nothing, the first
/// line by alias, or else in the tree, that has a driver.
#[inline(never)]
pub(super) fn discover<'t, 'a>(
    found: &Survey<'t, 'a>,
    tree: &'t Tree<'a>,
    gic: Node<'t, 'a>,
) -> Option<Uart<'a>> {
    if let Some((path, options)) = stdout(found, tree) {
        return uart(&path, gic, options);
    }
    const ALIASES: [&str; 4] = ["serial0", "serial1", "serial2", "serial3"];
    let mut by_alias = ALIASES
        .iter()
        .filter_map(|alias| tree.path(tree.alias(alias)?));
    by_alias
        .find_map(|path| uart(&path, gic, ""))
        .or_else(|| uart(found.uart.as_ref()?, gic, ""))
}

/// The node that `stdout-path` names, and the options behind the colon (DTSpec 3.6).
fn stdout<'t, 'a>(found: &Survey<'t, 'a>, tree: &'t Tree<'a>) -> Option<(Path<'t, 'a>, &'a str)> {
    let value = ["stdout-path", "linux,stdout-path"]
        .iter()
        .find_map(|name| found.chosen?.property(name))
        .and_then(Property::str)?;
    let (path, options) = value.split_once(':').unwrap_or((value, ""));
    let path = match path.starts_with('/') {
        true => path,
        false => tree.alias(path)?,
    };
    let path = match &found.uart {
        // Most boards have one: no need to look for it again.
        Some(first) if first.is(path) => first.clone(),
        _ => tree.path(path)?,
    };
    Some((path, options))
}

fn kind(node: Node) -> Option<&'static uart::Uart> {
    let list = node.property("compatible")?;
    let row = KINDS.iter().find(|row| list.lists(row.compatible));
    row.filter(|_| node.is_okay())
}

fn uart<'a>(path: &Path<'_, 'a>, gic: Node, options: &'a str) -> Option<Uart<'a>> {
    let interrupt = interrupts(path, gic).first().copied().flatten();
    Some(Uart {
        kind: kind(path.node())?,
        regs: reg::of_device(path)?,
        interrupt: interrupt.filter(|interrupt| SPIS.contains(&interrupt.intid)),
        name: path.node().name(),
        options,
    })
}
