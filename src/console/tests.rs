use super::*;
use proptest::prelude::*;
use std::{boxed::Box, string::String, vec::Vec};

const ALPHA: VmId = VmId::new(0);
const BETA: VmId = VmId::new(1);
const GAMMA: VmId = VmId::new(2);

impl Uart for Vec<u8> {
    fn put(&mut self, byte: u8) {
        self.push(byte);
    }

    /// Busy every other time.
    fn put_at_once(&mut self, byte: u8) -> bool {
        let free = self.len().is_multiple_of(2);
        if free {
            self.push(byte);
        }
        free
    }
}

fn guest(name: &str) -> &'static mut Guest {
    let name = Box::leak(Box::from(name));
    Box::leak(Box::new(Guest::new(name)))
}

/// A console and all that it has sent since somebody looked.
struct Terminal {
    console: Console,
    sent: Vec<u8>,
}

impl Terminal {
    fn with(names: &[&str]) -> Self {
        let mut terminal = Self {
            console: Console::new(),
            sent: Vec::new(),
        };
        for name in names {
            let vm = terminal.console.add(guest(name)).unwrap();
            terminal.console.started(vm, &mut terminal.sent);
        }
        terminal.sent.clear();
        terminal
    }

    /// What the last byte came to.
    fn output(&mut self, vm: VmId, text: impl AsRef<[u8]>) -> bool {
        let (console, sent) = (&mut self.console, &mut self.sent);
        let output = |_, byte: &u8| {
            !console.output_at_once(vm, *byte, sent) && console.output(vm, *byte, sent)
        };
        text.as_ref().iter().fold(false, output)
    }

    fn print(&mut self, text: &str) {
        self.console.print(format_args!("{text}"), &mut self.sent);
    }

    fn keys(&mut self, keys: &[u8]) -> Vec<Input> {
        let input = |key: &u8| self.console.input(*key, &mut self.sent);
        keys.iter().map(input).collect()
    }

    fn sent(&mut self) -> String {
        String::from_utf8(core::mem::take(&mut self.sent)).unwrap()
    }
}

#[test]
fn the_vm_in_focus_is_shown_byte_by_byte() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "~ # \x1b[6n");
    assert_eq!(t.sent(), "~ # \x1b[6n");
}

#[test]
fn a_single_vm_is_never_prefixed_nor_announced() {
    let mut t = Terminal {
        console: Console::new(),
        sent: Vec::new(),
    };
    let vm = t.console.add(guest("alpha")).unwrap();
    t.console.started(vm, &mut t.sent);
    t.output(vm, "one\r\ntwo");
    assert_eq!(t.sent(), "one\r\ntwo");
}

#[test]
fn lines_of_the_others_appear_whole_and_with_their_name() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(BETA, "boo");
    assert_eq!(t.sent(), "");
    t.output(BETA, "ting\r\nnext\r\n");
    assert_eq!(t.sent(), "[beta] booting\r\n[beta] next\r\n");
}

#[test]
fn a_prompt_survives_a_boot_log_and_is_written_again_once() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "alpha # ls /pr");
    t.output(BETA, "one\r\ntwo\r\n");
    assert_eq!(t.sent(), "alpha # ls /pr\r\n[beta] one\r\n[beta] two\r\n");
    t.output(ALPHA, "oc");
    assert_eq!(t.sent(), "alpha # ls /proc");
    t.output(ALPHA, "\r\n");
    assert_eq!(t.sent(), "\r\n");
}

#[test]
fn what_the_terminal_is_asked_is_not_written_again() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "# \x1b[6n");
    t.output(BETA, "one\n");
    t.output(ALPHA, "ls");
    assert_eq!(t.sent(), "# \x1b[6n\r\n[beta] one\r\n# ls");
}

#[test]
fn a_prompt_comes_back_when_a_key_is_pressed_or_it_is_quiet() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    assert!(!t.output(ALPHA, "alpha # "));
    assert!(!t.output(BETA, "one"));
    assert!(t.output(BETA, "\r\n"));
    assert!(t.output(BETA, "t"), "still");
    t.sent();
    t.console.settle(&mut t.sent);
    assert_eq!(t.sent(), "alpha # ");
    assert!(!t.output(BETA, "w"));
    t.console.settle(&mut t.sent);
    assert_eq!(t.sent(), "", "once");
    t.output(BETA, "o\r\n");
    assert_eq!(t.keys(b"x"), [Input::Vm(ALPHA, b'x')]);
    assert_eq!(t.sent(), "\r\n[beta] two\r\nalpha # ");
}

