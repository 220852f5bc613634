//! Settings as a table: each is an environment variable and a flag of the same name, with a default and a sentence. The
//! table makes `--help`, the README's table and the parser, so that they cannot differ.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Arg, ArgMatches, Command};

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable: `VKUBE_HTTP_LISTEN`.
    pub variable: &'static str,
    /// What holds when it is not set; none = it must be set, or its absence means something (see `help`).
    pub default: Option<&'static str>,
    /// One sentence: what it does, and its unit.
    pub help: &'static str,
}

impl Setting {
    /// A setting with a default.
    pub const fn new(variable: &'static str, default: &'static str, help: &'static str) -> Self {
        Self { variable, default: Some(default), help }
    }

    /// A setting without one.
    pub const fn without_default(variable: &'static str, help: &'static str) -> Self {
        Self { variable, default: None, help }
    }

    /// The flag: `--http-listen`.
    pub fn flag(&self) -> String {
        self.variable.trim_start_matches("VKUBE_").to_ascii_lowercase().replace('_', "-")
    }
}

/// A program's command line: every setting as a flag that also reads its variable.
pub fn command(name: &'static str, about: &'static str, settings: &[Setting]) -> Command {
    let args = settings.iter().map(|setting| {
        let help = match setting.default {
            Some("") | None => setting.help.to_owned(),
            Some(default) => format!("{} [default: {default}]", setting.help),
        };
        Arg::new(setting.variable)
            .long(setting.flag())
            .env(setting.variable)
            .hide_env_values(true)
            .value_name("VALUE")
            .allow_hyphen_values(true)
            .global(true)
            .help(help)
    });
    Command::new(name).about(about).version(env!("CARGO_PKG_VERSION")).args(args)
}

/// The values given on the command line and in the environment.
pub fn given(matches: &ArgMatches, settings: &[Setting]) -> BTreeMap<&'static str, String> {
    let value = |setting: &Setting| Some((setting.variable, matches.get_one::<String>(setting.variable)?.clone()));
    settings.iter().filter_map(value).collect()
}

/// Every setting that is wrong, each by name.
#[derive(Debug, PartialEq, Eq)]
pub struct SettingsError(Vec<String>);

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} wrong setting(s)", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for SettingsError {}

/// Reads typed values and gathers what is wrong with them.
pub struct Reader<'a> {
    given: &'a BTreeMap<&'static str, String>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A reader of these values.
    pub fn new(given: &'a BTreeMap<&'static str, String>) -> Self {
        Self { given, problems: Vec::new() }
    }

    /// The value as text, given or by default; an empty one counts as not given.
    fn text(&self, setting: &Setting) -> Option<&'a str> {
        let given = self.given.get(setting.variable).map(String::as_str).or(setting.default);
        given.map(str::trim).filter(|text| !text.is_empty())
    }

    /// Notes a problem with a setting.
    pub fn problem(&mut self, setting: &Setting, problem: impl fmt::Display) {
        self.problems.push(format!("{} (--{}): {problem}", setting.variable, setting.flag()));
    }

    /// A setting that may be absent, read by a parser of the caller's.
    pub fn optional_with<T, E: fmt::Display>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let parsed = parse(self.text(setting)?);
        parsed.map_err(|error| self.problem(setting, error)).ok()
    }

    /// A setting that may be absent.
    pub fn optional<T: FromStr<Err: fmt::Display>>(&mut self, setting: &Setting) -> Option<T> {
        self.optional_with(setting, T::from_str)
    }

    /// A file that may be absent from the settings, but not from the disk: one that can be read.
    pub fn file(&mut self, setting: &Setting) -> Option<PathBuf> {
        self.optional_with(setting, |file| match File::open(file) {
            Ok(_) => Ok(PathBuf::from(file)),
            Err(error) => Err(format!("\"{file}\" cannot be read: {error}")),
        })
    }

    /// A setting that must be there, read by a parser of the caller's. None = a problem was noted.
    pub fn required_with<T, E: fmt::Display>(
        &mut self,
        setting: &Setting,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        if self.text(setting).is_none() {
            self.problem(setting, "is not set");
        }
        self.optional_with(setting, parse)
    }

    /// A setting that must be there. None = a problem was noted.
    pub fn required<T: FromStr<Err: fmt::Display>>(&mut self, setting: &Setting) -> Option<T> {
        self.required_with(setting, T::from_str)
    }

    /// A whole number within bounds.
    pub fn number(&mut self, setting: &Setting, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        self.required_with(setting, |text| match text.parse::<u64>() {
            Ok(number) if bounds.contains(&number) => Ok(number),
            _ => Err(format!("must be a whole number from {} to {}", bounds.start(), bounds.end())),
        })
    }

    /// A time in milliseconds, at least 1 and at most a week.
    pub fn milliseconds(&mut self, setting: &Setting) -> Option<Duration> {
        self.number(setting, 1..=7 * 24 * 3_600_000).map(Duration::from_millis)
    }

    /// A list divided by commas; empty when absent.
    pub fn list<T: FromStr<Err: fmt::Display>>(&mut self, setting: &Setting) -> Vec<T> {
        let items = self.text(setting).unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty());
        let mut read = Vec::new();
        for item in items {
            match item.parse() {
                Ok(value) => read.push(value),
                Err(error) => self.problem(setting, format!("\"{item}\" {error}")),
            }
        }
        read
    }

    /// The settings built from the values, or every problem that was noted.
    ///
    /// # Errors
    /// When any setting is wrong.
    pub fn finish<T>(mut self, settings: Option<T>) -> Result<T, SettingsError> {
        self.problems.dedup();
        match settings {
            Some(settings) if self.problems.is_empty() => Ok(settings),
            _ => Err(SettingsError(self.problems)),
        }
    }
}

