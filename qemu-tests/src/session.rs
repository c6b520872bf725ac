//! A running QEMU: what it prints, what is typed, how it ended.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{Read, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, ExitStatus},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use regex::Regex;

use crate::artifacts;

/// Bulkhead's key before a console command: Ctrl-\.
const ESCAPE: u8 = 0x1c;

/// A running QEMU.
#[derive(Debug)]
pub struct Session {
    child: Child,
    keyboard: ChildStdin,
    output: Receiver<Piece>,
    text: String,
    aside: String,
    cursors: HashMap<String, usize>,
    log: File,
    log_path: PathBuf,
    scratch: PathBuf,
    deadline: Instant,
}

/// What has come at once.
#[derive(Debug)]
enum Piece {
    /// From the serial port.
    Serial(Vec<u8>),
    /// What QEMU says itself.
    Qemu(Vec<u8>),
}

/// A QEMU that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// All that it printed, without carriage returns.
    pub text: String,
}

impl Session {
    pub(crate) fn start(
        mut qemu: Command,
        name: &str,
        scratch: PathBuf,
        limit: Duration,
    ) -> Result<Self> {
        let logs = artifacts::build("test-logs");
        fs::create_dir_all(&logs)?;
        let log_path = logs.join(format!("{name}.log"));
        let mut log = File::create(&log_path)?;
        writeln!(log, "# {qemu:?}")?;
        let mut child = qemu.spawn()?;
        let (sender, output) = mpsc::channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        forward(stdout.context("no stdout")?, sender.clone(), Piece::Serial);
        forward(stderr.context("no stderr")?, sender, Piece::Qemu);
        let keyboard = child.stdin.take().context("no stdin")?;
        Ok(Self {
            child,
            keyboard,
            output,
            text: String::new(),
            aside: String::new(),
            cursors: HashMap::new(),
            log,
            log_path,
            scratch,
            deadline: Instant::now() + limit,
        })
    }

    /// All that was printed so far, without carriage returns. A line of QEMU's own stands between those of the serial port.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Waits for the pattern behind the last match; returns its groups, the whole match first.
    pub fn expect(&mut self, pattern: &str) -> Result<Vec<String>> {
        self.expect_of("", pattern)
    }

    /// As [`Self::expect`], with a place of its own for each `reader`: the output of several machines comes interleaved.
    pub fn expect_of(&mut self, reader: &str, pattern: &str) -> Result<Vec<String>> {
        let regex = Regex::new(pattern)?;
        loop {
            let from = self.cursors.get(reader).copied().unwrap_or(0);
            if let Some(found) = self.text.get(from..).and_then(|rest| regex.captures(rest)) {
                let end = found.get(0).map_or(0, |whole| whole.end());
                let groups = found
                    .iter()
                    .map(|group| group.map_or(String::new(), |g| g.as_str().to_owned()))
                    .collect();
                self.cursors.insert(reader.to_owned(), from + end);
                return Ok(groups);
            }
            self.read_more(|| format!("/{pattern}/"))?;
        }
    }

    /// The next line, once it is complete; `None` when QEMU has ended.
    pub fn next_line(&mut self) -> Result<Option<String>> {
        loop {
            let from = self.cursors.get("").copied().unwrap_or(0);
            let rest = self.text.get(from..).unwrap_or_default();
            if let Some((line, _)) = rest.split_once('\n') {
                let line = line.to_owned();
                self.cursors.insert(String::new(), from + line.len() + 1);
                return Ok(Some(line));
            }
            if !self.receive("the next line")? {
                return Ok(None);
            }
        }
    }

    /// Types text.
    pub fn send(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes())?;
        self.keyboard.flush().context("QEMU takes no more input")
    }

    /// Types Bulkhead's escape key and `key`.
    pub fn console_key(&mut self, key: u8) -> Result<()> {
        self.keyboard.write_all(&[ESCAPE, key])?;
        self.keyboard.flush().context("QEMU takes no more input")
    }

    /// Moves the focus of the console to the machine of that index in the bundle, from 0; only the first nine have a digit.
    pub fn focus(&mut self, index: usize) -> Result<()> {
        let digit = u8::try_from(index + 1).ok().filter(|d| *d <= 9);
        self.console_key(b'0' + digit.context("the first nine machines have a digit")?)
    }

    /// Waits until QEMU ends by itself.
    pub fn finish(mut self) -> Result<Ended> {
        while self.receive("its end")? {}
        let status = self.child.wait()?;
        let text = std::mem::take(&mut self.text);
        Ok(Ended { status, text })
    }

    /// Waits until QEMU ends by itself, and checks that every machine shut down by itself: exit status 0.
    pub fn finish_well(self) -> Result<Ended> {
        let log = self.log_path.clone();
        let ended = self.finish()?;
        ensure!(
            ended.status.success(),
            "QEMU ended with {}; see {}",
            ended.status,
            log.display()
        );
        Ok(ended)
    }

    /// Ends QEMU, which would not end by itself; returns all that it has printed.
    pub fn stop(mut self) -> Result<String> {
        self.child.kill()?;
        while self.receive("its end")? {}
        Ok(std::mem::take(&mut self.text))
    }

    fn read_more(&mut self, what: impl Fn() -> String) -> Result<()> {
        let what = what();
        if self.receive(&what)? {
            return Ok(());
        }
        let status = self.child.wait()?;
        bail!("QEMU ended with {status} before {what} came{}", self.tail());
    }

    /// Takes all that has come; false when QEMU has closed its output. The time is up for one that never stops printing, too.
    fn receive(&mut self, what: &str) -> Result<bool> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let piece = match left.is_zero() {
            true => Err(RecvTimeoutError::Timeout),
            false => self.output.recv_timeout(left),
        };
        match piece {
            Ok(piece) => {
                self.take(piece)?;
                while let Ok(piece) = self.output.try_recv() {
                    self.take(piece)?;
                }
                Ok(true)
            }
            Err(RecvTimeoutError::Disconnected) => {
                self.text.push_str(&std::mem::take(&mut self.aside));
                Ok(false)
            }
            Err(RecvTimeoutError::Timeout) => {
                Err(anyhow!("the time was up before {what} came{}", self.tail()))
            }
        }
    }

    fn take(&mut self, piece: Piece) -> Result<()> {
        let (bytes, text) = match &piece {
            Piece::Serial(bytes) => (bytes, &mut self.text),
            Piece::Qemu(bytes) => (bytes, &mut self.aside),
        };
        self.log.write_all(bytes)?;
        let lossy = String::from_utf8_lossy(bytes);
        text.extend(lossy.chars().filter(|c| *c != '\r'));
        if self.text.is_empty() || self.text.ends_with('\n') {
            let lines = self.aside.rfind('\n').map_or(0, |end| end + 1);
            self.text.extend(self.aside.drain(..lines));
        }
        Ok(())
    }

    fn tail(&self) -> String {
        let lines: Vec<&str> = self.text.lines().chain(self.aside.lines()).collect();
        let from = lines.len().saturating_sub(15);
        let tail = lines.get(from..).unwrap_or_default().join("\n    ");
        format!("; see {}\n    {tail}", self.log_path.display())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A QEMU that has ended cannot be killed, and that is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.scratch);
    }
}

/// Hands on what a pipe of QEMU's brings until it is closed.
fn forward(
    mut pipe: impl Read + Send + 'static,
    sender: mpsc::Sender<Piece>,
    kind: fn(Vec<u8>) -> Piece,
) {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut buffer) {
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            if sender.send(kind(bytes)).is_err() {
                break;
            }
        }
    });
}