#[test]
fn short_lines_of_another_vm_have_little_written_again() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "a".repeat(200));
    t.sent();
    for _ in 0..1000 {
        t.output(BETA, "x\n");
        t.output(ALPHA, "a");
    }
    let shown = "a\r\n[beta] x\r\n".len() * 1000;
    let sent = t.sent().len();
    assert!(sent <= shown + CREDIT + "x".len() * 1000, "{sent} bytes");
}

/// Until nothing may be written again any more.
fn spend_credit(t: &mut Terminal, line: &str) {
    while t.console.debt + line.len() <= CREDIT {
        t.output(ALPHA, line);
        t.output(BETA, "x\n");
        t.output(ALPHA, "\n");
    }
    t.sent();
}

#[test]
fn where_nothing_pays_for_it_the_vm_in_focus_goes_on_in_a_fresh_row() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    let line = "a".repeat(200);
    spend_credit(&mut t, &line);
    t.output(ALPHA, &line);
    assert!(t.output(BETA, "x\n"), "it may come when there is quiet");
    t.keys(b"k");
    t.output(ALPHA, "b");
    t.print("bulkhead: x");
    assert_eq!(
        t.sent(),
        std::format!("{line}\r\n[beta] x\r\nb\r\nbulkhead: x\r\n")
    );
    t.console.settle(&mut t.sent);
    assert_eq!(t.sent(), line + "b");
}

#[test]
fn a_long_line_pays_for_what_is_written_again() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    spend_credit(&mut t, &"a".repeat(200));
    t.output(ALPHA, "alpha # ");
    t.output(BETA, "x".repeat(100) + "\n");
    t.sent();
    t.output(ALPHA, "l");
    assert_eq!(t.sent(), "alpha # l");
}

#[test]
fn a_line_of_the_hypervisor_begins_at_column_0_and_the_prompt_returns() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "alpha # ");
    t.print("bulkhead: vm beta: off");
    assert_eq!(t.sent(), "alpha # \r\nbulkhead: vm beta: off\r\nalpha # ");
    t.output(ALPHA, "\r\n");
    t.print("bulkhead: one\nbulkhead: two");
    assert_eq!(t.sent(), "\r\nbulkhead: one\r\nbulkhead: two\r\n");
}

#[test]
fn after_a_redrawn_row_only_the_last_drawing_is_restored() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "10%\r20%");
    t.print("bulkhead: x");
    assert_eq!(t.sent(), "10%\r20%\r\nbulkhead: x\r\n20%");
    t.output(ALPHA, "\r");
    t.print("bulkhead: y");
    assert_eq!(t.sent(), "\r\r\nbulkhead: y\r\n20%\r");
}

#[test]
fn an_empty_line_of_another_vm_is_not_shown() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "alpha # ");
    assert!(!t.output(BETA, "\r\n\n"));
    assert_eq!(t.sent(), "alpha # ");
}

#[test]
fn a_long_line_of_another_vm_is_split_with_its_name() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    let long = "x".repeat(250);
    t.output(BETA, &long);
    t.output(BETA, "\r\n");
    let (head, tail) = ("x".repeat(240), "x".repeat(10));
    assert_eq!(t.sent(), std::format!("[beta] {head}\r\n[beta] {tail}\r\n"));
}

#[test]
fn a_long_line_is_split_between_characters() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    let head = "x".repeat(238);
    t.output(BETA, std::format!("{head}ü€\n"));
    assert_eq!(t.sent(), std::format!("[beta] {head}\r\n[beta] ü€\r\n"));
}

#[test]
fn a_line_that_just_fits_is_one_line() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    let long = "x".repeat(240);
    t.output(BETA, &long);
    t.output(BETA, "\r\n");
    assert_eq!(t.sent(), std::format!("[beta] {long}\r\n"));
}

