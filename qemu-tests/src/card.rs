//! The Raspberry Pi 4's SD card: taken apart, and read as the board's firmware reads it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::artifacts;

/// Where an MBR has its first partition: status, CHS, type, CHS, first sector, sectors.
const PARTITION: usize = 446;
/// FAT32 by LBA.
const FAT32: u8 = 0x0c;

/// A stub whose header takes addresses has this at 0xf0.
const STUB_MAGIC: u32 = 0x5afe_570b;
/// Where an arm64 Image has its magic number.
const IMAGE_MAGIC_AT: usize = 56;
const IMAGE_MAGIC: &[u8] = b"ARM\x64";
/// Where the firmware puts an arm64 Image, and where any other kernel.
const IMAGE_AT: u32 = 0x20_0000;
const KERNEL_AT: u32 = 0x8_0000;
const DEVICE_TREE_AT: u32 = 0x800_0000;
const INITRAMFS_AT: u32 = 0x1000_0000;
/// RAM below the VideoCore's, as QEMU has it.
const MEMORY: u32 = 0x3c00_0000;

/// What `config.txt` asks the firmware for; the names are those of files on the card.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `kernel=`
    pub kernel: String,
    /// `initramfs ... followkernel`; empty if there is none.
    pub initramfs: String,
    /// `device_tree=`
    pub device_tree: String,
    /// `armstub=`; empty if there is none.
    pub armstub: String,
    /// `dtoverlay=`, in this order.
    pub overlays: Vec<String>,
}

impl Config {
    /// Reads `config.txt`; what would not start an arm64 Image with a console and a bundle is an error.
    pub fn parse(text: &str) -> Result<Self> {
        let mut config = Self::default();
        let mut settings = Vec::new();
        for line in text.lines().map(str::trim) {
            ensure!(line.len() <= 78, "the firmware cuts this: {line}");
            if let Some(words) = line.strip_prefix("initramfs ") {
                config.initramfs = words
                    .strip_suffix(" followkernel")
                    .with_context(|| format!("not behind the kernel: {line}"))?
                    .to_owned();
            } else if let Some((name, value)) = line.split_once('=')
                && !line.starts_with('#')
            {
                match name {
                    "kernel" => config.kernel = value.to_owned(),
                    "armstub" => config.armstub = value.to_owned(),
                    "device_tree" => config.device_tree = value.to_owned(),
                    "dtoverlay" => config.overlays.push(value.to_owned()),
                    _ => settings.push(line),
                }
            } else {
                ensure!(
                    line.is_empty() || line.starts_with('#'),
                    "neither a setting nor a comment: {line}"
                );
            }
        }
        for needed in ["arm_64bit=1", "enable_uart=1"] {
            ensure!(settings.contains(&needed), "config.txt has no {needed}");
        }
        Ok(config)
    }
}

/// The files of a card.
#[derive(Debug)]
pub struct Card {
    root: PathBuf,
    /// What `config.txt` says.
    pub config: Config,
}

