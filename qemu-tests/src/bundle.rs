//! Bundles: a description in Rust becomes an image tree source, and mkimage makes the file.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::artifacts;

/// A file in the bundle.
#[derive(Clone, Debug)]
pub struct Image {
    path: PathBuf,
    kind: &'static str,
    compression: &'static str,
    hash: Option<&'static str>,
    extra: String,
}

impl Image {
    fn new(path: impl Into<PathBuf>, kind: &'static str) -> Self {
        Self {
            path: path.into(),
            kind,
            compression: "none",
            hash: Some("crc32"),
            extra: String::new(),
        }
    }

    /// A kernel, not compressed, with a crc32.
    pub fn kernel(path: impl Into<PathBuf>) -> Self {
        Self::new(path, "kernel")
    }

    /// An initial RAM disk.
    pub fn ramdisk(path: impl Into<PathBuf>) -> Self {
        Self::new(path, "ramdisk")
    }

    /// A device tree blob.
    pub fn fdt(path: impl Into<PathBuf>) -> Self {
        Self::new(path, "flat_dt")
    }

    /// What the node says of compression; the file is taken as it is.
    pub fn compression(mut self, name: &'static str) -> Self {
        self.compression = name;
        self
    }

    /// The hash algorithm instead of crc32; `None` for no hash.
    pub fn hash(mut self, algorithm: Option<&'static str>) -> Self {
        self.hash = algorithm;
        self
    }

    /// Anything else in the node, as source text.
    pub fn extra(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self
    }

    fn source(&self, name: &str) -> String {
        let hash = self
            .hash
            .map(|algo| format!("hash-1 {{ algo = \"{algo}\"; }};"))
            .unwrap_or_default();
        format!(
            "{name} {{ data = /incbin/(\"{}\"); type = \"{}\"; arch = \"arm64\"; os = \"linux\"; compression = \"{}\"; {} {hash} }};",
            self.path.display(),
            self.kind,
            self.compression,
            self.extra,
        )
    }
}

/// A virtual machine: properties of its configuration node, in the order in which they were first given.
#[derive(Clone, Debug)]
pub struct Vm {
    name: String,
    properties: Vec<(String, String)>,
    bootargs: Vec<String>,
    images: BTreeMap<&'static str, Image>,
}

impl Vm {
    /// A machine of that name without any property, not even a kernel.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            properties: Vec::new(),
            bootargs: Vec::new(),
            images: BTreeMap::new(),
        }
    }

    /// A machine that boots one of our own guests, see `qemu-tests/guests`.
    pub fn bare(name: &str, guest: &str) -> Self {
        Self::new(name)
            .kernel(Image::kernel(artifacts::guest(guest)))
            .memory_mib(16)
            .bootargs(&format!("vm={name}"))
    }

    /// A machine that boots a Debian kernel of that line into the tests' initramfs and runs the script `run` in it.
    pub fn linux(name: &str, line: &str, run: &str) -> Self {
        Self::new(name)
            .kernel(Image::kernel(artifacts::linux(line)))
            .ramdisk(Image::ramdisk(artifacts::initramfs()))
            .bootargs(&format!("console=ttyAMA0 vm={name} run={run}"))
    }

    /// The kernel.
    pub fn kernel(mut self, image: Image) -> Self {
        self.images.insert("kernel", image);
        self
    }

    /// The initial RAM disk.
    pub fn ramdisk(mut self, image: Image) -> Self {
        self.images.insert("ramdisk", image);
        self
    }

    /// A device tree instead of the generated one.
    pub fn fdt(mut self, image: Image) -> Self {
        self.images.insert("fdt", image);
        self
    }

    /// vCPUs.
    pub fn cpus(self, count: u32) -> Self {
        self.property("cpus", &format!("<{count}>"))
    }

    /// RAM.
    pub fn memory_mib(self, mib: u32) -> Self {
        self.property("memory-mib", &format!("<{mib}>"))
    }

    /// PSCI revision, such as "1.0".
    pub fn psci(self, version: &str) -> Self {
        self.property("psci-version", &format!("\"{version}\""))
    }

    /// The conduit that its device tree names, "hvc" or "smc".
    pub fn conduit(self, method: &str) -> Self {
        self.property("psci-method", &format!("\"{method}\""))
    }

    /// More words for the kernel command line.
    pub fn bootargs(mut self, words: &str) -> Self {
        self.bootargs.push(words.to_owned());
        self
    }

    /// Any property, its value as source text (`<1>`, `"text"`); an earlier value of that name is replaced.
    pub fn property(mut self, name: &str, value: &str) -> Self {
        let value = value.to_owned();
        match self.properties.iter_mut().find(|(n, _)| n == name) {
            Some(old) => old.1 = value,
            None => self.properties.push((name.to_owned(), value)),
        }
        self
    }

    /// No such property or image.
    pub fn without(mut self, name: &'static str) -> Self {
        self.images.remove(name);
        self.properties.retain(|(n, _)| n != name);
        if name == "bootargs" {
            self.bootargs.clear();
        }
        self
    }

    /// A property that leads to a node of that name, whether there is one or not.
    pub fn refers_to(mut self, name: &'static str, node: &str) -> Self {
        self.images.remove(name);
        self.property(name, &format!("\"{node}\""))
    }

    fn source(&self, image_names: &BTreeMap<&'static str, String>) -> String {
        let mut text = format!("{} {{ compatible = \"bulkhead,vm\";", self.name);
        for (property, node) in image_names {
            let _ = write!(text, " {property} = \"{node}\";");
        }
        if !self.bootargs.is_empty() {
            let _ = write!(text, " bootargs = \"{}\";", self.bootargs.join(" "));
        }
        for (name, value) in &self.properties {
            if value.is_empty() {
                let _ = write!(text, " {name};");
            } else {
                let _ = write!(text, " {name} = {value};");
            }
        }
        text + " };"
    }
}

