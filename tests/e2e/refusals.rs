//! What is refused, as tables: one row a mistake, with the exact answer. Nothing of a refused request remains.

mod changes;
mod deploy;
mod headers;
mod operator;
mod queries;

/// A problem as an answer tells it: the field's path, and what is wrong with it.
type Problem = (&'static str, &'static str);

/// Compares the `details` of an answer, and the message that sums them up.
fn compare(case: &str, error: &serde_json::Value, expected: &[Problem]) {
    let text = |detail: &serde_json::Value, name: &str| detail[name].as_str().unwrap_or_default().to_owned();
    let details = error["details"].as_array().cloned().unwrap_or_default();
    let found: Vec<_> = details.iter().map(|detail| (text(detail, "field"), text(detail, "problem"))).collect();
    let expected: Vec<_> =
        expected.iter().map(|(field, problem)| ((*field).to_owned(), (*problem).to_owned())).collect();
    assert_eq!(found, expected, "{case}");
    let message = match expected.as_slice() {
        [(field, problem)] if field.is_empty() => format!("the body {problem}"),
        [(field, problem)] => format!("{field} {problem}"),
        several => {
            let fields: Vec<&str> = several.iter().map(|(field, _)| field.as_str()).collect();
            format!("{} problems, see details: {}", several.len(), fields.join(", "))
        }
    };
    assert_eq!(error["message"], message.as_str(), "{case}");
}

#[test]
fn the_tables_hold_at_least_150_mistakes() {
    let rows = [changes::rows().len(), deploy::rows().len(), operator::rows().len(), queries::rows().len()];
    assert!(rows.iter().sum::<usize>() >= 150, "{rows:?}");
}
