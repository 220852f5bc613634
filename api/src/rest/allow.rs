//! The methods of each path, for the header `Allow` of a 405: taken from the OpenAPI document, as poem does not tell.

use serde_json::Value;

/// Path templates and their methods.
#[derive(Debug, Default)]
pub(super) struct Allow(Vec<(Vec<String>, String)>);

impl Allow {
    /// Adds the paths of an OpenAPI document, mounted at `prefix`.
    #[must_use]
    pub(super) fn and(mut self, prefix: &str, document: &Value) -> Self {
        let paths = document.get("paths").and_then(Value::as_object);
        for (path, operations) in paths.into_iter().flatten() {
            let methods = operations.as_object().into_iter().flatten().map(|(method, _)| method.to_ascii_uppercase());
            let mut methods: Vec<String> = methods.collect();
            if methods.iter().any(|method| method == "GET") {
                methods.push("HEAD".to_owned());
            }
            self.0.push((segments(&format!("{prefix}{path}")), methods.join(", ")));
        }
        self
    }

    /// The methods of a path, divided by commas.
    pub(super) fn methods(&self, path: &str) -> String {
        let asked = segments(path);
        let same = |template: &[String]| {
            template.len() == asked.len() && template.iter().zip(&asked).all(|(t, a)| t.starts_with('{') || t == a)
        };
        let found = self.0.iter().find(|(template, _)| same(template));
        found.map_or_else(|| "GET, HEAD".to_owned(), |(_, methods)| methods.clone())
    }
}

fn segments(path: &str) -> Vec<String> {
    path.split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_allows_what_its_document_says() {
        let document = json!({"paths": {"/jobs/{id}": {"get": {}, "delete": {}}, "/k8s/deploy": {"post": {}}}});
        let allow = Allow::default().and("/api/v1", &document);
        assert_eq!(allow.methods("/api/v1/jobs/7"), "DELETE, GET, HEAD");
        assert_eq!(allow.methods("/api/v1/k8s/deploy"), "POST");
        assert_eq!(allow.methods("/healthz"), "GET, HEAD");
    }
}