#[test]
fn another_vm_cannot_touch_the_terminal() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(
        BETA,
        "\x1b[2J\x1b[31mred\x1b[0m\rbulkhead: vm alpha: crash\n",
    );
    assert_eq!(t.sent(), "[beta] bulkhead: vm alpha: crash\r\n");
    t.output(BETA, "\u{9b}2J\u{9d}0;title\u{9c}\n");
    t.output(BETA, b"\x9b2J\xc2\x1b[m\x9b2J\n");
    assert_eq!(t.sent(), "[beta] 2J0;title\r\n[beta] 2J2J\r\n");
}

#[test]
fn moving_the_focus_shows_the_unfinished_line() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "alpha # ");
    t.output(BETA, "hello\r\nbeta # ");
    t.sent();
    assert_eq!(t.keys(b"\x1c2"), [Input::Nobody, Input::Nobody]);
    assert_eq!(t.sent(), "alpha # \r\nbulkhead: focus beta\r\nbeta # ");
    assert_eq!(t.console.focus(), Some(BETA));
    t.output(ALPHA, "\r\ndone\r\n");
    assert_eq!(t.sent(), "\r\n[alpha] alpha # \r\n[alpha] done\r\n");
    assert_eq!(t.keys(b"q"), [Input::Vm(BETA, b'q')]);
}

#[test]
fn one_is_the_first_vm_and_n_goes_round() {
    let mut t = Terminal::with(&["alpha", "beta", "gamma"]);
    t.keys(b"\x1c3");
    assert_eq!(t.console.focus(), Some(GAMMA));
    t.keys(b"\x1cn");
    assert_eq!(t.console.focus(), Some(ALPHA));
    t.console.stopped(BETA, &mut t.sent);
    t.keys(b"\x1cn");
    assert_eq!(t.console.focus(), Some(GAMMA), "beta is off");
    t.keys(b"\x1c1");
    assert_eq!(t.console.focus(), Some(ALPHA));
    t.sent();
    t.keys(b"\x1c4");
    assert_eq!(t.sent(), "bulkhead: no VM 4, the last is 3\r\n");
}

#[test]
fn n_with_nobody_else_says_so() {
    let mut t = Terminal::with(&["alpha"]);
    t.keys(b"\x1cn");
    assert_eq!(t.sent(), "bulkhead: no other VM runs\r\n");
}

#[test]
fn the_escape_key_twice_is_sent_once() {
    let mut t = Terminal::with(&["alpha"]);
    assert_eq!(
        t.keys(b"\x1c\x1ca"),
        [
            Input::Nobody,
            Input::Vm(ALPHA, 0x1c),
            Input::Vm(ALPHA, b'a')
        ]
    );
}

#[test]
fn an_unknown_key_gets_a_hint_and_goes_nowhere() {
    let mut t = Terminal::with(&["alpha"]);
    assert_eq!(t.keys(b"\x1cz"), [Input::Nobody, Input::Nobody]);
    assert_eq!(t.sent(), "bulkhead: no such key: Ctrl-\\ ? lists them\r\n");
    assert_eq!(t.keys(b"z"), [Input::Vm(ALPHA, b'z')]);
}

#[test]
fn help_lists_the_keys_and_the_vms() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.console.stopped(BETA, &mut t.sent);
    t.keys(b"\x1c?");
    assert_eq!(
        t.sent(),
        "bulkhead: keys after Ctrl-\\: 1-9 focus on a VM (1 is the first), n on the next, \
         Ctrl-\\ sends Ctrl-\\, ? this help\r\n\
         bulkhead: VM 1 is alpha: on, in focus\r\n\
         bulkhead: VM 2 is beta: off\r\n"
    );
}

#[test]
fn a_prompt_is_written_again_after_the_help_and_not_within() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(ALPHA, "alpha # ");
    t.keys(b"\x1c?");
    let sent = t.sent();
    assert_eq!(sent.matches("alpha # ").count(), 2);
    assert!(sent.ends_with("beta: on\r\nalpha # "));
}

#[test]
fn a_vm_that_was_never_added_has_no_say() {
    let mut t = Terminal::with(&["alpha"]);
    t.output(BETA, "x\n");
    t.console.started(BETA, &mut t.sent);
    t.console.stopped(BETA, &mut t.sent);
    assert_eq!(t.sent(), "");
}

