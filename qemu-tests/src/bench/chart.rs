//! The costs of exits against those of other hypervisors, as a bar chart (SVG).

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{GICV3, table};

/// What is shown: the operation, and how a reader calls it.
const BARS: [(&str, &str); 10] = [
    ("hvc-psci-version", "PSCI_VERSION"),
    ("hvc-smccc-version", "SMCCC_VERSION"),
    ("hvc-psci-features", "PSCI_FEATURES"),
    ("hvc-affinity-info", "AFFINITY_INFO"),
    ("hvc-unknown-psci", "unknown call"),
    ("gicd-typer-read", "GICD_TYPER read"),
    ("uart-register-read", "UART register read"),
    ("sgi-to-nobody", "SGI to nobody"),
    ("sgi-to-self", "SGI to self"),
    ("virtual-timer", "virtual timer"),
];
/// In this order, as far as they have figures.
const PEERS: [&str; 6] = [
    "hvisor",
    "Bao",
    "Jailhouse",
    "willamhou/hypervisor",
    "Xen 4.23",
    "KVM 6.12",
];

const LABELS: f64 = 330.0;
const WIDTH: f64 = 900.0;
const LINE: f64 = 15.0;
/// Bars are logarithmic: from this on, so many pixels for each factor of ten.
const FROM: f64 = 30.0;
const DECADE: f64 = 230.0;

/// The chart of measured figures.
pub fn draw(measured: &Value) -> Result<String> {
    let peers = table::peers()?;
    let mut bars = String::new();
    let mut y = 40.0;
    for (operation, title) in BARS {
        let own = measured[GICV3][operation].as_u64();
        let own = own.with_context(|| format!("no figure of {operation}"))?;
        bar(
            &mut bars,
            &mut y,
            &format!("{title}: Bulkhead"),
            own,
            "#1f6feb",
        )?;
        let others = table::peers_of(&peers, operation);
        for peer in PEERS {
            if let Some(figure) = others.and_then(|others| others.get(peer)?.as_u64()) {
                bar(&mut bars, &mut y, peer, figure, "#a8b0ba")?;
            }
        }
        y += LINE / 2.0;
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"14\">Instructions per operation (GICv3, logarithmic; shorter is better)</text>\n\
         {bars}</svg>\n"
    ))
}

fn bar(bars: &mut String, y: &mut f64, label: &str, figure: u64, colour: &str) -> Result<()> {
    let width = (figure as f64 / FROM).max(1.0).log10() * DECADE;
    let (text, end) = (LABELS - 6.0, LABELS + width + 5.0);
    let base = *y + 10.0;
    writeln!(
        bars,
        "<text x=\"{text}\" y=\"{base}\" text-anchor=\"end\">{label}</text>\
         <rect x=\"{LABELS}\" y=\"{y}\" width=\"{width:.1}\" height=\"12\" fill=\"{colour}\"/>\
         <text x=\"{end:.1}\" y=\"{base}\">{figure}</text>"
    )?;
    *y += LINE;
    Ok(())
}
