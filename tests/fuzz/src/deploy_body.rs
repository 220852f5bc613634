//! The body of a deploy, from the bytes to the pod that Kubernetes would be asked for.

mod admission;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use api::app::pod_request;
use api::store::orders::{PortSpecification, Purchase};
use common::ingress::Exposure;
use common::job::{Run, Target, Until};
use common::pod::Storage;
use common::sealed::KeyRing;
use serde_json::Value;
use workers::kubernetes::Identity;
use workers::manifests::Manifests;
use workers::settings::{PodSettings, Settings};

/// A body that is accepted is a pod that prints and reads the same, and whose Deployment passes the admission policy of
/// orders' namespaces and names nothing outside its own. The first byte says what the order paid for.
///
/// # Panics
/// Where that is not so.
pub fn holds(data: &[u8]) {
    let Some((bought, body)) = data.split_first() else { return };
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return };
    let purchase = purchase(*bought);
    let request = match pod_request::read(&body, &purchase) {
        Ok(request) => request,
        Err(problems) => return assert!(!problems.is_empty(), "a refusal says why"),
    };
    let pod = request.seal(&purchase, &KEYS.public_key()).expect("there is randomness");
    let printed = serde_json::to_vec(&pod).expect("a pod can be printed");
    assert_eq!(serde_json::from_slice::<common::pod::Pod>(&printed).expect("a pod can be read"), pod);
    let target = Target {
        revision: 1.try_into().expect("a revision"),
        until: Until::Created,
        pod,
        run: Run::Running,
        pod_job: None,
        exposure: Exposure::Never,
    };
    let by = Identity {
        order: "order-1".parse().expect("an order"),
        sequence: 1.try_into().expect("a sequence"),
        revision: target.revision,
        job: "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a job"),
        repairs: false,
    };
    let region = "ausrine".parse().expect("a region");
    let manifests = Manifests::build(&by, &target, &region, &SETTINGS, &KEYS).expect("the values open");
    admission::admits(manifests.deployment.body.pointer("/spec/template").expect("a pod's template"));
}

fn purchase(byte: u8) -> Purchase {
    Purchase {
        units: (u32::from(byte & 7) + 1).try_into().expect("units"),
        port_specification: if byte & 8 == 0 { PortSpecification::User } else { PortSpecification::Random },
        storage: if byte & 16 == 0 { Storage::None } else { Storage::Persistent },
        region: (byte & 32 == 0).then(|| "ausrine".parse().expect("a region")),
        duration_hours: 100,
        amount: 0,
        email: String::new(),
        address: String::new(),
        recipient: String::new(),
        provider: String::new(),
        service: String::new(),
        service_id: String::new(),
        service_category_id: String::new(),
        public_key: String::new(),
    }
}

static KEYS: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::from_hex(["01".repeat(32).as_str()]).expect("a key"));

/// The settings of pods, all by default.
static SETTINGS: LazyLock<PodSettings> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("vkube-fuzz-key-{}", std::process::id()));
    std::fs::write(&file, "01".repeat(32)).expect("a folder for temporary files");
    let given = BTreeMap::from([
        ("VKUBE_REGION", "ausrine".to_owned()),
        ("VKUBE_SEAL_PRIVATE_KEY_FILES", file.display().to_string()),
    ]);
    let (settings, _) = Settings::read(&given).expect("settings");
    let _ = std::fs::remove_file(&file);
    settings.pods
});
