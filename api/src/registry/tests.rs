//! Whole checks against scripted registries: what no healthy registry does. Checks against a real one are end-to-end
//! tests.

use std::net::SocketAddr;

use super::scripted::{Asked, Reply, Scripted};
use super::*;

const INDEX: &str = r#"{"schemaVersion":2,"manifests":[
    {"digest":"sha256:a1","platform":{"os":"linux","architecture":"arm64"}},
    {"digest":"sha256:a2","platform":{"os":"linux","architecture":"amd64"}}]}"#;
const SINGLE: &str = r#"{"schemaVersion":2,"config":{"digest":"sha256:c0"},"layers":[]}"#;
const CONFIG: &str = r#"{"os":"linux","architecture":"amd64"}"#;
const TOKEN: &str = r#"{"token":"","access_token":"t0ken"}"#;
const BASIC: &str = "Basic YW5uOm9wZW4gc2VzYW1l";

fn ann() -> Credentials {
    Credentials { username: "ann".into(), password: "open sesame".into() }
}

fn ok(body: &str) -> Reply {
    Reply::Whole(200, vec![], body.to_owned())
}

fn status(status: u16) -> Reply {
    Reply::Whole(status, vec![], String::new())
}

fn header(status: u16, header: impl Into<String>) -> Reply {
    Reply::Whole(status, vec![header.into()], String::new())
}

