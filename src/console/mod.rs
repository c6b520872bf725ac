//! One serial line for everybody: output of the VM in focus, lines of the others, and the log.
//!
//! What the VM in focus writes goes out byte by byte. Of the others whole lines appear, with the name in
//! front, and so do the hypervisor's own lines, which always begin at column 0. None of them ever
//! stands within a line of the VM in focus: its unfinished line is broken off, and written again
//! below. After a line of the hypervisor that happens at once; lines of VMs come in bursts, as when
//! one boots, so there it waits until the VM in focus goes on, a key is pressed, or
//! [`Console::settle`] is called. A prompt is thus never repeated between lines of a boot log.
//!
//! The line is slow, and what is written again takes it from everybody. So the lines between pay for
//! that, byte for byte; where they are too short for it, the VM in focus goes on in a fresh row.
//!
//! Everything here is state alone; the caller owns the serial port, and a lock around both.

mod line;
mod ring;

use crate::types::{MAX_VMS, VmId};
use arrayvec::ArrayVec;
use core::fmt::{self, Write};
use line::{LINE_BYTES, Line};
use ring::Ring;

/// Names are cut to this many bytes.
const NAME_BYTES: usize = 32;

/// The most that [`Console::debt`] comes to. Ordinary output does not get near it: lines are much alike in length, and few are broken
/// off more than once.
const CREDIT: usize = 8 * LINE_BYTES;

/// Ctrl-\, which starts a command.
const ESCAPE: u8 = 0x1c;

/// Where the console writes to.
pub trait Uart {
    /// Sends one byte; waits until it can.
    fn put(&mut self, byte: u8);

    /// Sends one byte, unless it would have to wait. Whether it was sent.
    fn put_at_once(&mut self, byte: u8) -> bool;
}

/// What a byte from the serial line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nobody: it was part of a command, or no running VM is in focus.
    Nobody,
    /// This VM's UART receives this byte.
    Vm(VmId, u8),
}

/// What stands in the terminal's current row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Row {
    /// Nothing.
    Empty,
    /// Text of the VM in focus, or a carriage return: a reader of the raw stream is not at a line's
    /// start then.
    Text,
    /// Nothing, but the unfinished line of the VM in focus belongs there.
    Owed,
}

/// What the console knows of a VM.
pub struct Guest {
    name: &'static str,
    line: Line,
    on: bool,
}

impl Guest {
    /// A VM that does not run yet. Of its name, `NAME_BYTES` at most are shown.
    pub fn new(name: &'static str) -> Self {
        Self {
            name: name.split_at(name.floor_char_boundary(NAME_BYTES)).0,
            line: Line::new(),
            on: false,
        }
    }
}

/// The multiplexer.
pub struct Console {
    guests: ArrayVec<&'static mut Guest, MAX_VMS>,
    focus: Option<VmId>,
    row: Row,
    /// How many bytes of the VM in focus were written again without a line that paid for them.
    debt: usize,
    /// The last key was Ctrl-\.
    escaped: bool,
    log: Ring,
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

impl Console {
    /// A console without VMs.
    pub const fn new() -> Self {
        Self {
            guests: ArrayVec::new_const(),
            focus: None,
            row: Row::Empty,
            debt: 0,
            escaped: false,
            log: Ring::new(&mut []),
        }
    }

    /// From here on the hypervisor's lines are kept in `bytes` for a look back, whatever these hold so far.
    pub fn keep_log(&mut self, bytes: &'static mut [u8]) {
        self.log = Ring::new(bytes);
    }

    /// Adds the next VM of the bundle; `None` when there are [`MAX_VMS`].
    pub fn add(&mut self, guest: &'static mut Guest) -> Option<VmId> {
        let vm = VmId::new(u8::try_from(self.guests.len()).ok()?);
        self.guests.try_push(guest).ok()?;
        Some(vm)
    }

    /// A VM was started. It gets the focus if nobody has it.
    pub fn started(&mut self, vm: VmId, uart: &mut impl Uart) {
        let Some(guest) = self.guests.get_mut(vm.index()) else {
            return;
        };
        guest.on = true;
        if self.focus.is_none() {
            self.move_focus(vm, uart);
        }
    }

    /// A VM is off. What it left unfinished is shown, and the focus goes to the next VM that runs.
    pub fn stopped(&mut self, vm: VmId, uart: &mut impl Uart) {
        let in_focus = self.focus == Some(vm);
        let Some(guest) = self.guests.get_mut(vm.index()) else {
            return;
        };
        guest.on = false;
        if in_focus {
            guest.line.clear();
            self.break_row(uart);
            self.focus = None;
            if let Some(next) = self.next_running(vm) {
                self.move_focus(next, uart);
            }
        } else {
            self.flush(vm, uart);
        }
    }

    /// The VM whose output is shown as it comes, and which gets the input.
    pub const fn focus(&self) -> Option<VmId> {
        self.focus
    }

