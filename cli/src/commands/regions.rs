//! `vkube regions`: the regions that are there, and for the operator what each of them has.

use std::io::{self, Write};

use clap::Args;
use serde_json::Value;

use super::Context;
use crate::credentials::Caller;
use crate::error::Error;
use crate::text::escaped;

/// `vkube regions`.
#[derive(Debug, Args)]
pub(crate) struct Regions {
    /// All that the operator may know of each: workers, nodes, ports, queue
    #[arg(long)]
    operator: bool,
}

impl Regions {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<(), Error> {
        let (caller, path) = if self.operator { (Caller::Operator, "admin") } else { (Caller::Anyone, "k8s") };
        let call = context.client.get(caller, &[path, "regions"])?;
        let answer = context.client.send(&call).await?;
        context.show(&answer, |answer, out| outline(answer, 0, out))
    }
}

/// Prints any JSON as an indented outline: regions nest, and differ by what their clusters tell.
fn outline(value: &Value, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    let indent = "  ".repeat(depth);
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| match item {
            Value::Array(_) | Value::Object(_) => {
                writeln!(out, "{indent}-")?;
                outline(item, depth + 1, out)
            }
            scalar => writeln!(out, "{indent}{}", word(scalar)),
        }),
        Value::Object(members) => members.iter().try_for_each(|(name, member)| match member {
            Value::Array(_) | Value::Object(_) => {
                writeln!(out, "{indent}{}:", escaped(name))?;
                outline(member, depth + 1, out)
            }
            scalar => writeln!(out, "{indent}{}: {}", escaped(name), word(scalar)),
        }),
        scalar => writeln!(out, "{indent}{}", word(scalar)),
    }
}

fn word(scalar: &Value) -> String {
    match scalar {
        Value::String(text) => escaped(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn regions_are_one_a_line_and_their_details_indented() {
        for (value, expected) in [
            (json!(["ausrine", "giltine"]), "ausrine\ngiltine\n"),
            (
                json!({ "regions": [{ "code": "ausrine", "queue": 3, "workers": [{ "version": "0.1\n.0" }], "oldest": null }] }),
                "regions:\n  -\n    code: ausrine\n    oldest: -\n    queue: 3\n    workers:\n      -\n        version: 0.1\\n.0\n",
            ),
        ] {
            let mut out = Vec::new();
            outline(&value, 0, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
