//! What a registry asks for in `WWW-Authenticate` (RFC 9110 §11.6.1, distribution's token authentication).

use http_auth::{ChallengeParser, ChallengeRef};
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// A way in that we know. Others (Negotiate, Digest, ..) are as good as none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// Fetch a token from the realm.
    Bearer {
        realm: String,
        service: Option<String>,
        /// As sent: a list, separated by blanks.
        scope: Option<String>,
        /// The token that came with the request is good, but not for this repository.
        insufficient_scope: bool,
    },
    /// Send user name and password.
    Basic,
}

/// The challenge to answer: a token before a password. Nothing if there is none that can be.
pub fn parse(headers: &HeaderMap) -> Option<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let offered = lines.flat_map(|line| ChallengeParser::new(line).map_while(Result::ok));
    let known: Vec<_> = offered.filter_map(|offer| known(&offer)).collect();
    let bearer = known.iter().find(|challenge| matches!(challenge, Challenge::Bearer { .. }));
    bearer.or(known.first()).cloned()
}

fn known(offer: &ChallengeRef<'_>) -> Option<Challenge> {
    let parameter = |name: &str| {
        let mut found = offer.params.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.to_unescaped())
    };
    if offer.scheme.eq_ignore_ascii_case("bearer") {
        let insufficient_scope = parameter("error").is_some_and(|error| error == "insufficient_scope");
        let (service, scope) = (parameter("service"), parameter("scope"));
        Some(Challenge::Bearer { realm: parameter("realm")?, service, scope, insufficient_scope })
    } else {
        offer.scheme.eq_ignore_ascii_case("basic").then_some(Challenge::Basic)
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>, insufficient_scope: bool) -> Challenge {
        let [service, scope] = [service, scope].map(|text| text.map(str::to_owned));
        Challenge::Bearer { realm: realm.to_owned(), service, scope, insufficient_scope }
    }

    #[test]
    fn challenges_are_read() {
        let token = "https://auth.example.com/token";
        for (case, lines, expected) in [
            (
                "as Docker Hub asks",
                &[r#"Bearer realm="https://auth.example.com/token",service="registry",scope="repository:a/b:pull""#][..],
                Some(bearer(token, Some("registry"), Some("repository:a/b:pull"), false)),
            ),
            (
                "a comma within quotes, blanks after commas, other case",
                &[
                    r#"bearer REALM="https://auth.example.com/token", Scope="repository:a/b:pull,push repository:c:pull""#,
                ],
                Some(bearer(token, None, Some("repository:a/b:pull,push repository:c:pull"), false)),
            ),
            (
                "a realm alone",
                &[r#"Bearer realm="https://auth.example.com/token""#],
                Some(bearer(token, None, None, false)),
            ),
            (
                "a token that does not reach",
                &[r#"Bearer realm="https://auth.example.com/token",error="insufficient_scope""#],
                Some(bearer(token, None, None, true)),
            ),
            ("an escaped quote", &[r#"Bearer realm="a\"b""#], Some(bearer("a\"b", None, None, false))),
            ("a password", &[r#"Basic realm="Registry Realm""#], Some(Challenge::Basic)),
            ("a password, without realm", &["Basic"], Some(Challenge::Basic)),
            (
                "both on one line: the token",
                &[r#"Basic realm="r", Bearer realm="https://auth.example.com/token""#],
                Some(bearer(token, None, None, false)),
            ),
            (
                "both on two lines: the token",
                &[r#"Basic realm="r""#, r#"Bearer realm="https://auth.example.com/token""#],
                Some(bearer(token, None, None, false)),
            ),
            ("a token without a realm", &[r#"Bearer service="registry""#], None),
            ("others", &["Negotiate", r#"Digest realm="r", nonce="n""#], None),
            ("one of others", &["Negotiate", "Basic"], Some(Challenge::Basic)),
            ("a quote that never ends", &[r#"Bearer realm="https://auth.example.com"#], None),
            ("nonsense", &["\u{1}", "==,,\"", ""], None),
            ("none", &[], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                if let Ok(value) = HeaderValue::from_bytes(line.as_bytes()) {
                    headers.append(WWW_AUTHENTICATE, value);
                }
            }
            assert_eq!(parse(&headers), expected, "{case}");
        }
    }
}