    /// A VM writes a byte. Whether [`Self::settle`] is to be called once there has been quiet for a moment.
    #[must_use]
    pub fn output(&mut self, vm: VmId, byte: u8, uart: &mut impl Uart) -> bool {
        if self.focus != Some(vm) {
            return self.output_aside(vm, byte, uart);
        }
        self.settle_on_credit(uart);
        uart.put(byte);
        self.keep(vm, byte);
        false
    }

    /// The same for a byte that goes out as it comes, which is nearly every byte of the VM in focus. Otherwise nothing has happened,
    /// and the answer is false.
    #[inline(always)]
    #[must_use]
    pub fn output_at_once(&mut self, vm: VmId, byte: u8, uart: &mut impl Uart) -> bool {
        let sent = self.focus == Some(vm) && self.row != Row::Owed && uart.put_at_once(byte);
        if sent {
            self.keep(vm, byte);
        }
        sent
    }

    /// Notes what the VM in focus has sent.
    #[inline(always)]
    fn keep(&mut self, vm: VmId, byte: u8) {
        if let Some(guest) = self.guests.get_mut(vm.index()) {
            if byte == b'\n' {
                guest.line.clear();
                self.row = Row::Empty;
            } else {
                guest.line.push(byte);
                self.row = Row::Text;
            }
        }
    }

    /// A VM that is not in focus writes a byte.
    fn output_aside(&mut self, vm: VmId, byte: u8, uart: &mut impl Uart) -> bool {
        let Some(guest) = self.guests.get_mut(vm.index()) else {
            return false;
        };
        if byte != b'\n' && guest.line.has_room_for(byte) {
            guest.line.push(byte);
        } else {
            self.flush(vm, uart);
            if byte != b'\n' {
                return self.output_aside(vm, byte, uart);
            }
        }
        self.row == Row::Owed
    }

    /// Prints a line of the hypervisor, at column 0, and keeps it in the log. A line feed within it
    /// begins a further line.
    pub fn print(&mut self, text: fmt::Arguments, uart: &mut impl Uart) {
        self.say(text, uart);
        self.settle_on_credit(uart);
    }

    /// As [`Self::print`], with more to follow.
    fn say(&mut self, text: fmt::Arguments, uart: &mut impl Uart) {
        self.break_row(uart);
        let mut lines = Lines {
            uart,
            log: &mut self.log,
            sent: 0,
        };
        // Neither the port nor the ring can fail; an error could come from a Display alone, and then
        // the line is short.
        let _ = lines.write_fmt(text);
        let _ = lines.write_char('\n');
        let sent = lines.sent;
        self.pay(sent);
    }

    /// Writes the unfinished line of the VM in focus again if lines of others came between. To be
    /// called when those others have been quiet for a moment.
    pub fn settle(&mut self, uart: &mut impl Uart) {
        if self.row != Row::Owed {
            return;
        }
        self.row = Row::Empty;
        if let Some(guest) = self.focus.and_then(|vm| self.guests.get(vm.index())) {
            guest.line.replay().for_each(|piece| send(piece, uart));
            self.row = Row::Text;
        }
    }

    /// The same where a VM brings it about as often as it likes.
    fn settle_on_credit(&mut self, uart: &mut impl Uart) {
        let debt = self.debt + self.focus.map_or(0, |vm| self.unfinished(vm));
        if self.row == Row::Owed && debt <= CREDIT {
            self.debt = debt;
            self.settle(uart);
        }
    }

    /// A line of so many bytes comes between.
    fn pay(&mut self, bytes: usize) {
        self.debt = self.debt.saturating_sub(bytes);
    }

    /// A byte arrives on the serial line.
    pub fn input(&mut self, byte: u8, uart: &mut impl Uart) -> Input {
        self.settle_on_credit(uart);
        if !self.escaped {
            self.escaped = byte == ESCAPE;
            return if self.escaped {
                Input::Nobody
            } else {
                self.to_focus(byte)
            };
        }
        self.escaped = false;
        if byte == ESCAPE {
            return self.to_focus(byte);
        }
        self.command(byte, uart);
        self.settle(uart);
        Input::Nobody
    }

    /// A key after Ctrl-\.
    fn command(&mut self, key: u8, uart: &mut impl Uart) {
        match key {
            b'1'..=b'9' => self.focus_number(key - b'0', uart),
            b'n' => self.focus_next(uart),
            b'?' => self.help(uart),
            _ => {
                let hint = "bulkhead: no such key: Ctrl-\\ ? lists them";
                self.say(format_args!("{hint}"), uart);
            }
        }
    }

    /// The last of the hypervisor's lines, as far as they were kept, oldest first, in two pieces.
    pub fn log(&self) -> (&[u8], &[u8]) {
        self.log.contents()
    }

