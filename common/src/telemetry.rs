//! Logs as lines, and the trace context that crosses NATS in the header `traceparent` (W3C Trace Context).

use std::error::Error;
use std::fmt;
use std::io::IsTerminal as _;
use std::str::FromStr;

use async_nats::HeaderMap;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::field::Field;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::field::{MakeExt as _, RecordFields};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::{self, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::settings::{Reader, Setting};

/// How lines are written.
pub const LOG_FORMAT: Setting = Setting::new("VKUBE_LOG_FORMAT", "json", "How log lines are written: json or text.");
/// Which lines are written.
pub const LOG_LEVEL: Setting = Setting::new(
    "VKUBE_LOG_LEVEL",
    "info",
    "Which log lines are written: error, warn, info, debug, trace, or directives such as info,api=debug. No secret is in any of them.",
);

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl FromStr for LogFormat {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err("must be json or text"),
        }
    }
}

/// Libraries that at the level `trace` print all that they carry, secrets among it: they are never heard at that level.
const TELLS_ALL: [&str; 1] = ["async_nats"];

/// What is logged, and how.
#[derive(Debug)]
pub struct TelemetrySettings {
    format: LogFormat,
    level: EnvFilter,
}

impl TelemetrySettings {
    /// The settings of this group, for a binary's table.
    pub const ALL: [Setting; 2] = [LOG_FORMAT, LOG_LEVEL];

    /// Reads the group.
    pub fn read(read: &mut Reader<'_>) -> Option<Self> {
        let format = read.required(&LOG_FORMAT);
        let level = read.required_with(&LOG_LEVEL, |text| EnvFilter::try_new(text));
        Some(Self { format: format?, level: level? })
    }
}

/// Starts logging for the whole process.
///
/// # Errors
/// When it was started before.
pub fn start(settings: TelemetrySettings) -> Result<(), tracing_subscriber::util::TryInitError> {
    // Spans get their ids from a tracer; nothing exports them.
    let tracer = SdkTracerProvider::builder().build().tracer("vkube");
    let lines = match settings.format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .boxed(),
        LogFormat::Text => {
            let colours = std::io::stderr().is_terminal();
            tracing_subscriber::fmt::layer().fmt_fields(OneLine).with_ansi(colours).with_writer(std::io::stderr).boxed()
        }
    };
    let spans = tracing_opentelemetry::layer().with_tracer(tracer);
    let told =
        filter_fn(|what| !(*what.level() == Level::TRACE && TELLS_ALL.iter().any(|of| what.target().starts_with(of))));
    tracing_subscriber::registry().with(settings.level).with(told).with(lines).with(spans).try_init()
}

/// Writes fields so that no value makes a line of its own or a terminal do things, whoever it comes from.
struct OneLine;

impl<'writer> FormatFields<'writer> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut text = String::new();
        let write = |writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| match field.name() {
            "message" => write!(writer, "{value:?}"),
            name => write!(writer, "{name}={value:?}"),
        };
        format::debug_fn(write).delimited(" ").format_fields(Writer::new(&mut text), fields)?;
        text.chars().try_for_each(|c| {
            if c.is_control() { write!(writer, "{}", c.escape_default()) } else { writer.write_char(c) }
        })
    }
}

/// An error and all its causes, on one line: `what failed: why: why that`. A log line that shows an error shows this.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        f.write_str(&told)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some say themselves what caused them.
            if !told.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            told = text;
            cause = error.source();
        }
        Ok(())
    }
}

/// Puts the current span's context into the headers of a message that goes out.
pub fn inject(headers: &mut HeaderMap) {
    let context = Span::current().context();
    TraceContextPropagator::new().inject_context(&context, &mut Outgoing(headers));
}

/// Makes a span continue the trace that a received message belongs to. Headers without a valid context change nothing.
pub fn continue_trace(span: &Span, headers: Option<&HeaderMap>) {
    if let Some(headers) = headers {
        let context = TraceContextPropagator::new().extract(&Incoming(headers));
        // Fails only where no tracer is installed, as in unit tests.
        let _ = span.set_parent(context);
    }
}

/// The trace that a span belongs to, in 32 hex digits; for log lines and error answers.
pub fn trace_id(span: &Span) -> String {
    span.context().span().span_context().trace_id().to_string()
}

/// Headers to write the context into.
struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if !value.is_empty() {
            self.0.insert(key, value);
        }
    }
}

/// Headers to read the context from.
struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(async_nats::HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no order")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_shows_every_cause() {
        let error = Outer(std::io::Error::other("disk full"));
        assert_eq!(Chain(&error).to_string(), "no order: disk full");
    }

    #[test]
    fn a_cause_that_an_error_tells_itself_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("no server: {0}")]
        struct Told(#[source] Outer);
        let error = Told(Outer(std::io::Error::other("disk full")));
        assert_eq!(Chain(&error).to_string(), "no server: no order: disk full");
    }

    #[test]
    fn no_value_makes_a_line_of_its_own_or_moves_a_terminal() {
        #[derive(Clone, Default)]
        struct Lines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let into = lines.clone();
        let layer =
            tracing_subscriber::fmt::layer().fmt_fields(OneLine).with_ansi(false).with_writer(move || into.clone());
        let forged = "a\r\nINFO forged\x1b[2J\u{85}\0ž";
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            let span = tracing::info_span!("order", order = %forged);
            let error = Outer(std::io::Error::other("none"));
            let error = &error as &dyn Error;
            span.in_scope(|| tracing::info!(word = %forged, text = forged, error, "said {forged}"));
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end_matches('\n').contains(char::is_control), "{text:?}");
        let shown = "a\\r\\nINFO forged\\u{1b}[2J\\u{85}\\u{0}ž";
        assert!(text.contains(&format!("said {shown}")) && text.contains(&format!("order={shown}")), "{text}");
        assert!(text.contains(&format!("word={shown}")) && text.contains("error=no order"), "{text}");
    }

    #[test]
    fn a_trace_crosses_in_a_header() {
        let subscriber = tracing_subscriber::registry()
            .with(tracing_opentelemetry::layer().with_tracer(SdkTracerProvider::builder().build().tracer("test")));
        tracing::subscriber::with_default(subscriber, || {
            let sent = tracing::info_span!("sent");
            let mut headers = HeaderMap::new();
            sent.in_scope(|| inject(&mut headers));
            let received = tracing::info_span!("received");
            continue_trace(&received, Some(&headers));
            assert_eq!(trace_id(&received), trace_id(&sent));
            assert!(headers.get("traceparent").is_some());
        });
    }
}
