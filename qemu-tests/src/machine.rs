//! The board: which QEMU machine runs, and with what in it.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{Bundle, Card, Session, artifacts};

/// A QEMU machine; the default is the one that README names: `virt` with EL2 and GICv3, four Cortex-A72.
#[derive(Clone, Debug)]
pub struct Machine {
    board: String,
    cpu: String,
    cpus: u32,
    memory: String,
    firmware: Option<PathBuf>,
    initrd: Option<PathBuf>,
    bundle: Option<Bundle>,
    arguments: Vec<OsString>,
    serial_lines_before: usize,
    semihosting: bool,
    limit: Duration,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// `virt,virtualization=on,gic-version=3`, four Cortex-A72, 2 GiB, Bulkhead, no initrd.
    pub fn new() -> Self {
        Self {
            board: "virt,virtualization=on,gic-version=3".to_owned(),
            cpu: "cortex-a72".to_owned(),
            cpus: 4,
            memory: "2G".to_owned(),
            firmware: Some(artifacts::firmware()),
            initrd: None,
            bundle: None,
            arguments: Vec::new(),
            serial_lines_before: 0,
            semihosting: true,
            limit: Duration::from_secs(600),
        }
    }

    /// `virt` with a GICv2, and so with eight CPUs at most.
    pub fn virt_gicv2() -> Self {
        Self::new().board("virt,virtualization=on,gic-version=2")
    }

    /// A Raspberry Pi 4 with the device tree of Debian's kernel: four CPUs in a spin table, a GICv2 with four list registers, no PSCI. The
    /// console is the mini-UART, QEMU's second serial line. QEMU 9 is the first to have it.
    pub fn raspi4b() -> Self {
        Self {
            serial_lines_before: 1,
            ..Self::new().board("raspi4b").dtb(artifacts::raspi4b_dtb())
        }
    }

    /// A Raspberry Pi 4 whose device tree names the PL011, QEMU's first serial line.
    pub fn raspi4b_on_pl011() -> Result<Self> {
        let stdout = ["/chosen", "stdout-path", "serial0:115200n8"];
        let machine = Self::raspi4b_with("pl011", &["-t", "s"], &stdout)?;
        Ok(Self {
            serial_lines_before: 0,
            ..machine
        })
    }

    /// A Raspberry Pi 4 whose device tree has one property more or another value of it: `change` is node, property and values, as fdtput
    /// takes them with the options `kind`. `name` is the tree's file.
    pub fn raspi4b_with(name: &str, kind: &[&str], change: &[&str]) -> Result<Self> {
        let dtb = artifacts::build(&format!("tests/raspi4b-{name}.dtb"));
        std::fs::copy(artifacts::raspi4b_dtb(), &dtb)?;
        artifacts::run(Command::new("fdtput").args(kind).arg(&dtb).args(change))?;
        Ok(Self {
            serial_lines_before: 1,
            ..Self::new().board("raspi4b").dtb(dtb)
        })
    }

    /// A Raspberry Pi 4 that boots from the files of a card as the firmware would, with the console where the card has it: the PL011.
    pub fn raspi4b_from(card: &Card) -> Result<Self> {
        let config = &card.config;
        if !config.armstub.is_empty() {
            return Self::raspi4b_from_stub(card);
        }
        let machine = Self::new()
            .board("raspi4b")
            .dtb(card.device_tree()?)
            .firmware(card.file(&config.kernel)?)
            .arguments(["-append".to_owned(), card.command_line()?]);
        Ok(match config.initramfs.as_str() {
            "" => machine,
            initramfs => machine.initrd(card.file(initramfs)?),
        })
    }

    /// The same with a stub of the card's: QEMU starts the CPUs at EL3, as there is no kernel for it to start.
    fn raspi4b_from_stub(card: &Card) -> Result<Self> {
        let mut machine = Self::new().board("raspi4b").without_firmware();
        for (path, address) in card.with_stub()? {
            let file = path.display();
            let loader = format!("loader,file={file},addr={address:#x},force-raw=on");
            machine = machine.arguments(["-device".to_owned(), loader]);
        }
        Ok(machine)
    }

    /// A Xilinx Versal with the device tree that QEMU makes: two Cortex-A72 (QEMU wants its real-time CPUs counted too), a GICv3.
    pub fn xlnx_versal_virt() -> Self {
        Self::new().board("xlnx-versal-virt")
    }