impl Card {
    /// Copies the files of a card's image to `dir`, which is made anew.
    pub fn take_apart(image: &Path, dir: &Path) -> Result<Self> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir_all(dir)?;
        let offset = partition_offset(&fs::read(image)?)?;
        artifacts::run(
            Command::new("mcopy")
                .args(["-s", "-i"])
                .arg(format!("{}@@{offset}", image.display()))
                .args(["::/*"])
                .arg(dir),
        )?;
        Self::open(dir)
    }

    /// The card whose files are in `dir`.
    pub fn open(dir: &Path) -> Result<Self> {
        let text = fs::read_to_string(dir.join("config.txt")).context("config.txt")?;
        Ok(Self {
            root: dir.to_owned(),
            config: Config::parse(&text)?,
        })
    }

    /// A file of the card, which must be there and hold something.
    pub fn file(&self, name: &str) -> Result<PathBuf> {
        let path = self.root.join(name);
        let size = fs::metadata(&path).with_context(|| format!("the card's {name:?}"))?;
        ensure!(size.is_file() && size.len() > 0, "{name:?} is no file");
        Ok(path)
    }

    /// The device tree with the overlays, as the firmware hands it over.
    pub fn device_tree(&self) -> Result<PathBuf> {
        let tree = self.root.join("handed-over.dtb");
        let mut merge = Command::new("fdtoverlay");
        merge
            .arg("-i")
            .arg(self.file(&self.config.device_tree)?)
            .arg("-o")
            .arg(&tree);
        for overlay in &self.config.overlays {
            merge.arg(self.file(&format!("overlays/{overlay}.dtbo"))?);
        }
        artifacts::run(&mut merge)?;
        Ok(tree)
    }

    /// What is in RAM, and where, when the firmware has the CPUs begin at address 0 and EL3 with the card's own stub. The places of the
    /// rest are free to choose: the stub is told, as the layout of its header says (raspberrypi/tools, armstub8.S).
    pub fn with_stub(&self) -> Result<Vec<(PathBuf, u32)>> {
        let tree = self.device_tree()?;
        let put = |kind: &str, change: &[&str]| {
            artifacts::run(
                Command::new("fdtput")
                    .args(["-t", kind])
                    .arg(&tree)
                    .args(change),
            )
        };
        let cell = |value: u32| format!("{value:x}");
        put("x", &["/memory@0", "reg", "0", "0", &cell(MEMORY)])?;
        put("s", &["/chosen", "bootargs", &self.command_line()?])?;
        // What QEMU has not, it would take out of a tree of its -dtb.
        let absent = ["/scb/ethernet@7d580000", "/scb/pcie@7d500000"];
        artifacts::run(Command::new("fdtput").arg("-r").arg(&tree).args(absent))?;
        let mut files = Vec::new();
        if !self.config.initramfs.is_empty() {
            let initramfs = self.file(&self.config.initramfs)?;
            let end = INITRAMFS_AT + u32::try_from(fs::metadata(&initramfs)?.len())?;
            for (name, address) in [
                ("linux,initrd-start", INITRAMFS_AT),
                ("linux,initrd-end", end),
            ] {
                put("x", &["/chosen", name, "0", &cell(address)])?;
            }
            files.push((initramfs, INITRAMFS_AT));
        }
        let kernel = self.file(&self.config.kernel)?;
        let bytes = fs::read(&kernel)?;
        let rest = bytes.get(IMAGE_MAGIC_AT..).unwrap_or_default();
        let kernel_at = match rest.starts_with(IMAGE_MAGIC) {
            true => IMAGE_AT,
            false => KERNEL_AT,
        };

        let mut stub = fs::read(self.file(&self.config.armstub)?)?;
        let header = stub.get_mut(0xf0..0x100).context("a stub has a header")?;
        ensure!(
            header.starts_with(&STUB_MAGIC.to_le_bytes()),
            "the stub has no magic number"
        );
        // The magic number is cleared when the addresses are there.
        let told = [0, 0, DEVICE_TREE_AT, kernel_at].map(u32::to_le_bytes);
        header.copy_from_slice(told.as_flattened());
        let stub_path = self.root.join("handed-over.stub");
        fs::write(&stub_path, stub)?;
        files.extend([(stub_path, 0), (kernel, kernel_at), (tree, DEVICE_TREE_AT)]);
        Ok(files)
    }

    /// The board's command line.
    pub fn command_line(&self) -> Result<String> {
        let text = fs::read_to_string(self.file("cmdline.txt")?)?;
        ensure!(text.lines().count() == 1, "cmdline.txt is one line");
        Ok(text.trim().to_owned())
    }
}

/// Where an image's first partition begins, in bytes. The board's firmware takes the first one that is FAT.
fn partition_offset(image: &[u8]) -> Result<u64> {
    ensure!(
        image.get(510..512) == Some(&[0x55, 0xaa]),
        "the image has no MBR"
    );
    let kind = image.get(PARTITION + 4);
    ensure!(
        kind == Some(&FAT32),
        "its first partition has type {kind:?}"
    );
    let sector = image.get(PARTITION + 8..PARTITION + 12);
    let sector = sector.and_then(|bytes| bytes.try_into().ok());
    Ok(u64::from(u32::from_le_bytes(sector.context("no sector")?)) * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_card_that_is_made_starts_bulkhead_with_a_bundle() {
        let config = include_str!("../../boot/raspi4/config.txt");
        let expected = Config {
            kernel: "kernel8.img".to_owned(),
            initramfs: "bundle.itb".to_owned(),
            device_tree: "bcm2711-rpi-4-b.dtb".to_owned(),
            armstub: String::new(),
            overlays: vec!["disable-bt".to_owned()],
        };
        assert_eq!(Config::parse(config).unwrap(), expected);
    }

    #[test]
    fn settings_that_start_nothing_are_errors() {
        let good = "arm_64bit=1\nenable_uart=1\nkernel=a\n";
        assert!(Config::parse(good).is_ok());
        for bad in [
            "arm_64bit=1\n",
            "arm_64bit=0\nenable_uart=1\n",
            "arm_64bit=1\n#enable_uart=1\n",
            "arm_64bit=1\nenable_uart=1\ninitramfs b\n",
            "arm_64bit=1\nenable_uart=1\nkernel a\n",
        ] {
            assert!(Config::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_partition_is_found_by_its_type_and_signature() {
        let mut image = vec![0; 512];
        assert!(partition_offset(&image).is_err());
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        assert!(partition_offset(&image).is_err());
        image[PARTITION + 4] = FAT32;
        image[PARTITION + 8..PARTITION + 12].copy_from_slice(&2048u32.to_le_bytes());
        assert_eq!(partition_offset(&image).unwrap(), 1024 * 1024);
    }
}
