//! The part of a NATS server's configuration that says who its clients are, printed for those who run vkube, and the keys by
//! which they are known.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use common::access::{Access, print_user};
use common::name::{RegionCode, ServiceName};
use nkeys::{KeyPair, KeyPairType};

/// The command that makes a key.
pub fn key_command() -> Command {
    let file = Arg::new("file").required(true).value_name("FILE").value_parser(value_parser!(PathBuf));
    Command::new("nkey")
        .about(
            "Makes a key of a NATS client: keeps the seed in FILE, which is not there yet, and prints the public half",
        )
        .arg(file)
}

/// The command that prints the users.
pub fn users_command() -> Command {
    let option = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).action(ArgAction::Append)
    };
    Command::new("nats-users")
        .about("Prints users.conf of a NATS server: who its clients are, and what each may do")
        .args([
            option("api", "KEY", "Public key of the api instances").required(true).action(ArgAction::Set),
            option("worker", "REGION=KEY", "Public key of a region's workers; for each region"),
            option("service", "NAME=KEY", "Public key of a service that calls the api by NATS"),
            option("operator", "NAME=KEY", "Public key of a person who runs vkube"),
        ])
}

/// Makes a key; the public half.
///
/// # Errors
/// When the file cannot be written, or is there.
pub fn make_key(matches: &ArgMatches) -> anyhow::Result<String> {
    let file: &PathBuf = matches.get_one("file").context("FILE is missing")?;
    let key = KeyPair::new_user();
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = opened
        .as_mut()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .and_then(|opened| Ok(opened.write_all(format!("{}\n", key.seed()?).as_bytes())?));
    written.with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(format!("{}\n", key.public_key()))
}

/// The users as a server's configuration.
///
/// # Errors
/// Tells everything that is wrong with the arguments.
pub fn users(matches: &ArgMatches) -> anyhow::Result<String> {
    let mut read = Read::default();
    let api = matches.get_one::<String>("api").map(String::as_str).unwrap_or_default();
    let api = read.key("--api", api);
    let workers: Vec<(RegionCode, String)> = read.named("--worker", matches.get_many("worker"));
    let services: Vec<(ServiceName, String)> = read.named("--service", matches.get_many("service"));
    let operators: Vec<(ServiceName, String)> = read.named("--operator", matches.get_many("operator"));
    if !read.problems.is_empty() {
        bail!("{}", read.problems.join("\n  "));
    }
    let regions: Vec<RegionCode> = workers.iter().map(|(region, _)| region.clone()).collect();
    let answered: Vec<ServiceName> = services.iter().chain(&operators).map(|(name, _)| name.clone()).collect();
    let user = |what: String, key: &str, access: &Access| format!("  # {what}\n{}", print_user(key, access));
    let api = [user("api".to_owned(), &api, &Access::of_api(&regions, &answered))];
    let workers =
        workers.iter().map(|(region, key)| user(format!("workers of {region}"), key, &Access::of_worker(region)));
    let services = services.iter().map(|(name, key)| user(format!("service {name}"), key, &Access::of_service(name)));
    let operators =
        operators.iter().map(|(name, key)| user(format!("operator {name}"), key, &Access::of_operator(name)));
    let users: String = api.into_iter().chain(workers).chain(services).chain(operators).collect();
    let about = "# Who may sign in, and what each may do. Made by vkube-api nats-users.";
    Ok(format!("{about}\nauthorization {{\n users: [\n{users} ]\n}}\n"))
}

/// What was read, and what is wrong.
#[derive(Default)]
struct Read {
    problems: Vec<String>,
    /// Whose each key is.
    keys: BTreeMap<String, String>,
    /// Whose each name is: all have inboxes of that name.
    names: BTreeMap<String, String>,
}

impl Read {
    fn key(&mut self, whose: &str, key: &str) -> String {
        let is_key = KeyPair::from_public_key(key).is_ok_and(|key| key.key_pair_type() == KeyPairType::User);
        if !is_key {
            self.problems
                .push(format!("{whose}: \"{key}\" is no public key of a user (U...), as vkube-api nkey prints it"));
        } else if let Some(other) = self.keys.insert(key.to_owned(), whose.to_owned()) {
            self.problems.push(format!("{whose}: its key is that of {other}"));
        }
        key.to_owned()
    }

    fn named<'a, N>(&mut self, option: &str, given: Option<impl Iterator<Item = &'a String>>) -> Vec<(N, String)>
    where
        N: std::str::FromStr<Err: std::fmt::Display>,
    {
        let mut read = Vec::new();
        for text in given.into_iter().flatten() {
            let Some((name, key)) = text.split_once('=') else {
                self.problems.push(format!("{option} \"{text}\": must be a name, = and a key"));
                continue;
            };
            let whose = format!("{option} {name}");
            if let Some(other) = self.names.insert(name.to_owned(), whose.clone()) {
                self.problems.push(format!("{whose}: its name is that of {other}"));
            }
            let key = self.key(&whose, key);
            match name.parse() {
                Ok(name) => read.push((name, key)),
                Err(error) => self.problems.push(format!("{option} \"{name}\": {error}")),
            }
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(arguments: &[&str]) -> Result<String, String> {
        let matches = users_command().try_get_matches_from(std::iter::once(&"nats-users").chain(arguments));
        users(&matches.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
    }

    #[test]
    fn everybody_gets_what_is_theirs() {
        let keys: Vec<String> = (0..4).map(|_| KeyPair::new_user().public_key()).collect();
        let named = |name: &str, at: usize| format!("{name}={}", keys[at]);
        let (worker, service, operator) = (named("eu", 1), named("market", 2), named("anna", 3));
        let arguments = ["--api", &keys[0], "--worker", &worker, "--service", &service, "--operator", &operator];
        let text = printed(&arguments).unwrap();
        assert!(keys.iter().all(|key| text.contains(key)), "{text}");
        for subject in ["vkube.jobs.eu.*", "_INBOX_eu.>", "_INBOX_market.>", "_INBOX_anna.>"] {
            assert!(text.contains(&format!("\"{subject}\"")), "{subject} in {text}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let key = KeyPair::new_user().public_key();
        let (again, named) = (format!("eu={key}"), format!("eu={}", KeyPair::new_user().public_key()));
        let told =
            printed(&["--api", &key, "--worker", &again, "--service", &named, "--service", "x", "--operator", "A=b"]);
        let told = told.unwrap_err();
        for problem in [
            "--worker eu: its key is that of --api",
            "--service eu: its name is that of --worker eu",
            "--service \"x\": must be a name, = and a key",
            "--operator A: \"b\" is no public key",
            "--operator \"A\": must consist of",
        ] {
            assert!(told.contains(problem), "{problem}: {told}");
        }
    }

    #[test]
    fn a_seed_that_is_there_is_never_written_over() {
        let folder = std::env::temp_dir().join(format!("vkube-nkey-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("seed");
        let make = || make_key(&key_command().get_matches_from(["nkey", file.to_str().unwrap()]));
        let public = make().unwrap();
        let seed = std::fs::read_to_string(&file).unwrap();
        assert_eq!(KeyPair::from_seed(seed.trim()).unwrap().public_key(), public.trim());
        assert!(make().unwrap_err().to_string().contains("cannot be written"));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), seed);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