#[test]
fn the_focus_leaves_a_vm_that_goes_off() {
    let mut t = Terminal::with(&["alpha", "beta", "gamma"]);
    t.output(BETA, "beta # ");
    t.output(ALPHA, "reboot: Power down");
    t.console.stopped(ALPHA, &mut t.sent);
    assert_eq!(
        t.sent(),
        "reboot: Power down\r\nbulkhead: focus beta\r\nbeta # "
    );
    t.keys(b"\x1c3");
    t.console.stopped(GAMMA, &mut t.sent);
    assert_eq!(t.console.focus(), Some(BETA));
}

#[test]
fn when_the_last_vm_is_off_nobody_is_in_focus() {
    let mut t = Terminal::with(&["alpha"]);
    t.output(ALPHA, "bye");
    t.console.stopped(ALPHA, &mut t.sent);
    assert_eq!(t.console.focus(), None);
    assert_eq!(t.keys(b"a"), [Input::Nobody]);
    t.print("bulkhead: all off");
    assert_eq!(t.sent(), "bye\r\nbulkhead: all off\r\n");
    t.console.started(ALPHA, &mut t.sent);
    assert_eq!(t.console.focus(), Some(ALPHA));
}

#[test]
fn the_last_words_of_another_vm_are_shown() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.output(BETA, "Kernel panic");
    t.console.stopped(BETA, &mut t.sent);
    assert_eq!(t.sent(), "[beta] Kernel panic\r\n");
}

#[test]
fn the_first_vm_that_starts_gets_the_focus() {
    let mut console = Console::new();
    let mut sent = Vec::new();
    console.add(guest("alpha"));
    console.add(guest("beta"));
    console.started(BETA, &mut sent);
    assert_eq!(console.focus(), Some(BETA));
    assert_eq!(sent, b"bulkhead: focus beta\r\n");
    console.started(ALPHA, &mut sent);
    assert_eq!(console.focus(), Some(BETA));
}

#[test]
fn a_vm_that_is_off_can_be_looked_at_but_gets_no_input() {
    let mut t = Terminal::with(&["alpha", "beta"]);
    t.console.stopped(BETA, &mut t.sent);
    t.keys(b"\x1c2");
    assert_eq!(t.console.focus(), Some(BETA));
    assert_eq!(t.keys(b"x"), [Input::Nobody]);
}

#[test]
fn the_log_keeps_the_hypervisors_lines_and_no_others() {
    let mut t = Terminal::with(&["alpha"]);
    t.console.keep_log(Box::leak(Box::new([b'?'; 64])));
    t.print("bulkhead: first");
    t.output(ALPHA, "guest\r\n");
    t.print("bulkhead: second");
    let (old, new) = t.console.log();
    assert_eq!(
        [old, new].concat(),
        b"bulkhead: first\nbulkhead: second\n".as_slice()
    );
}

#[test]
fn a_33rd_vm_is_refused_and_long_names_are_cut() {
    let mut console = Console::new();
    let mut sent = Vec::new();
    let long = "n".repeat(40);
    for _ in 0..32 {
        assert!(console.add(guest(&long)).is_some());
    }
    assert_eq!(console.add(guest("one more")), None);
    console.started(ALPHA, &mut sent);
    let focus = std::format!("bulkhead: focus {}\r\n", "n".repeat(32));
    assert_eq!(sent, focus.as_bytes());
}

#[derive(Clone, Debug)]
enum Step {
    Output(u8, u8),
    Key(u8),
    Print,
    Started(u8),
    Stopped(u8),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let byte = prop_oneof![Just(b'\n'), Just(b'\r'), b'a'..=b'z', any::<u8>()];
    let key = prop_oneof![Just(0x1c), Just(b'n'), Just(b'?'), b'1'..=b'9', any::<u8>()];
    prop_oneof![
        20 => (0u8..4, byte).prop_map(|(vm, byte)| Step::Output(vm, byte)),
        4 => key.prop_map(Step::Key),
        2 => Just(Step::Print),
        1 => (0u8..4).prop_map(Step::Started),
        1 => (0u8..4).prop_map(Step::Stopped),
        1 => Just(Step::Settle),
    ]
}

