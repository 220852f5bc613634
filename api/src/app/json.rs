//! Reads JSON that strangers wrote and notes *every* problem with its field path, not only the first. serde stops at the
//! first one and cannot name a missing field's place.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

/// The most problems that one answer names.
const MAX_PROBLEMS: usize = 100;

/// One problem of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: `containers[0].ports[1].hostPort`; empty = the whole body.
    pub field: String,
    /// What is wrong and what to do.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let field = if self.field.is_empty() { "the body" } else { &self.field };
        write!(f, "{field} {}", self.problem)
    }
}

/// A value could not be read; why was noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noted;

/// All problems of a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one more.
    pub fn add(&mut self, field: impl Into<String>, problem: impl fmt::Display) {
        if self.0.len() < MAX_PROBLEMS {
            self.0.push(Problem { field: field.into(), problem: problem.to_string() });
        }
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}

/// A JSON value and its place in the body.
#[derive(Debug, Clone)]
pub struct Field<'a> {
    value: &'a Value,
    path: String,
}

impl<'a> Field<'a> {
    /// The body itself.
    pub fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// The place of the value in the body.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The value as text.
    pub fn text(&self, problems: &mut Problems) -> Option<&'a str> {
        match self.value.as_str() {
            Some(text) if text.contains('\0') => self.wrong("must not contain the character NUL", problems),
            Some(text) => Some(text),
            None => self.wrong("must be a string", problems),
        }
    }

    /// The value as text of at most `max` characters.
    pub fn short_text(&self, max: usize, problems: &mut Problems) -> Option<String> {
        let text = self.text(problems)?;
        if text.chars().count() > max {
            return self.wrong(format!("must have at most {max} characters"), problems);
        }
        Some(text.to_owned())
    }

    /// The value as text that has a form of its own.
    pub fn parsed<T: FromStr<Err: fmt::Display>>(&self, problems: &mut Problems) -> Option<T> {
        self.converted(T::from_str, problems)
    }

    /// The value as text, converted.
    pub fn converted<T, E: fmt::Display>(
        &self,
        convert: impl FnOnce(&str) -> Result<T, E>,
        problems: &mut Problems,
    ) -> Option<T> {
        convert(self.text(problems)?).map_err(|error| problems.add(self.path.clone(), error)).ok()
    }

    /// The value as a boolean.
    pub fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wrong("must be true or false", problems))
    }

    /// The value as a whole number.
    pub fn integer<T, E: fmt::Display>(
        &self,
        convert: impl FnOnce(i64) -> Result<T, E>,
        problems: &mut Problems,
    ) -> Option<T> {
        let Some(number) = self.value.as_i64() else { return self.wrong("must be a whole number", problems) };
        convert(number).map_err(|error| problems.add(self.path.clone(), error)).ok()
    }

    /// The value as a list, each item with its place.
    pub fn list(&self, problems: &mut Problems) -> Option<Vec<Self>> {
        let Some(items) = self.value.as_array() else { return self.wrong("must be a list", problems) };
        let item = |(index, value)| Self { value, path: format!("{}[{index}]", self.path) };
        Some(items.iter().enumerate().map(item).collect())
    }

    /// The value as an object whose members have names of the customer's own, each with its place.
    pub fn members(&self, problems: &mut Problems) -> Option<Vec<(&'a str, Self)>> {
        let Some(fields) = self.value.as_object() else { return self.wrong("must be an object", problems) };
        let member = |(name, value): (&'a String, &'a Value)| {
            let shown: String = name.chars().take(64).collect();
            (name.as_str(), Self { value, path: format!("{}.{shown}", self.path) })
        };
        Some(fields.iter().map(member).collect())
    }

    /// The value as an object.
    pub fn object(&self, problems: &mut Problems) -> Option<Object<'a>> {
        let Some(fields) = self.value.as_object() else { return self.wrong("must be an object", problems) };
        Some(Object { fields, path: self.path.clone(), known: Vec::new() })
    }

    /// Whether the value is a list.
    pub fn is_list(&self) -> bool {
        self.value.is_array()
    }

    /// Whether the value is a list without items.
    pub fn is_empty_list(&self) -> bool {
        self.value.as_array().is_some_and(Vec::is_empty)
    }

    /// Notes a problem with the value.
    pub fn wrong<T>(&self, problem: impl fmt::Display, problems: &mut Problems) -> Option<T> {
        problems.add(self.path.clone(), problem);
        None
    }
}

/// A JSON object being read: it knows which fields it was asked for, and so which ones nobody knows.
#[derive(Debug)]
pub struct Object<'a> {
    fields: &'a Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
}

impl<'a> Object<'a> {
    /// The place of a field of this object.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field that may be absent; `null` counts as absent.
    pub fn optional(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.known.push(name);
        let value = self.fields.get(name).filter(|value| !value.is_null())?;
        Some(Field { value, path: self.path_of(name) })
    }

    /// A field that may be absent, where an empty text counts as absent too.
    pub fn optional_text(&mut self, name: &'static str) -> Option<Field<'a>> {
        self.optional(name).filter(|field| field.value.as_str() != Some(""))
    }

    /// A field that must be there.
    pub fn required(&mut self, name: &'static str, problems: &mut Problems) -> Option<Field<'a>> {
        let field = self.optional(name);
        if field.is_none() {
            problems.add(self.path_of(name), "is required");
        }
        field
    }

    /// Notes every field that nobody asked for.
    pub fn finish(self, problems: &mut Problems) {
        for name in self.fields.keys().filter(|name| !self.known.contains(&name.as_str())) {
            let shown: String = name.chars().take(64).collect();
            problems.add(self.path_of(&shown), "is not a known field; leave it out");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_problem_is_noted_with_its_place() {
        let body = json!({"name": 1, "list": [{"port": "x"}, 7], "nul": "a\u{0}", "more": true});
        let mut problems = Problems::default();
        let mut root = Field::root(&body).object(&mut problems).unwrap();
        root.required("name", &mut problems).unwrap().text(&mut problems);
        for item in root.required("list", &mut problems).unwrap().list(&mut problems).unwrap() {
            if let Some(mut item) = item.object(&mut problems) {
                item.required("port", &mut problems).unwrap().integer(u8::try_from, &mut problems);
                item.finish(&mut problems);
            }
        }
        root.optional("nul").unwrap().text(&mut problems);
        root.required("missing", &mut problems);
        root.finish(&mut problems);
        let all: Vec<String> = problems.into_vec().iter().map(ToString::to_string).collect();
        assert_eq!(
            all,
            [
                "name must be a string",
                "list[0].port must be a whole number",
                "list[1] must be an object",
                "nul must not contain the character NUL",
                "missing is required",
                "more is not a known field; leave it out",
            ]
        );
    }

    #[test]
    fn the_list_of_problems_is_bounded() {
        let mut problems = Problems::default();
        (0..1000).for_each(|n| problems.add(n.to_string(), "is wrong"));
        assert_eq!(problems.into_vec().len(), MAX_PROBLEMS);
    }
}
