//! What `scripts/bench` runs: see there.

use std::{env, fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use qemu_tests::{
    artifacts,
    bench::{self, chart, linux, profile, table},
};
use serde_json::Map;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<()> {
    match *arguments {
        ["measure", out] => measure(Path::new(out)),
        ["profile", operation] => {
            artifacts::prepare()?;
            print!("{}", profile::of(operation)?);
            Ok(())
        }
        ["document", file] => document(Path::new(file)),
        ["budget", file] => budget(Path::new(file)),
        ["table", file] => print_table(Path::new(file), None),
        ["table", file, earlier] => print_table(Path::new(file), Some(Path::new(earlier))),
        _ => bail!("unknown arguments: {}", arguments.join(" ")),
    }
}

/// Measures everything into a JSON file.
fn measure(out: &Path) -> Result<()> {
    artifacts::prepare()?;
    let mut all = Map::new();
    for section in bench::SECTIONS {
        let figures = bench::measure(section)?;
        all.insert(section.to_owned(), bench::to_json(&figures));
    }
    all.insert("linux".to_owned(), bench::to_json(&linux::measure()?));
    bench::write_json(out, all)
}

/// Makes figures the budget: those that tests hold against it.
fn budget(file: &Path) -> Result<()> {
    let measured = bench::read_json(file)?;
    let section = |name: &str| Some((name.to_owned(), measured.get(name)?.clone()));
    let sections = bench::SECTIONS.iter().filter_map(|name| section(name));
    bench::write_json(&bench::budget_file(), sections.collect())
}

/// Brings docs/costs.md and its chart up to date.
fn document(file: &Path) -> Result<()> {
    const BEGIN: &str = "<!-- figures: scripts/bench --chart -->\n";
    const END: &str = "<!-- end -->";
    let measured = bench::read_json(file)?;
    let docs = artifacts::root().join("docs");
    fs::write(docs.join("costs.svg"), chart::draw(&measured)?)?;
    let page = fs::read_to_string(docs.join("costs.md"))?;
    let (before, rest) = page.split_once(BEGIN).context("no place for figures")?;
    let (_, after) = rest.split_once(END).context("no end of the figures")?;
    let lines = table::beside_peers(&measured, &table::aims()?, &table::peers()?);
    let page = format!("{before}{BEGIN}```\n{lines}```\n{END}{after}");
    Ok(fs::write(docs.join("costs.md"), page)?)
}

/// Prints figures beside those of the peers, or of an earlier run.
fn print_table(file: &Path, earlier: Option<&Path>) -> Result<()> {
    let measured = bench::read_json(file)?;
    let lines = match earlier {
        Some(earlier) => table::comparison(&measured, &bench::read_json(earlier)?),
        None => table::beside_peers(&measured, &table::aims()?, &table::peers()?),
    };
    print!("{lines}");
    Ok(())
}
