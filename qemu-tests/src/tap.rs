//! The Test Anything Protocol as guests speak it: every line begins with `@VM@ `, so that it is known for what it is among a kernel's
//! messages, the lines of other machines, and echoed input (nobody types such a line).

use anyhow::{Result, bail, ensure};

/// What one machine reported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Descriptions of the checks that held.
    pub passed: Vec<String>,
    /// Descriptions of those that did not.
    pub failed: Vec<String>,
    /// `# ...` lines.
    pub notes: Vec<String>,
}

impl Report {
    /// An error that lists what failed, if anything did.
    pub fn verdict(&self) -> Result<()> {
        ensure!(
            self.failed.is_empty(),
            "{} of {} checks failed:\n    {}",
            self.failed.len(),
            self.failed.len() + self.passed.len(),
            self.failed.join("\n    ")
        );
        Ok(())
    }
}

/// The report of the machine `vm` in all that was printed. It must be complete: as many results as the plan at its end (`1..N`) says,
/// numbered without a gap, at least one.
pub fn report_of(vm: &str, text: &str) -> Result<Report> {
    let mut report = Report::default();
    let mut next = 1;
    for line in lines_of(vm, text) {
        if let Some(count) = line.strip_prefix("1..") {
            let count: u32 = count.trim().parse()?;
            ensure!(count > 0, "{vm} checked nothing");
            ensure!(
                count == next - 1,
                "{vm}: {} of {count} results came",
                next - 1
            );
            return Ok(report);
        }
        if let Some(note) = line.strip_prefix("# ") {
            report.notes.push(note.to_owned());
            continue;
        }
        let (results, rest) = match line.strip_prefix("not ok ") {
            Some(rest) => (&mut report.failed, rest),
            None => match line.strip_prefix("ok ") {
                Some(rest) => (&mut report.passed, rest),
                None => continue,
            },
        };
        let (number, description) = rest.split_once(" - ").unwrap_or((rest, ""));
        ensure!(
            number.parse() == Ok(next),
            "{vm}: result {next} is missing before: {line}"
        );
        results.push(description.to_owned());
        next += 1;
    }
    bail!(
        "{vm}: no plan came; {} results until then, failed: {:?}",
        next - 1,
        report.failed
    )
}

/// The lines of one machine. Bulkhead's console ends a line of the machine in focus that another's interrupts, and shows it once more from
/// its beginning: what the next line begins with is such a piece.
fn lines_of<'a>(vm: &str, text: &'a str) -> Vec<&'a str> {
    let marker = format!("@{vm}@ ");
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let Some((_, line)) = line.split_once(&marker) else {
            continue;
        };
        if lines.last().is_some_and(|piece| line.starts_with(piece)) {
            lines.pop();
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_those_of_one_machine_wherever_their_lines_begin() {
        let text = "noise\n[a] @a@ ok 1 - one\n@b@ not ok 1 - other\n@a@ # note\n@a@ not ok 2 - two\n@a@ 1..2\n";
        let report = report_of("a", text).unwrap();
        assert_eq!(report.passed, ["one"]);
        assert_eq!(report.failed, ["two"]);
        assert_eq!(report.notes, ["note"]);
        assert!(report.verdict().is_err());
    }

    #[test]
    fn a_line_that_was_interrupted_and_shown_again_counts_once() {
        let text = "@a@ ok 1 - o\n[b] other\n@a@ ok 1 - one\n@a@ ok\n[b] x\n@a@ ok 2 -\n[b] x\n@a@ ok 2 - two\n@a@ 1..2\n";
        assert_eq!(report_of("a", text).unwrap().passed, ["one", "two"]);
    }

    #[test]
    fn a_report_with_a_gap_or_without_a_plan_or_without_results_is_an_error() {
        for text in [
            "@a@ ok 2 - two\n@a@ 1..1\n",
            "@a@ ok 1 - one\n",
            "@a@ ok 1 - one\n@a@ 1..2\n",
            "@a@ 1..0\n",
        ] {
            assert!(report_of("a", text).is_err(), "{text}");
        }
    }
}