    fn name(&self, vm: VmId) -> &'static str {
        self.guests.get(vm.index()).map_or("", |guest| guest.name)
    }

    fn is_on(&self, vm: VmId) -> bool {
        self.guests.get(vm.index()).is_some_and(|g| g.on)
    }

    fn vms(&self) -> impl DoubleEndedIterator<Item = VmId> + use<> {
        (0..self.guests.len() as u8).map(VmId::new)
    }

    fn to_focus(&self, byte: u8) -> Input {
        match self.focus {
            Some(vm) if self.is_on(vm) => Input::Vm(vm, byte),
            _ => Input::Nobody,
        }
    }

    /// Ends a row in which text of the VM in focus stands, so that another line can follow.
    fn break_row(&mut self, uart: &mut impl Uart) {
        if self.row == Row::Text {
            send(b"\r\n", uart);
            self.owe();
        }
    }

    /// In the row, which is empty, belongs what the VM in focus has of its line.
    fn owe(&mut self) {
        self.row = match self.focus.map_or(0, |vm| self.unfinished(vm)) {
            0 => Row::Empty,
            _ => Row::Owed,
        };
    }

    /// How many bytes a VM's unfinished line has.
    fn unfinished(&self, vm: VmId) -> usize {
        let guest = self.guests.get(vm.index());
        guest.map_or(0, |guest| guest.line.len())
    }

    /// Prints what a VM that is not in focus has written of its line, if it has.
    fn flush(&mut self, vm: VmId, uart: &mut impl Uart) {
        let bytes = self.unfinished(vm);
        if bytes == 0 {
            return;
        }
        self.pay(bytes);
        self.break_row(uart);
        let Some(guest) = self.guests.get_mut(vm.index()) else {
            return;
        };
        send(b"[", uart);
        send(guest.name.as_bytes(), uart);
        send(b"] ", uart);
        guest.line.text().for_each(|piece| send(piece, uart));
        send(b"\r\n", uart);
        guest.line.clear();
    }

    /// The next VM after `vm` that runs, in a circle; `vm` itself comes last.
    fn next_running(&self, vm: VmId) -> Option<VmId> {
        let after = self.vms().filter(|v| *v > vm);
        let before = self.vms().filter(|v| *v <= vm);
        after.chain(before).find(|v| self.is_on(*v))
    }

    /// A single VM has the focus without a word.
    fn move_focus(&mut self, vm: VmId, uart: &mut impl Uart) {
        self.break_row(uart);
        if self.guests.len() > 1 {
            self.say(format_args!("bulkhead: focus {}", self.name(vm)), uart);
        }
        self.focus = Some(vm);
        self.owe();
        self.settle(uart);
    }

    fn focus_next(&mut self, uart: &mut impl Uart) {
        let from = self.focus.or_else(|| self.vms().next_back());
        match from.and_then(|vm| self.next_running(vm)) {
            Some(next) if self.focus != Some(next) => self.move_focus(next, uart),
            _ => self.say(format_args!("bulkhead: no other VM runs"), uart),
        }
    }

    /// `number` counts from 1.
    fn focus_number(&mut self, number: u8, uart: &mut impl Uart) {
        let vm = VmId::new(number.saturating_sub(1));
        let count = self.guests.len();
        if vm.index() < count {
            self.move_focus(vm, uart);
        } else {
            let text = format_args!("bulkhead: no VM {number}, the last is {count}");
            self.say(text, uart);
        }
    }

    fn help(&mut self, uart: &mut impl Uart) {
        let keys = "1-9 focus on a VM (1 is the first), n on the next, \
                    Ctrl-\\ sends Ctrl-\\, ? this help";
        self.say(format_args!("bulkhead: keys after Ctrl-\\: {keys}"), uart);
        for vm in self.vms() {
            let (number, name) = (vm.index() + 1, self.name(vm));
            let state = if self.is_on(vm) { "on" } else { "off" };
            let in_focus = self.focus == Some(vm);
            let focus = if in_focus { ", in focus" } else { "" };
            let text = format_args!("bulkhead: VM {number} is {name}: {state}{focus}");
            self.say(text, uart);
        }
    }
}

/// Text of the hypervisor on its way out: a terminal wants a carriage return before each line feed.
struct Lines<'a, U> {
    uart: &'a mut U,
    log: &'a mut Ring,
    sent: usize,
}

impl<U: Uart> fmt::Write for Lines<'_, U> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            self.log.put(byte);
            let text: &[u8] = if byte == b'\n' { b"\r\n" } else { &[byte] };
            send(text, self.uart);
        }
        self.sent += text.len();
        Ok(())
    }
}

/// Sends what is not a byte of the VM in focus: out of line, as it comes from many places.
#[inline(never)]
pub fn send(text: &[u8], uart: &mut impl Uart) {
    text.iter().for_each(|byte| uart.put(*byte));
}

#[cfg(test)]
mod tests;