fn bearer(realm: &str) -> Reply {
    header(401, format!(r#"WWW-Authenticate: Bearer realm="{realm}",service="scripted""#))
}

fn registry(insecure: &[&Scripted]) -> Registry {
    let insecure_hosts = insecure.iter().map(|server| host(server.address)).collect();
    Registry::new(RegistrySettings { insecure_hosts, ..RegistrySettings::default() }).unwrap()
}

fn host(address: impl std::fmt::Display) -> RegistryHost {
    address.to_string().parse().unwrap()
}

fn image(server: &Scripted) -> Image {
    format!("{}/team/app:1", server.address).parse().unwrap()
}

/// The check's end as a word.
async fn outcome(registry: &Registry, image: &Image, credentials: Option<&Credentials>) -> String {
    match registry.check(image, credentials).await {
        Ok(()) => "exists".into(),
        Err(ImageCheckError::NotFound) => "not found".into(),
        Err(ImageCheckError::NoPlatform) => "no platform".into(),
        Err(ImageCheckError::Refused) => "refused".into(),
        Err(ImageCheckError::RateLimited { retry_after }) => format!("limited {:?}", retry_after.map(|d| d.as_secs())),
        Err(ImageCheckError::Unreachable(fault)) => fault.to_string(),
        Err(ImageCheckError::ForbiddenHost) => "forbidden".into(),
    }
}

/// The end of a check of `team/app:1` at a listed registry that follows the script.
async fn ends(script: fn(&Asked, SocketAddr) -> Reply, credentials: Option<&Credentials>) -> (String, Vec<Asked>) {
    let server = Scripted::start(script).await;
    let end = outcome(&registry(&[&server]), &image(&server), credentials).await;
    (end, server.asked())
}

#[tokio::test]
async fn an_open_registry_is_asked_once() {
    let (end, asked) = ends(|_, _| ok(INDEX), None).await;
    assert_eq!((end.as_str(), asked.len()), ("exists", 1));
    assert_eq!(asked[0].target, "/v2/team/app/manifests/1");
    assert!(asked[0].authorization.is_none());
    assert_eq!(asked[0].accept.as_deref(), Some(manifest::ACCEPT));
}

#[tokio::test]
async fn answers_are_told_apart() {
    type Script = fn(&Asked, SocketAddr) -> Reply;
    let cases: [(&str, Script, &str, &str); 21] = [
        ("not there", |_, _| status(404), "not found", "not found"),
        ("gone", |_, _| status(410), "not found", "not found"),
        ("not allowed at all", |_, _| status(403), "not found", "refused"),
        ("closed without a way in", |_, _| status(401), "not found", "refused"),
        ("a way in that we do not know", |_, _| header(401, "WWW-Authenticate: Negotiate"), "not found", "refused"),
        (
            "a password that is wrong",
            |_, _| header(401, r#"WWW-Authenticate: Basic realm="x""#),
            "not found",
            "refused",
        ),
        ("limited", |_, _| status(429), "limited None", "limited None"),
        ("limited for a minute", |_, _| header(429, "Retry-After: 60"), "limited Some(60)", "limited Some(60)"),
        (
            "a proxy's page",
            |_, _| Reply::Whole(502, vec!["content-type: text/html".into()], "<html>bad gateway</html>".into()),
            "an answer has status 502",
            "an answer has status 502",
        ),
        (
            "a page in place of a manifest",
            |_, _| ok("<html>welcome</html>"),
            "the manifest is not the JSON that it should be",
            "the manifest is not the JSON that it should be",
        ),
        ("nothing in it", |_, _| status(204), "an answer has status 204", "an answer has status 204"),
        (
            "endless",
            |_, _| Reply::Endless,
            "an answer is longer than 1048576 bytes",
            "an answer is longer than 1048576 bytes",
        ),
        ("not HTTP", |_, _| Reply::Noise, "the exchange failed", "the exchange failed"),
        (
            "redirected in a circle",
            |asked, _| header(307, format!("Location: {}", asked.target)),
            "too many redirects",
            "too many redirects",
        ),
        ("redirected to nowhere", |_, _| status(307), "the redirect makes no sense", "the redirect makes no sense"),
        (
            "other platforms",
            |_, _| ok(r#"{"manifests":[{"digest":"sha256:a1","platform":{"os":"linux","architecture":"s390x"}}]}"#),
            "no platform",
            "no platform",
        ),
        (
            "an index that leads back to itself",
            |_, _| ok(r#"{"manifests":[{"digest":"sha256:a1"}]}"#),
            "no platform",
            "no platform",
        ),
        (
            "an index without platforms",
            |asked, _| match asked.target.as_str() {
                "/v2/team/app/manifests/1" => ok(r#"{"manifests":[{"digest":"sha256:a1"}]}"#),
                "/v2/team/app/manifests/sha256:a1" => ok(SINGLE),
                "/v2/team/app/blobs/sha256:c0" => ok(CONFIG),
                _ => status(500),
            },
            "exists",
            "exists",
        ),
        (
            "a single manifest of another platform",
            |asked, _| match asked.target.as_str() {
                "/v2/team/app/manifests/1" => ok(SINGLE),
                _ => ok(r#"{"os":"linux","architecture":"arm64"}"#),
            },
            "no platform",
            "no platform",
        ),
        ("a realm that is none", |_, _| bearer("/token"), "the realm makes no sense", "the realm makes no sense"),
        (
            "a token that is none",
            |asked, at| {
                if asked.target.starts_with("/token") {
                    ok(r#"{"token":""}"#)
                } else {
                    bearer(&format!("http://{at}/token"))
                }
            },
            "the token makes no sense",
            "the token makes no sense",
        ),
    ];
    for (case, script, anonymous, known) in cases {
        assert_eq!(ends(script, None).await.0, anonymous, "{case}, anonymous");
        assert_eq!(ends(script, Some(&ann())).await.0, known, "{case}, with credentials");
    }
}

#[tokio::test]
async fn a_registry_that_says_nothing_is_given_up() {
    let server = Scripted::start(|_, _| Reply::Silence).await;
    let insecure_hosts = vec![host(server.address)];
    let settings = RegistrySettings { insecure_hosts, timeout: Duration::from_millis(100), mirror: None };
    let end = outcome(&Registry::new(settings).unwrap(), &image(&server), None).await;
    assert_eq!(end, "no whole answer within 100ms");
}

#[tokio::test]
async fn a_token_is_fetched_and_sent() {
    fn script(asked: &Asked, at: SocketAddr) -> Reply {
        match (asked.target.as_str(), asked.authorization.as_deref()) {
            (target, _) if target.starts_with("/token") => ok(TOKEN),
            ("/v2/team/app/manifests/1", Some("Bearer t0ken")) => ok(SINGLE),
            ("/v2/team/app/blobs/sha256:c0", Some("Bearer t0ken")) => ok(CONFIG),
            _ => bearer(&format!("http://{at}/token?account=x")),
        }
    }
    for (credentials, basic) in [(None, None), (Some(ann()), Some(BASIC))] {
        let (end, asked) = ends(script, credentials.as_ref()).await;
        assert_eq!((end.as_str(), asked.len()), ("exists", 4));
        assert_eq!(asked[0].authorization, None);
        assert_eq!(asked[1].target, "/token?account=x&service=scripted&scope=repository%3Ateam%2Fapp%3Apull");
        assert_eq!(asked[1].authorization.as_deref(), basic);
    }
}

#[tokio::test]
async fn a_password_is_sent_when_asked_for_and_not_before() {
    let (end, asked) = ends(
        |asked, _| match asked.authorization.as_deref() {
            Some(BASIC) => ok(INDEX),
            _ => header(401, r#"WWW-Authenticate: Basic realm="x""#),
        },
        Some(&ann()),
    )
    .await;
    assert_eq!((end.as_str(), asked.len()), ("exists", 2));
    assert_eq!(asked[0].authorization, None);
}

#[tokio::test]
async fn a_token_refused_and_a_token_that_does_not_reach_differ() {
    type Script = fn(&Asked, SocketAddr) -> Reply;
    fn to_token(asked: &Asked, at: SocketAddr, token: Reply, error: &str) -> Reply {
        let ask = format!(r#"WWW-Authenticate: Bearer realm="http://{at}/token",error="{error}""#);
        if asked.target.starts_with("/token") { token } else { header(401, ask) }
    }
    let cases: [(&str, Script, &str, &str); 5] = [
        ("no token", |asked, at| to_token(asked, at, status(401), ""), "not found", "refused"),
        ("no token either", |asked, at| to_token(asked, at, status(403), ""), "not found", "refused"),
        (
            "a token, out of reach",
            |asked, at| to_token(asked, at, ok(TOKEN), "insufficient_scope"),
            "not found",
            "not found",
        ),
        ("a token, not taken", |asked, at| to_token(asked, at, ok(TOKEN), "invalid_token"), "not found", "refused"),
        ("tokens limited", |asked, at| to_token(asked, at, status(429), ""), "limited None", "limited None"),
    ];
    for (case, script, anonymous, known) in cases {
        assert_eq!(ends(script, None).await.0, anonymous, "{case}, anonymous");
        assert_eq!(ends(script, Some(&ann())).await.0, known, "{case}, with credentials");
    }
}

#[tokio::test]
async fn nothing_on_this_machine_is_asked_unless_it_is_listed() {
    let server = Scripted::start(|_, _| ok(INDEX)).await;
    let port = server.address.port();
    let guarded = registry(&[]);
    for host in ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "0.0.0.0", "localhost"] {
        let image = format!("{host}:{port}/team/app:1").parse().expect(host);
        assert_eq!(outcome(&guarded, &image, None).await, "forbidden", "{host}");
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn neither_a_realm_nor_a_redirect_leads_to_where_one_may_not_ask() {
    let hidden = Scripted::start(|_, _| ok(TOKEN)).await;
    let port = hidden.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        for scheme in ["https", "http"] {
            let target = format!("{scheme}://{host}:{port}/token");
            let realm = target.clone();
            let asks = Scripted::start(move |_, _| bearer(&realm)).await;
            let moves = Scripted::start(move |_, _| header(307, format!("Location: {target}"))).await;
            for server in [&asks, &moves] {
                assert_eq!(outcome(&registry(&[server]), &image(server), Some(&ann())).await, "forbidden");
                assert_eq!(server.asked().len(), 1);
            }
        }
    }
    assert!(hidden.asked().is_empty());
}

#[tokio::test]
async fn a_redirect_is_followed_without_what_opened_the_registry() {
    let store = Scripted::start(|_, _| ok(CONFIG)).await;
    let place = format!("Location: http://{}/store/c0?signature=x", store.address);
    let server = Scripted::start(move |asked, _| match (asked.target.as_str(), asked.authorization.as_deref()) {
        ("/v2/team/app/manifests/1", Some(BASIC)) => header(301, "Location: /v2/team/app/manifests/2"),
        ("/v2/team/app/manifests/2", Some(BASIC)) => ok(SINGLE),
        ("/v2/team/app/blobs/sha256:c0", Some(BASIC)) => header(307, place.clone()),
        _ => header(401, r#"WWW-Authenticate: Basic realm="x""#),
    })
    .await;
    assert_eq!(outcome(&registry(&[&server, &store]), &image(&server), Some(&ann())).await, "exists");
    let asked = store.asked();
    assert_eq!((asked.len(), asked[0].target.as_str()), (1, "/store/c0?signature=x"));
    assert_eq!(asked[0].authorization, None);
}

#[tokio::test]
async fn a_host_that_a_registry_redirects_to_never_gets_the_password() {
    for ask in ["Basic realm=\"x\"".to_owned(), "Bearer realm=\"http://{at}/token\"".to_owned()] {
        let thief = Scripted::start(move |_, at| {
            header(401, format!("WWW-Authenticate: {}", ask.replace("{at}", &at.to_string())))
        })
        .await;
        let place = format!("Location: http://{}/v2/team/app/manifests/1", thief.address);
        let server = Scripted::start(move |_, _| header(307, place.clone())).await;
        assert_eq!(outcome(&registry(&[&server, &thief]), &image(&server), Some(&ann())).await, "refused");
        assert!(thief.asked().iter().all(|asked| asked.authorization.is_none()));
    }
}

#[tokio::test]
async fn a_realm_of_another_host_is_asked_without_the_password() {
    let realm = Scripted::start(|_, _| ok(TOKEN)).await;
    let url = format!("http://localhost:{}/token", realm.address.port());
    let server = Scripted::start(move |asked, _| match asked.authorization.as_deref() {
        Some("Bearer t0ken") => ok(INDEX),
        _ => bearer(&url),
    })
    .await;
    let insecure_hosts = vec![host(server.address), host(format!("localhost:{}", realm.address.port()))];
    let registry = Registry::new(RegistrySettings { insecure_hosts, ..RegistrySettings::default() }).unwrap();
    assert_eq!(outcome(&registry, &image(&server), Some(&ann())).await, "exists");
    assert_eq!(realm.asked().len(), 1);
    assert_eq!(realm.asked()[0].authorization, None);
}

#[tokio::test]
async fn one_customers_token_opens_nothing_for_another() {
    let server = Scripted::start(|asked, at| match (asked.target.as_str(), asked.authorization.as_deref()) {
        (target, Some(BASIC)) if target.starts_with("/token") => ok(TOKEN),
        (target, _) if target.starts_with("/token") => status(401),
        (_, Some("Bearer t0ken")) => ok(INDEX),
        _ => bearer(&format!("http://{at}/token")),
    })
    .await;
    let registry = registry(&[&server]);
    let image = image(&server);
    let bob = Credentials { username: "bob".into(), password: "guess".into() };
    assert_eq!(outcome(&registry, &image, Some(&ann())).await, "exists");
    assert_eq!(outcome(&registry.clone(), &image, None).await, "not found");
    assert_eq!(outcome(&registry.clone(), &image, Some(&bob)).await, "refused");
}

#[tokio::test]
async fn a_mirror_stands_in_for_docker_hub() {
    let server = Scripted::start(|_, _| ok(INDEX)).await;
    let mirror = host(server.address);
    let insecure_hosts = vec![mirror.clone()];
    let settings = RegistrySettings { mirror: Some(mirror), insecure_hosts, ..RegistrySettings::default() };
    let registry = Registry::new(settings).unwrap();
    for (name, target) in [
        ("nginx", "/v2/library/nginx/manifests/latest"),
        ("docker.io/team/app:1", "/v2/team/app/manifests/1"),
        ("index.docker.io/team/app:2", "/v2/team/app/manifests/2"),
    ] {
        assert_eq!(outcome(&registry, &name.parse().unwrap(), None).await, "exists", "{name}");
        assert_eq!(server.asked().last().unwrap().target, target, "{name}");
    }
}
