//! Figures as tables for people.

use anyhow::Result;
use serde_json::{Map, Value};

use super::{GICV2, GICV3, read_json};
use crate::artifacts;

/// What the same operations cost elsewhere, by the name of the operation and of the hypervisor.
pub fn peers() -> Result<Value> {
    read_json(&artifacts::root().join("qemu-tests/bench/peers.json"))
}

/// The peer that KVM is represented by in the table.
const KVM: &str = "KVM 6.12";

/// The figures of the peers for an operation: they have no figures for each conduit.
pub(super) fn peers_of<'a>(peers: &'a Value, operation: &str) -> Option<&'a Map<String, Value>> {
    let conduits = ["hvc-", "smc-"];
    let name = conduits.iter().find_map(|c| operation.strip_prefix(c));
    peers.get(name.unwrap_or(operation))?.as_object()
}

/// Sections of figures, each `(section, name, figure)`.
fn rows(figures: &Value) -> impl Iterator<Item = (&str, &str, u64)> {
    let sections = figures.as_object().into_iter().flatten();
    sections.flat_map(|(section, figures)| {
        let figures = figures.as_object().into_iter().flatten();
        figures.filter_map(|(name, n)| Some((section.as_str(), name.as_str(), n.as_u64()?)))
    })
}

/// A table of figures beside those of the best peer and of KVM, which are of boards with a GICv3.
pub fn beside_peers(measured: &Value, peers: &Value) -> String {
    let mut text = heading(["GICv3", "GICv2", "best peer", KVM, "ratio", ""]);
    for (section, name, figure) in rows(measured).filter(|(section, ..)| *section != GICV2) {
        let column = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
        let gicv2 = match section {
            GICV3 => measured
                .get(GICV2)
                .and_then(|gicv2| gicv2.get(name)?.as_u64()),
            _ => None,
        };
        let peers = peers_of(peers, name);
        let best = best_of(peers);
        let ratio = best.map(|(best, _)| format!("{:.2}", best as f64 / figure as f64));
        text += &row(
            name,
            [
                figure.to_string(),
                column(gicv2),
                column(best.map(|(best, _)| best)),
                column(peers.and_then(|peers| peers.get(KVM)?.as_u64())),
                ratio.unwrap_or("-".to_owned()),
                best.map_or("", |(_, peer)| peer).to_owned(),
            ],
        );
    }
    text
}

/// The lowest figure of an operation, and whose it is.
fn best_of(peers: Option<&Map<String, Value>>) -> Option<(u64, &str)> {
    let figures = peers.into_iter().flatten();
    figures
        .filter_map(|(peer, n)| Some((n.as_u64()?, peer.as_str())))
        .min()
}

/// A table of what has changed since an earlier run.
pub fn comparison(measured: &Value, earlier: &Value) -> String {
    let mut text = heading(["earlier", "now", "change", "percent", "", ""]);
    for (section, name, now) in rows(measured) {
        let was = earlier.get(section).and_then(|s| s.get(name)?.as_u64());
        let columns = match was {
            Some(was) => {
                let change = now as i64 - was as i64;
                let percent = 100.0 * change as f64 / was.max(1) as f64;
                [
                    was.to_string(),
                    format!("{change:+}"),
                    format!("{percent:+.1}"),
                ]
            }
            None => ["-".to_owned(), "new".to_owned(), String::new()],
        };
        let [was, change, percent] = columns;
        let columns = [
            was,
            now.to_string(),
            change,
            percent,
            String::new(),
            section.to_owned(),
        ];
        text += &row(name, columns);
    }
    text
}

fn heading(columns: [&str; 6]) -> String {
    row("operation", columns.map(str::to_owned))
}

fn row(operation: &str, [a, b, c, d, e, f]: [String; 6]) -> String {
    let line = format!("{operation:<22} {a:>9} {b:>9} {c:>9} {d:>9} {e:>6}  {f}");
    line.trim_end().to_owned() + "\n"
}
