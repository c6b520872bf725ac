//! PSCI (DEN0022) and SMCCC (DEN0028) by their rules, one check each, for the version that `psci=V` in the boot arguments names. The
//! expected values are those of the specification; the table of functions is typed from it.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod checks;
