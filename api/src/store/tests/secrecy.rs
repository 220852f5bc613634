//! What is secret is not in the tables.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::pod::{RegistryLogin, Variable};
use common::sealed::KeyRing;

use super::super::acceptance::{Acceptance, Accepted};
use super::super::orders::NewOrder;
use super::cluster::{database, program};
use super::{at, end, id, pod, purchase, region};
use crate::app::secret::{Secrets, generate};

#[tokio::test]
async fn postgresql_sees_no_secret() {
    use secrecy::ExposeSecret as _;
    let database = database().await;
    // Whatever the server is told shows in its log.
    database.run(&format!("alter database {} set log_statement = 'all'", database.name)).await;
    let store = database.store_with(|_| {});
    let keys = Secrets::new(
        &crate::app::secret::SecretKeys { current: [7; 32], older: vec![] },
        &std::collections::BTreeMap::new(),
    );
    let region_key = KeyRing::from_hex([hex::encode([9; 32]).as_str()]).unwrap().public_key();
    let mut secrets = Vec::new();
    for n in 0..5 {
        let [order_secret, value_of_variable, password] = [(); 3].map(|()| generate().unwrap());
        let mut secret_pod = pod(&[80]);
        let container = &mut secret_pod.containers[0];
        container.environment = vec![Variable {
            name: "TOKEN".to_owned().try_into().unwrap(),
            value: region_key.seal(&value_of_variable).unwrap(),
        }];
        container.login =
            Some(RegistryLogin { username: "anna".to_owned(), password: region_key.seal(&password).unwrap() });

        let id = id(&format!("order-{n}"));
        let new = NewOrder {
            id: &id,
            purchase: &purchase(),
            secret_digest: &keys.digest(&[order_secret.expose_secret()]),
            request_digest: &keys.digest(&["the body"]),
            made_by: "the tests",
            idempotency_key: None,
        };
        store.create_order(&new).await.unwrap();
        store.order_by_secret(new.secret_digest, Some("key")).await.unwrap().unwrap();
        let newer_secret = generate().unwrap();
        let newer_digest = keys.digest(&[newer_secret.expose_secret()]);
        store.replace_secret(&id, &newer_digest, 60, &super::word()).await.unwrap();
        store.order_by_secret(&newer_digest, None).await.unwrap().unwrap();
        let request = keys.digest(&["the request", value_of_variable.expose_secret()]);
        let (region, job) = (region(), super::JobId::new());
        let acceptance = Acceptance { order: &id, region: &region, job, idempotency: Some(("key", &request.current)) };
        let accepted = store.accept_deploy(&acceptance, &secret_pod, common::job::Until::Created, None).await;
        let Ok(Accepted::Yes(job)) = accepted else { panic!("{accepted:?}") };
        store.jobs_left(0.0, 10).await.unwrap();
        store.job_ended(&region, &super::JobResult { finished_at: at(0), ..end(&job, super::failed()) }).await.unwrap();
        secrets.extend([order_secret, newer_secret, value_of_variable, password]);
    }

    let url = format!("postgres://postgres@127.0.0.1:{}/{}", database.cluster.port(), database.name);
    let dump = Command::new(program("pg_dump")).arg("--inserts").arg(url).output().unwrap();
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    let dump = String::from_utf8(dump.stdout).unwrap();
    let log = database.log().join("\n");
    for (place, text) in [("the dump", &dump), ("the log", &log)] {
        assert!(text.contains("order-4") && text.contains("anna"), "{place} is not whole");
        let text = text.to_lowercase();
        for secret in &secrets {
            let secret = secret.expose_secret();
            for form in [secret.to_owned(), hex::encode(secret), STANDARD.encode(secret)] {
                assert!(!text.contains(&form.to_lowercase()), "{place} holds a secret");
            }
        }
    }
}