proptest! {
    #[test]
    fn machine_readable_lines_always_begin_at_column_0(
        steps in proptest::collection::vec(step(), 0..300)
    ) {
        let mut t = Terminal::with(&["alpha", "beta", "gamma"]);
        for step in steps {
            match step {
                Step::Output(vm, byte) => {
                    let _ = t.console.output(VmId::new(vm), byte, &mut t.sent);
                }
                Step::Key(key) => { t.console.input(key, &mut t.sent); }
                Step::Started(vm) => t.console.started(VmId::new(vm), &mut t.sent),
                Step::Stopped(vm) => t.console.stopped(VmId::new(vm), &mut t.sent),
                Step::Settle => t.console.settle(&mut t.sent),
                Step::Print => {
                    let before = t.sent.len();
                    t.print("bulkhead: vm x: on");
                    let row_begins = before == 0 || t.sent[before - 1] == b'\n';
                    let line = b"bulkhead: vm x: on\r\n";
                    let at_once = row_begins && t.sent[before..].starts_with(line);
                    let after_break = t.sent[before..].starts_with(b"\r\nbulkhead: vm x: on\r\n");
                    prop_assert!(at_once || after_break);
                }
            }
        }
    }
}

/// A VM and what it writes at once: mostly what makes others write again, and what has to be.
fn piece() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let some = proptest::collection::vec(any::<u8>(), 0..20);
    let long = (0u8..3, 1usize..250).prop_map(|(vm, count)| (vm, b"x".repeat(count)));
    prop_oneof![
        8 => (1u8..3, Just(b"x\n".to_vec())),
        8 => (Just(0), Just(b"x".to_vec())),
        1 => (0u8..3, Just(b"\n".to_vec())),
        1 => (0u8..3, some),
        1 => long,
    ]
}

proptest! {
    /// What others write is at most sent, with a name and two ends of lines each, and once more to pay for what the VM in focus has
    /// written again, which may take a carriage return: some eight bytes for one, with names of five letters.
    #[test]
    fn a_byte_takes_a_line_at_most_and_all_bytes_a_few_times_as_much(
        pieces in proptest::collection::vec(piece(), 0..400)
    ) {
        const NAME_AND_ENDS: usize = "\r\n[gamma] \r\n".len();
        let mut t = Terminal::with(&["alpha", "beta", "gamma"]);
        let (mut of_alpha, mut of_others, mut lines) = (0, 0, 0);
        let bytes = |(vm, piece): (u8, Vec<u8>)| piece.into_iter().map(move |byte| (vm, byte));
        for (vm, byte) in pieces.into_iter().flat_map(bytes) {
            let before = t.sent.len();
            t.output(VmId::new(vm), [byte]);
            prop_assert!(t.sent.len() - before <= LINE_BYTES + NAME_AND_ENDS);
            let written = if vm == 0 { &mut of_alpha } else { &mut of_others };
            *written += 1;
            lines += usize::from(vm != 0 && (byte == b'\n' || of_others % 200 == 0));
        }
        let most = of_alpha + 2 * of_others + lines * (NAME_AND_ENDS + 1);
        prop_assert!(t.sent.len() <= most + CREDIT, "{} bytes, at most {most}", t.sent.len());
    }

    #[test]
    fn lines_of_others_come_whole_and_nothing_of_the_focus_is_lost(
        steps in proptest::collection::vec(("[A-Z \r\n]{0,40}", "[a-z]{0,60}\n?", 0..4), 0..100)
    ) {
        let mut t = Terminal::with(&["alpha", "beta"]);
        let (mut all_of_alpha, mut all_of_beta) = (String::new(), String::new());
        for (alpha, beta, more) in steps {
            t.output(ALPHA, &alpha);
            t.output(BETA, &beta);
            match more {
                0 => t.console.settle(&mut t.sent),
                1 => t.print("bulkhead: x"),
                _ => {}
            }
            all_of_alpha += &alpha;
            all_of_beta += &beta;
        }
        t.output(BETA, "\n");
        let sent = t.sent();
        let lines = sent.lines().filter_map(|line| line.strip_prefix("[beta] "));
        let written = all_of_beta.lines().flat_map(|line| line.as_bytes().chunks(LINE_BYTES));
        prop_assert!(lines.map(str::as_bytes).eq(written));
        let mut rest = sent.chars();
        prop_assert!(all_of_alpha.chars().all(|c| rest.any(|other| other == c)));
    }
}
