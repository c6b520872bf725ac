//! Pages of docs that are made from tables here; a test fails when a file is another one.
//! `BULKHEAD_BLESS=1 cargo test --lib spec::docs` writes them anew.

mod psci;
mod smccc;

use std::{env, fs, path::Path, string::String};

fn is_current(name: &str, page: String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    if env::var_os("BULKHEAD_BLESS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        found, page,
        "docs/{name}: write it anew with BULKHEAD_BLESS=1 cargo test --lib spec::docs"
    );
}

#[test]
fn the_page_of_psci_is_current() {
    is_current("psci.md", psci::page());
}

#[test]
fn the_page_of_the_services_is_current() {
    is_current("smccc.md", smccc::page());
}
