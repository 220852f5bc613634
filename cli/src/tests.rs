//! Whole commands against a scripted API: for answers that a healthy one never gives, and for what is sent.

mod scripted;

mod calls;
mod changes;
mod streams;

use clap::{CommandFactory as _, Parser as _};

use crate::args::Cli;
use crate::error::Error;
use scripted::{Ended, run};

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_and_flag_is_in_the_documentation() {
    fn look(command: &clap::Command, path: &str) {
        let document = include_str!("../../docs/CLI.md");
        let all: Vec<_> = command.get_subcommands().collect();
        if all.is_empty() {
            assert!(document.contains(&format!("`{path}")), "{path}");
        }
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(document.contains(&format!("--{flag}")), "{path} --{flag}");
        }
        for inner in all {
            look(inner, &format!("{path} {}", inner.get_name()));
        }
    }
    look(&Cli::command(), "vkube");
}

#[test]
fn exit_codes_are_the_same_everywhere() {
    let help = Cli::command().render_help().to_string();
    for code in [0, 1, 2, 3, 4, 5, 130] {
        assert!(help.contains(&format!("{code:>5}  ")), "--help tells nothing of {code}");
        assert!(include_str!("../../docs/CLI.md").contains(&format!("\n| {code} | ")), "{code}");
    }
}

#[test]
fn help_and_complaints_have_no_colours() {
    for line in [["vkube", "--help"], ["vkube", "--no-such-flag"], ["vkube", "deploy"]] {
        let told = Cli::try_parse_from(line).unwrap_err().render().ansi().to_string();
        assert!(!told.contains('\x1b'), "{told:?}");
    }
}

#[test]
fn help_shows_nothing_of_the_environment() {
    let mut command = Cli::command();
    command.build();
    let known: Vec<_> = command.get_arguments().filter(|argument| argument.get_env().is_some()).collect();
    assert_eq!(known.len(), 3);
    for argument in known {
        assert!(argument.is_hide_env_values_set(), "{}", argument.get_id());
    }
}

#[test]
fn a_debug_print_of_the_command_line_shows_no_secret() {
    let line = ["vkube", "status", "--secret", "hunter2", "--operator-token", "hunter3"];
    let printed = format!("{:?}", Cli::try_parse_from(line).unwrap());
    assert!(!printed.contains("hunter"), "{printed}");
}

#[tokio::test]
async fn what_is_missing_is_told_before_anything_is_sent() {
    for (line, expected) in [
        ("status", "this needs the order's secret: set VKUBE_SECRET, or give --secret-file or --secret"),
        ("orders list", "this needs an operator's token"),
        ("status --secret-file /nowhere/secret", "/nowhere/secret cannot be read: No such file"),
        ("deploy -f /nowhere/order.json --secret x", "/nowhere/order.json cannot be read"),
        ("regions --url https://me:hunter2@x", "--url (VKUBE_URL) must hold no user name and no password"),
    ] {
        let Ended { outcome, out, .. } = run("http://127.0.0.1:9", line).await;
        let error = outcome.unwrap_err();
        let told = error.explain();
        assert!(told.starts_with(&format!("vkube: {expected}")) && !told.contains("hunter"), "{line}: {told}");
        assert_eq!((error.exit_code(), out.as_str()), (2, ""), "{line}");
    }
}

#[tokio::test]
async fn an_api_that_is_not_there_is_told_without_the_secret() {
    let Ended { outcome, .. } = run("http://127.0.0.1:9", "status --secret hunter2").await;
    let error = outcome.unwrap_err();
    let told = error.explain();
    assert!(told.starts_with("vkube: no answer from http://127.0.0.1:9/api/v1/k8s/pod/status: "), "{told}");
    assert!(told.contains("refused") && !told.contains("hunter2"), "{told}");
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test]
async fn an_api_that_says_nothing_is_waited_for_as_long_as_was_asked() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    for line in ["regions --timeout 1", "deploy --secret x -f /dev/null --timeout 1 --wait 1"] {
        let line = line.replace("/dev/null", concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi/openapi.json"));
        let ended = run(&url, &line).await;
        assert_eq!(ended.code(), 3, "{line}");
        let told = ended.outcome.unwrap_err().explain();
        assert!(told.contains(" s; --timeout waits longer"), "{told}");
        assert_eq!(ended.notes.contains("repeats the change safely"), line.starts_with("deploy"), "{}", ended.notes);
    }
}

#[tokio::test]
async fn a_secret_on_an_open_line_is_warned_of() {
    for (url, line, warned) in [
        ("http://vkube.invalid", "regions --timeout 1 --secret x", true),
        ("http://vkube.invalid", "regions --timeout 1", false),
        ("https://vkube.invalid", "regions --timeout 1 --secret x", false),
        ("http://127.0.0.1:9", "regions --secret x", false),
        ("http://vkube.invalid", "image x --timeout 1 --username me --password-file /dev/null", true),
        ("http://vkube.invalid", "image x --timeout 1", false),
        ("https://vkube.invalid", "image x --timeout 1 --username me --password-file /dev/null", false),
    ] {
        let Ended { notes, .. } = run(url, line).await;
        assert_eq!(notes.contains("whoever listens on the way can read the secret"), warned, "{url} {line}: {notes}");
    }
}

#[tokio::test]
async fn a_reader_that_is_gone_ends_the_command() {
    struct Gone;
    impl std::io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let api = scripted::Api::start([scripted::answer("200 OK", r#"["ausrine"]"#)]).await;
    let cli = scripted::command_line(&api.url, "regions");
    let error = crate::run(cli, &mut Gone, &mut Vec::new()).await.unwrap_err();
    assert!(matches!(error, Error::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe));
}
