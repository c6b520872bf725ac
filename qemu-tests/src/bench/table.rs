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

/// What the project aims at, on boards with a GICv3, by the name of the operation.
pub fn aims() -> Result<Value> {
    read_json(&artifacts::root().join("qemu-tests/bench/aims.json"))
}

/// What `file` says of an operation; calls have one entry for both conduits.
fn entry<'a>(file: &'a Value, operation: &str) -> Option<&'a Value> {
    let conduits = ["hvc-", "smc-"];
    let name = conduits.iter().find_map(|c| operation.strip_prefix(c));
    file.get(name.unwrap_or(operation))
}

/// The figures of the peers for an operation.
pub(super) fn peers_of<'a>(peers: &'a Value, operation: &str) -> Option<&'a Map<String, Value>> {
    entry(peers, operation)?.as_object()
}

/// Sections of figures, each `(section, name, figure)`.
fn rows(figures: &Value) -> impl Iterator<Item = (&str, &str, u64)> {
    let sections = figures.as_object().into_iter().flatten();
    sections.flat_map(|(section, figures)| {
        let figures = figures.as_object().into_iter().flatten();
        figures.filter_map(|(name, n)| Some((section.as_str(), name.as_str(), n.as_u64()?)))
    })
}

/// A table of figures beside what is aimed at, and those of the best peer and of KVM; all three are of boards with a GICv3.
pub fn beside_peers(measured: &Value, aims: &Value, peers: &Value) -> String {
    let heads = ["GICv3", "GICv2", "aim", "", "best peer", KVM, "ratio", ""];
    let mut text = beside("operation", heads.map(str::to_owned));
    for (section, name, figure) in rows(measured).filter(|(section, ..)| *section != GICV2) {
        let gicv2 = match section {
            GICV3 => measured
                .get(GICV2)
                .and_then(|gicv2| gicv2.get(name)?.as_u64()),
            _ => None,
        };
        let aim = entry(aims, name).and_then(Value::as_u64);
        let peers = peers_of(peers, name);
        let best = best_of(peers);
        let ratio = best.map(|(best, _)| format!("{:.2}", best as f64 / figure as f64));
        let columns = [
            figure.to_string(),
            or_dash(gicv2),
            or_dash(aim),
            aim.map_or(String::new(), |aim| verdict(figure, aim)),
            or_dash(best.map(|(best, _)| best)),
            or_dash(peers.and_then(|peers| peers.get(KVM)?.as_u64())),
            ratio.unwrap_or("-".to_owned()),
            best.map_or("", |(_, peer)| peer).to_owned(),
        ];
        text += &beside(name, columns);
    }
    text
}

/// Whether a figure is what it should be, or how many times as much.
fn verdict(figure: u64, aim: u64) -> String {
    match figure <= aim {
        true => "met".to_owned(),
        false => format!("x{:.2}", figure as f64 / aim as f64),
    }
}

fn or_dash(figure: Option<u64>) -> String {
    figure.map_or("-".to_owned(), |figure| figure.to_string())
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
    let heads = ["earlier", "now", "change", "percent", ""];
    let mut text = compared("operation", heads.map(str::to_owned));
    for (section, name, now) in rows(measured) {
        let was = earlier.get(section).and_then(|s| s.get(name)?.as_u64());
        let (change, percent) = match was {
            Some(was) => {
                let change = now as i64 - was as i64;
                let percent = 100.0 * change as f64 / was.max(1) as f64;
                (format!("{change:+}"), format!("{percent:+.1}"))
            }
            None => ("new".to_owned(), String::new()),
        };
        let columns = [
            or_dash(was),
            now.to_string(),
            change,
            percent,
            section.to_owned(),
        ];
        text += &compared(name, columns);
    }
    text
}

fn beside(operation: &str, [a, b, c, d, e, f, g, h]: [String; 8]) -> String {
    line(format!(
        "{operation:<21} {a:>9} {b:>8} {c:>8} {d:<6} {e:>9} {f:>8} {g:>5}  {h}"
    ))
}

fn compared(operation: &str, [a, b, c, d, e]: [String; 5]) -> String {
    line(format!("{operation:<21} {a:>9} {b:>9} {c:>10} {d:>8}  {e}"))
}

fn line(text: String) -> String {
    text.trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_figure_stands_beside_its_aim_and_the_best_of_the_peers() {
        let measured = json!({"gicv3": {"hvc-call": 50, "read": 25}, "gicv2": {"read": 30}});
        let aims = json!({"call": 40, "read": 25});
        let peers = json!({"call": {"KVM 6.12": 900, "Bao": 100}});
        let table = beside_peers(&measured, &aims, &peers);
        let rows: Vec<Vec<&str>> = table
            .lines()
            .skip(1)
            .map(|row| row.split_whitespace().collect())
            .collect();
        assert_eq!(
            rows,
            [
                vec![
                    "hvc-call", "50", "-", "40", "x1.25", "100", "900", "2.00", "Bao"
                ],
                vec!["read", "25", "30", "25", "met", "-", "-", "-"],
            ]
        );
    }
}