/// A bundle in the making.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    vms: Vec<Vm>,
    external: bool,
    damage: Vec<Damage>,
    wrapped: bool,
}

/// What is done to the finished file: see [`Bundle::damaged`].
#[derive(Clone, Copy, Debug)]
struct Damage(fn(&mut Vec<u8>));

impl Bundle {
    /// A bundle without machines.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a machine.
    pub fn vm(mut self, vm: Vm) -> Self {
        self.vms.push(vm);
        self
    }

    /// Image data behind the tree instead of in it (`mkimage -E`).
    pub fn external(mut self) -> Self {
        self.external = true;
        self
    }

    /// Changes the finished file.
    pub fn damaged(mut self, change: fn(&mut Vec<u8>)) -> Self {
        self.damage.push(Damage(change));
        self
    }

    /// In a legacy image of U-Boot's, as a ramdisk: in a FIT image itself U-Boot looks for a ramdisk, and finds none.
    pub fn wrapped(mut self) -> Self {
        self.wrapped = true;
        self
    }

    /// The image tree source. Equal images become one node.
    pub fn source(&self) -> String {
        let mut images: Vec<String> = Vec::new();
        let mut node_of = |image: &Image| {
            let body = image.source("NAME");
            let index = images.iter().position(|i| *i == body).unwrap_or_else(|| {
                images.push(body);
                images.len() - 1
            });
            format!("image-{index}")
        };
        let mut vms = String::new();
        for vm in &self.vms {
            let names = vm
                .images
                .iter()
                .map(|(property, image)| (*property, node_of(image)))
                .collect();
            let _ = writeln!(vms, "        {}", vm.source(&names));
        }
        let mut nodes = String::new();
        for (index, body) in images.iter().enumerate() {
            let body = body.replacen("NAME", &format!("image-{index}"), 1);
            let _ = writeln!(nodes, "        {body}");
        }
        format!(
            "/dts-v1/;\n/ {{\n    description = \"test\";\n    #address-cells = <1>;\n    images {{\n{nodes}    }};\n    configurations {{\n{vms}    }};\n}};\n"
        )
    }

    /// Makes the file in `dir`.
    pub fn write(&self, dir: &Path) -> Result<PathBuf> {
        let (its, itb) = (dir.join("vms.its"), dir.join("vms.itb"));
        fs::write(&its, self.source())?;
        let mut mkimage = Command::new("mkimage");
        if self.external {
            mkimage.arg("-E");
        }
        artifacts::run(mkimage.arg("-f").arg(&its).arg(&itb))?;
        if !self.damage.is_empty() {
            let mut bytes = fs::read(&itb)?;
            for Damage(change) in &self.damage {
                change(&mut bytes);
            }
            fs::write(&itb, bytes)?;
        }
        if self.wrapped {
            let ramdisk = dir.join("vms.uimg");
            let kind = ["-A", "arm64", "-T", "ramdisk", "-C", "none", "-d"];
            artifacts::run(Command::new("mkimage").args(kind).args([&itb, &ramdisk]))?;
            return Ok(ramdisk);
        }
        Ok(itb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_that_boot_the_same_kernel_share_its_node() {
        let vm = |name| Vm::new(name).kernel(Image::kernel("/Image"));
        let source = Bundle::new().vm(vm("a")).vm(vm("b")).source();
        assert_eq!(source.matches("incbin").count(), 1, "{source}");
        assert_eq!(
            source.matches("kernel = \"image-0\"").count(),
            2,
            "{source}"
        );
    }

    #[test]
    fn a_property_given_twice_has_the_later_value_and_a_flag_has_none() {
        let vm = Vm::new("a").cpus(1).cpus(4).property("manual-start", "");
        let source = Bundle::new().vm(vm).source();
        assert!(
            source.contains("a { compatible = \"bulkhead,vm\"; cpus = <4>; manual-start; };"),
            "{source}"
        );
    }

    #[test]
    fn a_reference_takes_the_place_of_an_image() {
        let vm = Vm::new("a")
            .kernel(Image::kernel("/Image"))
            .refers_to("kernel", "nowhere");
        let source = Bundle::new().vm(vm).source();
        assert!(
            !source.contains("incbin") && source.contains("kernel = \"nowhere\""),
            "{source}"
        );
    }
}
