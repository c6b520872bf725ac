//! The board's serial line: everybody's output, and the input of the VM in focus.

use super::machine;
use crate::{
    config::board,
    console::{self, Console, Guest, Input},
    hw::uart::Uart,
    mm::{el2_map::Memory, pool},
    spec::machine::UART_INTID,
    sync::Mutex,
    types::VmId,
};
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Metadata, Record};

/// Bytes that are taken from the UART at one interrupt: as many as the largest FIFO of the known kinds has.
const BURST: usize = 64;
/// Bytes of the hypervisor's lines that are kept for a look back.
const LOG_BYTES: u64 = 16 << 10;
/// How often a panic tries to get the line from a CPU that may never give it back.
const PATIENCE: u32 = 1_000_000;

/// The board's UART; without one that we can drive, output is kept in the log only.
#[derive(Clone, Copy)]
pub struct Port(Option<Uart>);

impl Port {
    /// The UART that the board has, if its registers are mapped.
    pub fn of(board: Option<&board::Uart>, memory: &Memory) -> Self {
        Self(board.and_then(|uart| Uart::open(uart.kind, memory.device(uart.regs)?)))
    }
}

impl console::Uart for Port {
    fn put(&mut self, byte: u8) {
        if let Some(uart) = &mut self.0 {
            uart.put(byte);
        }
    }

    #[inline(always)]
    fn put_at_once(&mut self, byte: u8) -> bool {
        self.0.as_mut().is_none_or(|uart| uart.put_at_once(byte))
    }
}

struct Line {
    console: Console,
    port: Port,
}

static LINE: Mutex<Line> = Mutex::new(Line {
    console: Console::new(),
    port: Port(None),
});

/// Opens the board's UART, and the log if there is memory for it.
pub fn open(port: Port) {
    let log = pool::bytes(LOG_BYTES).unwrap_or_default();
    let line = &mut *LINE.lock();
    line.port = port;
    line.console.keep_log(log);
}

/// Whether nobody sees what is printed.
pub fn is_silent() -> bool {
    LINE.lock().port.0.is_none()
}

/// Waits until all output is on the wire: who turns the board off would cut it short.
pub fn flush() {
    if let Some(uart) = LINE.lock().port.0 {
        uart.flush();
    }
}

/// From here on received bytes raise the UART's interrupt.
pub fn enable_input() {
    if let Some(uart) = LINE.lock().port.0 {
        uart.enable_receive_interrupt();
    }
}

/// A line of the hypervisor, at column 0.
pub fn print(text: fmt::Arguments) {
    let line = &mut *LINE.lock();
    line.console.print(text, &mut line.port);
}

/// A VM exists; VMs are added in the bundle's order.
pub fn add(guest: &'static mut Guest) {
    let _ = LINE.lock().console.add(guest);
}

/// A VM is about to run; the first one has the focus.
pub fn expect(vm: VmId) {
    let line = &mut *LINE.lock();
    line.console.started(vm, &mut line.port);
}

/// A VM runs no more: what it has left unfinished is shown, then the line tells.
pub fn stopped(vm: VmId, text: fmt::Arguments) {
    let line = &mut *LINE.lock();
    line.console.print(text, &mut line.port);
    line.console.stopped(vm, &mut line.port);
}

/// A guest's UART has sent a byte. Whether [`settle`] is to be called once the guest is quiet.
#[must_use]
pub fn guest_output(vm: VmId, byte: u8) -> bool {
    let line = &mut *LINE.lock();
    line.console.output(vm, byte, &mut line.port)
}

/// The same where nobody has to be waited for and nothing else is to be done. Whether it was so: the byte is not out otherwise.
#[must_use]
#[inline(always)]
pub fn guest_output_at_once(vm: VmId, byte: u8) -> bool {
    LINE.try_lock_inline().is_some_and(|mut line| {
        let line = &mut *line;
        line.console.output_at_once(vm, byte, &mut line.port)
    })
}

/// Writes the unfinished line of the VM in focus again.
pub fn settle() {
    let line = &mut *LINE.lock();
    line.console.settle(&mut line.port);
}

/// The UART's interrupt: bytes for guests, or commands. It ends when the FIFO is seen empty, so that bytes beyond the
/// burst raise it again.
pub fn receive() {
    for _ in 0..BURST {
        let input = {
            let line = &mut *LINE.lock();
            let Some(byte) = line.port.0.and_then(|uart| uart.get()) else {
                return;
            };
            line.console.input(byte, &mut line.port)
        };
        if let Input::Vm(vm, byte) = input {
            deliver(vm, byte);
        }
    }
}

/// Puts a byte into a guest's UART. One that it has no room for is lost, as on a serial line.
fn deliver(vm: VmId, byte: u8) {
    if let Some(vm) = machine::vms().find(|other| other.id == vm) {
        let mut uart = vm.uart.lock();
        uart.send(byte);
        vm.set_spi(UART_INTID, uart.line());
    }
}

/// A line of a hypervisor that comes to its end; the line is not waited for when its holder may be dead.
pub fn emergency(text: fmt::Arguments) {
    for _ in 0..PATIENCE {
        if let Some(mut line) = LINE.try_lock() {
            let line = &mut *line;
            line.console
                .print(format_args!("bulkhead: {text}"), &mut line.port);
            return;
        }
        core::hint::spin_loop();
    }
    // The holder was stopped in the middle: write past it.
    if let Some(port) = machine::try_get().map(|board| board.emergency_uart) {
        let _ = Raw(port).write_fmt(format_args!("\r\nbulkhead: {text}\r\n"));
    }
}

struct Raw(Port);

impl Write for Raw {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        console::send(text.as_bytes(), &mut self.0);
        Ok(())
    }
}

/// Log records go out as lines of the hypervisor.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            let level = match record.level() {
                Level::Error => "error",
                Level::Warn => "warning",
                Level::Info => "info",
                Level::Debug => "debug",
                Level::Trace => "trace",
            };
            print(format_args!("bulkhead: {level}: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// A record of that level. The macro takes 60 bytes and more in each place.
#[inline(never)]
pub fn warn(text: fmt::Arguments) {
    log::warn!("{text}");
}

/// Sends log records of `level` and above to the line.
pub fn init_log(level: LevelFilter) {
    static LOGGER: Logger = Logger;
    // The first call counts; there is no other.
    let _ = log::set_logger(&LOGGER);
    log::set_max_level(level);
}
