//! What can go wrong, how it is told to people, and the exit code that tells it to programs.

use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::text::{chain, escaped};

/// Why a command did not do what was asked. None of its texts holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line, or a file that it names, is not what it must be.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error("{name} cannot be read")]
    Input {
        /// The file.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// This machine does not let HTTPS be spoken, for want of certificate authorities perhaps.
    #[error("HTTPS cannot be set up; are ca-certificates installed?")]
    Setup(#[source] reqwest::Error),
    /// The API answered with a failure.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
    /// The API ended what the secret had opened.
    #[error("{0}")]
    Revoked(String),
    /// No answer came.
    #[error("no answer from {url}")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// No answer came in time.
    #[error("no answer from {url} within {} s; --timeout waits longer", .within.as_secs())]
    TimedOut {
        /// Who was asked.
        url: String,
        /// How long.
        within: Duration,
    },
    /// What came is not in the API's form.
    #[error("{url} did not answer as vkube does ({problem}); check --url")]
    Strange {
        /// Who was asked.
        url: String,
        /// What is wrong with the answer.
        problem: &'static str,
    },
    /// The answer cannot be told at the moment.
    #[error("{0}")]
    Unknown(String),
    /// The job is accepted and has not ended.
    #[error("job {id} is accepted and has not ended; {next}")]
    Accepted {
        /// The job.
        id: String,
        /// The command that shows how it goes on.
        next: String,
    },
    /// The job has ended, and not well.
    #[error("job {id} has ended: {state}")]
    Ended {
        /// The job.
        id: String,
        /// `Failed` or `Superseded`.
        state: String,
    },
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

/// A failure in the API's own words (`wire.md` §2).
#[derive(Debug)]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// What went wrong, and what to do.
    pub message: String,
    /// The stable word.
    pub reason: Option<String>,
    /// The job whose end it tells: the region has tried, and will not try again.
    pub job_id: Option<String>,
    /// By which the API's log knows the request.
    pub request_id: Option<String>,
    /// Fields and what is wrong with each.
    pub details: Vec<(String, String)>,
    /// When to ask again, if the API says so.
    pub retry_after: Option<Duration>,
    /// The body as it came, if it is in the API's form.
    body: Option<String>,
}

impl Refusal {
    /// Reads a failure's body; one that is not in the API's form comes from something between.
    pub(crate) fn read(url: &str, status: StatusCode, retry_after: Option<Duration>, came: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(came).unwrap_or_default();
        let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let details = body.pointer("/error/details").and_then(Value::as_array).into_iter().flatten();
        let detail = |detail: &Value| {
            let text = |name: &str| detail.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            (text("field"), text("problem"))
        };
        let message = text("/error/message");
        Self {
            status,
            body: message.is_some().then(|| String::from_utf8_lossy(came).trim_end().to_owned()),
            message: message.unwrap_or_else(|| format!("{url} answered {status}")),
            reason: text("/error/reason"),
            job_id: text("/error/jobId"),
            request_id: text("/error/requestId"),
            details: details.map(detail).collect(),
            retry_after,
        }
    }
}

impl Error {
    /// The exit code, as `vkube --help` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(refusal) if refusal.job_id.is_some() => 5,
            Self::Refused(refusal) if refusal.status.is_client_error() => 1,
            Self::Revoked(_) => 1,
            Self::Usage(_) | Self::Input { .. } | Self::Setup(_) | Self::Output(_) => 2,
            Self::Refused(_)
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Strange { .. }
            | Self::Unknown(_) => 3,
            Self::Accepted { .. } => 4,
            Self::Ended { .. } => 5,
        }
    }

    /// Whether another try may go better: the answer was lost, or the API is not well.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Refused(refusal) if refusal.job_id.is_some() => false,
            Self::Refused(refusal) => match refusal.status.as_u16() {
                502..=504 => true,
                429 => refusal.retry_after.is_some(),
                _ => false,
            },
            Self::Unreachable { .. } => true,
            Self::Usage(_)
            | Self::Input { .. }
            | Self::Setup(_)
            | Self::Revoked(_)
            | Self::TimedOut { .. }
            | Self::Strange { .. }
            | Self::Unknown(_)
            | Self::Accepted { .. }
            | Self::Ended { .. }
            | Self::Output(_) => false,
        }
    }

    /// Whether a watch goes on: what it watches may be seen again.
    pub(crate) fn is_outlasted(&self) -> bool {
        self.is_passing() || matches!(self, Self::TimedOut { .. })
    }

    /// The error for programs, in the shape of `wire.md` §2: as the API put it; with `code` 0 if it is none of the API's. None =
    /// the job that was printed tells it, or nobody reads it.
    pub(crate) fn body(&self) -> Option<String> {
        let shaped = |code: u16| json!({ "error": { "code": code, "message": chain(self) } }).to_string();
        match self {
            Self::Refused(refusal) => refusal.body.clone().or_else(|| Some(shaped(refusal.status.as_u16()))),
            Self::Revoked(_) => Some(shaped(401)),
            Self::Usage(_)
            | Self::Input { .. }
            | Self::Setup(_)
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::Strange { .. }
            | Self::Unknown(_) => Some(shaped(0)),
            Self::Accepted { .. } | Self::Ended { .. } | Self::Output(_) => None,
        }
    }

    /// The error for people: the message with its causes, each wrong field, and the words to look for.
    pub fn explain(&self) -> String {
        let mut lines = format!("vkube: {}\n", escaped(&chain(self)));
        if let Self::Refused(refusal) = self {
            for (field, problem) in &refusal.details {
                let field = if field.is_empty() { "the body" } else { field };
                let _ = writeln!(lines, "  {}: {}", escaped(field), escaped(problem));
            }
            for (name, value) in
                [("reason", &refusal.reason), ("job", &refusal.job_id), ("request id", &refusal.request_id)]
            {
                if let Some(value) = value {
                    let _ = writeln!(lines, "  {name}: {}", escaped(value));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16, reason: &str, more: &str) -> Error {
        let body = format!(r#"{{"error":{{"code":{status},"message":"no","reason":"{reason}"{more}}}}}"#);
        let (status, later) = (StatusCode::from_u16(status).unwrap(), Some(Duration::from_secs(5)));
        Error::Refused(Box::new(Refusal::read("http://x", status, later, body.as_bytes())))
    }

    fn refused(status: u16, reason: &str) -> Error {
        failure(status, reason, "")
    }

    fn ended(status: u16, reason: &str) -> Error {
        failure(status, reason, r#","jobId":"j-1""#)
    }

    #[test]
    fn exit_codes_tell_what_happened() {
        for (case, error, expected) in [
            ("wrong body", refused(400, "INVALID_REQUEST"), 1),
            ("wrong secret", refused(401, "UNAUTHORIZED"), 1),
            ("rate limit", refused(429, "REGISTRY_RATE_LIMITED"), 1),
            ("secret replaced meanwhile", Error::Revoked("x".into()), 1),
            ("usage", Error::Usage("x".into()), 2),
            ("a fault of the API", refused(500, "INTERNAL"), 3),
            ("region silent", refused(503, "REGION_UNAVAILABLE"), 3),
            ("a redirect", refused(302, ""), 3),
            ("still running", Error::Accepted { id: "x".into(), next: "y".into() }, 4),
            ("seen to fail", Error::Ended { id: "x".into(), state: "Failed".into() }, 5),
            ("failed while waited for", ended(422, "CRASH_LOOP"), 5),
            ("replaced while waited for", ended(409, "SUPERSEDED"), 5),
        ] {
            assert_eq!(error.exit_code(), expected, "{case}");
        }
    }

    #[test]
    fn the_end_of_a_job_is_told_from_a_refusal_whatever_its_reason() {
        for (status, reason) in [
            (404, "IMAGE_NOT_FOUND"),
            (429, "REGISTRY_RATE_LIMITED"),
            (500, "INTERNAL"),
            (502, "REGISTRY_UNREACHABLE"),
            (503, "REGION_UNAVAILABLE"),
            (503, "A_WORD_OF_LATER"),
        ] {
            let (ended, refused) = (ended(status, reason), refused(status, reason));
            assert_eq!((ended.exit_code(), ended.is_passing()), (5, false), "{reason}");
            assert_eq!(ended.explain(), format!("vkube: no\n  reason: {reason}\n  job: j-1\n"));
            assert_ne!(refused.exit_code(), 5, "{reason}");
        }
    }

    #[test]
    fn a_refusal_is_told_with_its_fields_and_its_id() {
        let body = br#"{"error":{"code":400,"message":"2 problems","requestId":"r-1","details":[
            {"field":"containers[0].name","problem":"is required"},{"field":"","problem":"must be\nan object"}]}}"#;
        let refusal = Refusal::read("http://x", StatusCode::BAD_REQUEST, None, body);
        let expected = "vkube: 2 problems\n  containers[0].name: is required\n  the body: must be\\nan object\n  request id: r-1\n";
        assert_eq!(Error::Refused(Box::new(refusal)).explain(), expected);
    }

    #[test]
    fn an_answer_of_something_between_names_who_was_asked() {
        let refusal = Refusal::read("http://x/y", StatusCode::BAD_GATEWAY, None, b"<html>bad gateway</html>");
        assert_eq!(refusal.message, "http://x/y answered 502 Bad Gateway");
    }

    #[test]
    fn programs_get_every_failure_in_one_shape() {
        let came = r#"{"error": {"code": 409, "message": "no", "reason": "PORT_OCCUPIED"}}"#;
        let refused =
            |status, body: &str| Error::Refused(Box::new(Refusal::read("http://x", status, None, body.as_bytes())));
        let job = || "j-1".to_owned();
        for (case, error, expected) in [
            ("as it came", refused(StatusCode::CONFLICT, &format!("{came}\n")), Some(came)),
            (
                "of something between",
                refused(StatusCode::BAD_GATEWAY, "<html>"),
                Some(r#"{"error":{"code":502,"message":"http://x answered 502 Bad Gateway"}}"#),
            ),
            ("of our own", Error::Usage("no \"x\"".into()), Some(r#"{"error":{"code":0,"message":"no \"x\""}}"#)),
            ("a job that is printed", Error::Accepted { id: job(), next: String::new() }, None),
            ("one that has ended", Error::Ended { id: job(), state: "Failed".into() }, None),
        ] {
            assert_eq!(error.body().as_deref(), expected, "{case}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for (status, reason, expected) in [
            (502, "", true),
            (503, "OVERLOADED", true),
            (504, "DEADLINE_EXCEEDED", true),
            (503, "REGION_UNAVAILABLE", true),
            (429, "REGISTRY_RATE_LIMITED", true),
            (500, "INTERNAL", false),
            (409, "PORT_OCCUPIED", false),
        ] {
            assert_eq!(refused(status, reason).is_passing(), expected, "{status} {reason}");
        }
    }
}
