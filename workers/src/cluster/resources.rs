//! How much CPU and memory: Kubernetes' quantities as numbers, and what a pod requests of its node.

use common::presence::Resources;
use serde_json::Value;

/// An amount from the quantities `cpu` and `memory`. One that cannot be read counts as nothing.
pub(super) fn amount(cpu: &str, memory: &str) -> Resources {
    let whole = |thousandths: u128| u64::try_from(thousandths).unwrap_or(u64::MAX);
    Resources {
        cpu_millis: whole(thousandths(cpu).unwrap_or_default()),
        memory_bytes: whole(thousandths(memory).unwrap_or_default().div_ceil(1000)),
    }
}

/// What a pod requests: its containers and sidecars together, or its largest init container if that is more, and its overhead
/// (<https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers>).
pub(super) fn requests(spec: &Value) -> Resources {
    let list = |key: &str| spec.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let requested = |container: &Value| read(container.pointer("/resources/requests"));
    let sum = |one: Resources, other: Resources| [one, other].into_iter().sum::<Resources>();
    let (mut sidecars, mut most) = (Resources::default(), Resources::default());
    for container in list("initContainers") {
        let mut needs = requested(container);
        if container.get("restartPolicy").and_then(Value::as_str) == Some("Always") {
            sidecars = sum(sidecars, needs);
            needs = sidecars;
        } else {
            needs = sum(sidecars, needs);
        }
        most = larger(most, needs);
    }
    let running = list("containers").iter().map(requested).chain([sidecars]).sum();
    sum(larger(most, running), read(spec.get("overhead")))
}

fn read(quantities: Option<&Value>) -> Resources {
    let text = |key: &str| quantities.and_then(|all| all.get(key)).and_then(Value::as_str).unwrap_or_default();
    amount(text("cpu"), text("memory"))
}

fn larger(one: Resources, other: Resources) -> Resources {
    Resources {
        cpu_millis: one.cpu_millis.max(other.cpu_millis),
        memory_bytes: one.memory_bytes.max(other.memory_bytes),
    }
}

/// The thousandths of a quantity, rounded up; none when it is none, or is negative or beyond all measure
/// (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).
fn thousandths(text: &str) -> Option<u128> {
    let number = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at_checked(number)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let digits: u128 = Some(digits).filter(|digits| digits.len() <= 24)?.parse().ok()?;
    let (binary, decimal) = match suffix {
        "" => (0, 0),
        "n" => (0, -9),
        "u" => (0, -6),
        "m" => (0, -3),
        "k" => (0, 3),
        "M" => (0, 6),
        "G" => (0, 9),
        "T" => (0, 12),
        "P" => (0, 15),
        "E" => (0, 18),
        "Ki" => (10, 0),
        "Mi" => (20, 0),
        "Gi" => (30, 0),
        "Ti" => (40, 0),
        "Pi" => (50, 0),
        "Ei" => (60, 0),
        exponent => (0, exponent.strip_prefix(['e', 'E'])?.parse::<i32>().ok().filter(|e| e.abs() <= 18)?),
    };
    let decimal = decimal + 3 - i32::try_from(fraction.len()).ok()?;
    let scaled = digits.checked_mul(1 << binary)?;
    let power = 10_u128.checked_pow(decimal.unsigned_abs())?;
    if decimal < 0 { Some(scaled.div_ceil(power)) } else { scaled.checked_mul(power) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("2", Some(2000)),
            ("250m", Some(250)),
            ("0.5", Some(500)),
            (".5", Some(500)),
            ("1.0001", Some(1001)),
            ("100u", Some(1)),
            ("1e3", Some(1_000_000)),
            ("1E3", Some(1_000_000)),
            ("12e-1", Some(1200)),
            ("1k", Some(1_000_000)),
            ("1E", Some(1_000_000_000_000_000_000_000)),
            ("1Ki", Some(1_024_000)),
            ("1.5Gi", Some(1_610_612_736_000)),
            ("128974848000m", Some(128_974_848_000)),
            ("", None),
            ("-1", None),
            ("1x", None),
            ("1e99", None),
            ("1.2.3", None),
            ("99999999999999999999999999", None),
        ] {
            assert_eq!(thousandths(text), expected, "{text}");
        }
    }

    #[test]
    fn a_pod_requests_what_its_containers_need_at_once() {
        let container = |cpu: &str, memory: &str| json!({"resources": {"requests": {"cpu": cpu, "memory": memory}}});
        let sidecar = |cpu: &str, memory: &str| {
            let mut container = container(cpu, memory);
            container["restartPolicy"] = json!("Always");
            container
        };
        for (case, spec, cpu_millis, memory_bytes) in [
            ("none", json!({"containers": [{}]}), 0, 0),
            ("together", json!({"containers": [container("250m", "1k"), container("1", "2k")]}), 1250, 3000),
            (
                "a large init container",
                json!({"containers": [container("1", "1k")], "initContainers": [container("500m", "5k")]}),
                1000,
                5000,
            ),
            (
                "a sidecar beside both",
                json!({"containers": [container("1", "1k")],
                    "initContainers": [sidecar("100m", "1k"), container("2", "500")]}),
                2100,
                2000,
            ),
            (
                "overhead",
                json!({"containers": [container("1", "1k")], "overhead": {"cpu": "50m", "memory": "1k"}}),
                1050,
                2000,
            ),
        ] {
            assert_eq!(requests(&spec), Resources { cpu_millis, memory_bytes }, "{case}");
        }
    }
}
