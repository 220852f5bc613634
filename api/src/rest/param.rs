//! Parameters of queries and headers: read leniently where existing clients are lenient, and with every problem noted.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::time::Duration;

use common::log::{Position, PositionError};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaParamIn, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde_json::Value;

use crate::app::LONGEST_WAIT;
use crate::app::change::Wait;
use crate::app::error::AppError;
use crate::app::json::Problems;

/// A parameter as text, documented as `T`: the handler reads it, so that all problems are told at once.
pub(super) struct Loose<T> {
    text: String,
    documented: PhantomData<fn() -> T>,
}

impl<T> Loose<T> {
    /// The text, as it came.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl<T: Type> Type for Loose<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        T::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl<T: Type> ParseFromParameter for Loose<T> {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        Ok(Self { text: text.to_owned(), documented: PhantomData })
    }
}

/// A whole number within bounds, if given.
pub(super) fn number(
    name: &str,
    given: Option<&Loose<u32>>,
    bounds: std::ops::RangeInclusive<u32>,
    problems: &mut Problems,
) -> Option<u32> {
    let text = given?.as_str();
    if text.is_empty() {
        return None;
    }
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    if number.is_none() {
        problems.add(name, format!("must be a whole number from {} to {}", bounds.start(), bounds.end()));
    }
    number
}

/// A boolean without regard to case (`wire.md` §1), `false` if not given.
pub(super) fn flag(name: &str, given: Option<&Loose<bool>>, problems: &mut Problems) -> bool {
    match given.map(|given| given.as_str().to_ascii_lowercase()).as_deref() {
        Some("true") => true,
        None | Some("false" | "") => false,
        Some(_) => {
            problems.add(name, "must be true or false");
            false
        }
    }
}

/// A text with a form of its own, if given and not empty.
pub(super) fn parsed<T, E: std::fmt::Display>(
    name: &str,
    given: Option<&str>,
    parse: impl FnOnce(&str) -> Result<T, E>,
    problems: &mut Problems,
) -> Option<T> {
    // By name: `Type` has an `is_empty` too, which is nearer here and means something else.
    let text = given.filter(|text| !str::is_empty(text))?;
    parse(text).map_err(|error| problems.add(name, error)).ok()
}

/// Every line of a header, as it came: bytes that may be no text.
pub struct HeaderLines(Vec<Vec<u8>>);

impl<'a> ApiExtractor<'a> for HeaderLines {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::Parameter];
    type ParamType = String;
    type ParamRawType = String;

    fn param_in() -> Option<MetaParamIn> {
        Some(MetaParamIn::Header)
    }

    fn param_schema_ref() -> Option<MetaSchemaRef> {
        Some(String::schema_ref())
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        options: ExtractParamOptions<String>,
    ) -> poem::Result<Self> {
        let values = request.headers().get_all(options.name).iter();
        Ok(Self::new(values.map(|value| value.as_bytes().to_vec()).collect()))
    }
}

impl HeaderLines {
    /// These lines.
    pub fn new(lines: Vec<Vec<u8>>) -> Self {
        Self(lines)
    }

    /// The header `Idempotency-Key`: at most one, of 1 to 255 visible characters of ASCII.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn idempotency_key(&self) -> Result<Option<&str>, AppError> {
        let wrong = |problem: &str| {
            let mut problems = Problems::default();
            problems.add("Idempotency-Key", problem);
            AppError::invalid(problems)
        };
        let [key] = self.0.as_slice() else {
            return if self.0.is_empty() { Ok(None) } else { Err(wrong("must be given once")) };
        };
        let visible = (1..=255).contains(&key.len()) && key.iter().all(u8::is_ascii_graphic);
        let key = str::from_utf8(key).ok().filter(|_| visible);
        key.map(Some).ok_or_else(|| wrong("must have 1 to 255 visible ASCII characters"))
    }

    /// The header `Last-Event-ID`: of an event of ours. An empty one is none (HTML, "Server-sent events").
    pub fn last_event_id(&self, problems: &mut Problems) -> Option<Position> {
        let mut lines = self.0.iter().filter(|line| !line.is_empty());
        let line = lines.next()?;
        let position = str::from_utf8(line).ok().and_then(|text| text.parse().ok()).filter(|_| lines.next().is_none());
        if position.is_none() {
            problems.add("Last-Event-ID", PositionError);
        }
        position
    }

    /// Whether a word is in the header, without regard to case.
    pub fn holds(&self, word: &str) -> bool {
        let lines = self.0.iter().filter_map(|line| str::from_utf8(line).ok());
        lines.into_iter().any(|line| line.to_ascii_lowercase().contains(word))
    }

    /// The header `Prefer` (RFC 7240): `respond-async`, or `wait=<seconds>` up to 60. Preferences that are not known, or
    /// not well formed, are ignored, as the RFC says.
    pub fn wait(&self, otherwise: Duration) -> Wait {
        let mut wait = Wait::For(otherwise);
        let lines = self.0.iter().filter_map(|line| str::from_utf8(line).ok());
        for preference in lines.flat_map(|line| line.split(',')).filter_map(|text| text.split(';').next()) {
            let preference = preference.trim().to_ascii_lowercase();
            if preference == "respond-async" {
                return Wait::No;
            }
            if let Some(seconds) = preference.strip_prefix("wait=").and_then(|text| text.trim().parse().ok()) {
                wait = Wait::For(Duration::from_secs(seconds).min(LONGEST_WAIT));
            }
        }
        wait
    }
}