/// The settings as rows of a Markdown table, for the README.
pub fn table(settings: &[Setting]) -> String {
    let row = |setting: &Setting| {
        let default = setting.default.filter(|default| !default.is_empty()).map(|d| format!("`{d}`"));
        let default = default.unwrap_or_else(|| "-".to_owned());
        format!("| `{}` | `--{}` | {default} | {} |\n", setting.variable, setting.flag(), setting.help)
    };
    settings.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Setting = Setting::new("VKUBE_TEST_PORT", "80", "a port");
    const NAME: Setting = Setting::without_default("VKUBE_TEST_NAME", "a name");
    const LIST: Setting = Setting::new("VKUBE_TEST_LIST", "", "numbers");

    fn given(values: &[(&'static str, &str)]) -> BTreeMap<&'static str, String> {
        values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
    }

    #[test]
    fn every_wrong_setting_is_named_at_once() {
        let values = given(&[("VKUBE_TEST_PORT", "0"), ("VKUBE_TEST_LIST", "1,x")]);
        let mut read = Reader::new(&values);
        let port = read.number(&PORT, 1..=9);
        let name = read.required::<String>(&NAME);
        let list = read.list::<u8>(&LIST);
        let error = read.finish(port.zip(name).map(|_| list)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 wrong setting(s)\n  VKUBE_TEST_PORT (--test-port): must be a whole number from 1 to 9\n  \
             VKUBE_TEST_NAME (--test-name): is not set\n  VKUBE_TEST_LIST (--test-list): \"x\" invalid digit found in string"
        );
    }

    #[test]
    fn a_file_that_is_named_must_be_readable() {
        for (case, file, is_wrong) in
            [("none", "", false), ("one", "/proc/self/status", false), ("one that is not there", "/nowhere/file", true)]
        {
            let values = given(&[("VKUBE_TEST_NAME", file)]);
            let mut read = Reader::new(&values);
            let found = read.file(&NAME);
            assert_eq!(found.is_some(), case == "one", "{case}");
            assert_eq!(read.finish(Some(())).is_err(), is_wrong, "{case}");
        }
    }

    #[test]
    fn a_default_holds_until_something_is_given() {
        for (case, values, expected) in
            [("nothing given", given(&[]), 80), ("given", given(&[("VKUBE_TEST_PORT", "81")]), 81)]
        {
            assert_eq!(Reader::new(&values).number(&PORT, 1..=99), Some(expected), "{case}");
        }
    }

    #[test]
    fn a_flag_goes_before_its_variable() {
        let matches = command("test", "a test", &[PORT]).get_matches_from(["test", "--test-port", "82"]);
        assert_eq!(super::given(&matches, &[PORT]).get("VKUBE_TEST_PORT").map(String::as_str), Some("82"));
    }
}
