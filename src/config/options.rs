//! Bulkhead's own command line: words of the board's `/chosen/bootargs`.

use log::LevelFilter;

/// Our words begin so; all others are somebody else's.
const PREFIX: &str = "bulkhead.";

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `bulkhead.log=`: the least important messages that are shown.
    pub log: LevelFilter,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            log: LevelFilter::Info,
        }
    }
}

impl Options {
    /// Reads `bootargs`. Words of ours that mean nothing go to `refused` with what is allowed, and
    /// change nothing; of several the last one counts.
    pub fn parse(bootargs: &str, mut refused: impl FnMut(&str, &'static str)) -> Self {
        let mut options = Self::default();
        for word in bootargs.split_ascii_whitespace() {
            let Some(option) = word.strip_prefix(PREFIX) else {
                continue;
            };
            match option.split_once('=') {
                Some(("log", level)) => match level.parse() {
                    Ok(level) => options.log = level,
                    Err(_) => refused(word, "off, error, warn, info, debug, trace"),
                },
                _ => refused(word, "bulkhead.log=LEVEL"),
            }
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        string::{String, ToString},
        vec::Vec,
    };

    fn parse(bootargs: &str) -> (LevelFilter, Vec<String>) {
        let mut refused = Vec::new();
        let options = Options::parse(bootargs, |word, _| refused.push(word.to_string()));
        (options.log, refused)
    }

    #[test]
    fn every_level_has_its_word_and_the_last_one_counts() {
        for (word, level) in [
            ("off", LevelFilter::Off),
            ("error", LevelFilter::Error),
            ("warn", LevelFilter::Warn),
            ("info", LevelFilter::Info),
            ("debug", LevelFilter::Debug),
            ("trace", LevelFilter::Trace),
        ] {
            let bootargs =
                std::format!("quiet bulkhead.log=error\tbulkhead.log={word} root=/dev/x");
            assert_eq!(parse(&bootargs), (level, Vec::new()));
        }
        assert_eq!(parse(""), (LevelFilter::Info, Vec::new()));
        assert_eq!(parse("log=trace xbulkhead.log=trace").0, LevelFilter::Info);
    }

    #[test]
    fn words_that_mean_nothing_are_named_and_change_nothing() {
        let bootargs =
            "bulkhead.log=debug bulkhead.log=loud bulkhead.lgo=off bulkhead.log bulkhead.";
        let (level, refused) = parse(bootargs);
        assert_eq!(level, LevelFilter::Debug);
        assert_eq!(
            refused,
            [
                "bulkhead.log=loud",
                "bulkhead.lgo=off",
                "bulkhead.log",
                "bulkhead."
            ]
        );
    }
}