/// A value that is always there and may be `null`.
#[derive(Debug)]
pub(super) struct Nullable<T>(pub Option<T>);

impl<T: Type> Type for Nullable<T> {
    const IS_REQUIRED: bool = true;
    type RawValueType = T::RawValueType;
    type RawElementValueType = T::RawElementValueType;

    fn name() -> Cow<'static, str> {
        format!("nullable_{}", T::name()).into()
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref().merge(MetaSchema { nullable: true, ..MetaSchema::ANY })
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        self.0.as_ref().and_then(Type::as_raw_value)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        match &self.0 {
            Some(value) => value.raw_element_iter(),
            None => Box::new(std::iter::empty()),
        }
    }
}

impl<T: ToJSON> ToJSON for Nullable<T> {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.as_ref().and_then(ToJSON::to_json).unwrap_or(Value::Null))
    }
}

impl<T: ParseFromJSON> ParseFromJSON for Nullable<T> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        Option::<T>::parse_from_json(value).map(Self).map_err(ParseError::propagate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(lines: &[&str]) -> HeaderLines {
        HeaderLines(lines.iter().map(|line| line.as_bytes().to_vec()).collect())
    }

    #[test]
    fn preferences_are_read_as_the_rfc_says() {
        let seconds = |seconds| Wait::For(Duration::from_secs(seconds));
        for (prefer, expected) in [
            (&[][..], seconds(20)),
            (&["respond-async"], Wait::No),
            (&["Respond-Async, wait=5"], Wait::No),
            (&["wait=5"], seconds(5)),
            (&["wait=5, handling=lenient"], seconds(5)),
            (&["wait=600"], seconds(60)),
            (&["respond-async; foo=\"a,b\""], Wait::No),
            (&["handling=lenient", "respond-async"], Wait::No),
            (&["wait=soon"], seconds(20)),
            (&[""], seconds(20)),
        ] {
            assert_eq!(lines(prefer).wait(Duration::from_secs(20)), expected, "{prefer:?}");
        }
    }

    #[test]
    fn booleans_are_read_without_regard_to_case() {
        for (text, expected) in [("True", Some(true)), ("FALSE", Some(false)), ("1", None), ("yes", None)] {
            let mut problems = Problems::default();
            let given = Loose { text: text.to_owned(), documented: PhantomData };
            let value = flag("previous", Some(&given), &mut problems);
            assert_eq!(problems.is_empty().then_some(value), expected, "{text}");
        }
    }

    #[test]
    fn a_text_that_is_empty_is_not_given() {
        for (given, expected, problem) in
            [(None, None, false), (Some(""), None, false), (Some("7"), Some(7), false), (Some("x"), None, true)]
        {
            let mut problems = Problems::default();
            let read = parsed("after", given, str::parse::<u8>, &mut problems);
            assert_eq!((read, !problems.is_empty()), (expected, problem), "{given:?}");
        }
    }

    #[test]
    fn idempotency_keys_are_short_and_visible() {
        let long = "k".repeat(256);
        for (keys, expected) in [
            (&[][..], Ok(None)),
            (&["a"], Ok(Some("a"))),
            (&[""], Err(())),
            (&["a b"], Err(())),
            (&["ž"], Err(())),
            (&[long.as_str()], Err(())),
            (&["a", "b"], Err(())),
        ] {
            assert_eq!(lines(keys).idempotency_key().map_err(drop), expected, "{keys:?}");
        }
    }
}