    /// A Xilinx ZCU102 with the device tree of Debian's kernel: four Cortex-A53, a GICv2 made for pages of 64 KiB, Cadence's serial port.
    pub fn xlnx_zcu102() -> Self {
        Self::new()
            .board("xlnx-zcu102,virtualization=on")
            .cpu("cortex-a53")
            .dtb(artifacts::debian_dtb("xilinx/zynqmp-zcu102-rev1.0.dtb"))
            .arguments(["-audio", "none"])
    }

    /// An i.MX 8M Plus evaluation kit with the device tree of Debian's kernel: four Cortex-A53, a GICv3, NXP's serial port. The console is
    /// QEMU's second serial line.
    pub fn imx8mp_evk() -> Self {
        Self {
            serial_lines_before: 1,
            ..Self::new()
                .board("imx8mp-evk")
                .cpu("cortex-a53")
                .dtb(artifacts::debian_dtb("freescale/imx8mp-evk.dtb"))
        }
    }

    /// A Nuvoton NPCM845 with a device tree of ours: Cortex-A35, a GICv2 whose virtualization QEMU leaves out, a 16550.
    pub fn npcm845_evb() -> Result<Self> {
        Ok(Self::new()
            .board("npcm845-evb")
            .cpu("cortex-a35")
            .memory("1G")
            .dtb(artifacts::own_dtb("npcm845")?))
    }

    /// QEMU's `-dtb`.
    fn dtb(self, path: PathBuf) -> Self {
        self.arguments([OsString::from("-dtb"), path.into()])
    }

    /// Nobody listens to semihosting: the board has to be turned off, and the exit status says nothing.
    pub fn without_semihosting(mut self) -> Self {
        self.semihosting = false;
        self
    }

    /// QEMU's `-M`.
    pub fn board(mut self, options: &str) -> Self {
        self.board = options.to_owned();
        self
    }

    /// QEMU's `-cpu`.
    pub fn cpu(mut self, model: &str) -> Self {
        self.cpu = model.to_owned();
        self
    }

    /// QEMU's `-smp`.
    pub fn cpus(mut self, count: u32) -> Self {
        self.cpus = count;
        self
    }

    /// QEMU's `-m`.
    pub fn memory(mut self, size: &str) -> Self {
        self.memory = size.to_owned();
        self
    }

    /// What takes Bulkhead's place as `-kernel`.
    pub fn firmware(mut self, path: impl Into<PathBuf>) -> Self {
        self.firmware = Some(path.into());
        self
    }

    /// Nothing as `-kernel`: the arguments bring what runs.
    pub fn without_firmware(mut self) -> Self {
        self.firmware = None;
        self
    }

    /// A file as `-initrd`.
    pub fn initrd(mut self, path: impl Into<PathBuf>) -> Self {
        self.initrd = Some(path.into());
        self
    }

    /// A bundle as `-initrd`.
    pub fn bundle(mut self, bundle: Bundle) -> Self {
        self.bundle = Some(bundle);
        self
    }

    /// More arguments for QEMU.
    pub fn arguments<A: Into<OsString>>(mut self, more: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(more.into_iter().map(Into::into));
        self
    }

    /// How long a run may take before it counts as hung.
    pub fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Starts it; `test` names its log.
    pub fn start(self, test: &str) -> Result<Session> {
        let file_name = test.replace("::", "-");
        let scratch = artifacts::scratch(&file_name)?;
        let mut qemu = self.command(&scratch)?;
        qemu.stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Session::start(qemu, &file_name, scratch, self.limit)
            .with_context(|| format!("{test}: QEMU did not start"))
    }

    /// QEMU's command line. The bundle is made in `scratch`.
    pub(crate) fn command(&self, scratch: &Path) -> Result<Command> {
        let initrd = match &self.bundle {
            Some(bundle) => Some(bundle.write(scratch)?),
            None => self.initrd.clone(),
        };
        let mut qemu = Command::new("qemu-system-aarch64");
        qemu.args(["-M", &self.board, "-cpu", &self.cpu])
            .args(["-smp", &self.cpus.to_string(), "-m", &self.memory])
            .args(["-display", "none", "-monitor", "none"])
            .args(["-chardev", "stdio,id=serial,signal=off"]);
        for _ in 0..self.serial_lines_before {
            qemu.args(["-serial", "null"]);
        }
        qemu.args(["-serial", "chardev:serial"]);
        if self.semihosting {
            qemu.arg("-semihosting");
        }
        if let Some(firmware) = &self.firmware {
            qemu.arg("-kernel").arg(firmware);
        }
        if let Some(initrd) = &initrd {
            qemu.arg("-initrd").arg(initrd);
        }
        qemu.args(&self.arguments);
        Ok(qemu)
    }
}
