//! What a region would make of a pod.

mod admission;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use common::ingress::Exposure;
use common::job::{Run, Target, Until};
use common::pod::Pod;
use common::sealed::KeyRing;
use workers::kubernetes::{Identity, Manifest};
use workers::manifests::Manifests;
use workers::settings::{PodSettings, Settings};

/// The region's keys.
pub(crate) static KEYS: LazyLock<KeyRing> =
    LazyLock::new(|| KeyRing::from_hex(["01".repeat(32).as_str()]).expect("a key"));

/// The settings of pods, all by default.
static SETTINGS: LazyLock<PodSettings> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("vkube-fuzz-key-{}", std::process::id()));
    std::fs::write(&file, "01".repeat(32)).expect("a folder for temporary files");
    let given = BTreeMap::from([
        ("VKUBE_REGION", "ausrine".to_owned()),
        ("VKUBE_SEAL_PRIVATE_KEY_FILES", file.display().to_string()),
        ("VKUBE_INGRESS_ISSUER", "issuer".to_owned()),
    ]);
    let (settings, _) = Settings::read(&given).expect("settings");
    let _ = std::fs::remove_file(&file);
    settings.pods
});

/// A pod prints and reads the same, and its Deployment passes the admission policy of orders' namespaces: the objects of its
/// domains.
///
/// # Panics
/// Where that is not so.
pub(crate) fn takes(pod: Pod, exposure: Exposure) -> Vec<Manifest> {
    let printed = serde_json::to_vec(&pod).expect("a pod can be printed");
    assert_eq!(serde_json::from_slice::<Pod>(&printed).expect("a pod can be read"), pod);
    let revision = 1.try_into().expect("a revision");
    let target = Target { revision, until: Until::Created, pod, run: Run::Running, pod_job: None, exposure };
    let by = Identity {
        order: "order-1".parse().expect("an order"),
        sequence: 1.try_into().expect("a sequence"),
        revision,
        job: "01890a5d-ac96-774b-bcce-b302099a8057".parse().expect("a job"),
        repairs: false,
    };
    let region = "ausrine".parse().expect("a region");
    let manifests = Manifests::build(&by, &target, &region, &SETTINGS, &KEYS).expect("the values open");
    admission::admits(manifests.deployment.body.pointer("/spec/template").expect("a pod's template"));
    manifests.exposure
}
