//! Whom an order's pod may talk to: the Internet and DNS, not its neighbours; and who may reach it: anybody, on the ports
//! that it published, and on the one that its domains lead to.

use common::ingress::Ingress;
use common::job::Target;
use common::pod::Port;
use common::port::Protocol;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer, NetworkPolicyPort,
    NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::objects::SINGLE;
use crate::kubernetes::{Identity, Kind, Manifest};
use crate::settings::Cidr;

/// The policy of all pods in the order's namespace. DNS is open to any address, since a pod asks the resolvers of its node.
pub(super) fn network_policy(by: &Identity, target: &Target, denied: &[Cidr]) -> Manifest {
    let published = target.pod.containers.iter().flat_map(|container| container.ports.iter().copied());
    let mut published: Vec<_> = published.filter(|port| port.host_port.is_some()).map(open).collect();
    let by_domain = target.exposure.ingress().map(Ingress::ports).unwrap_or_default();
    for led_to in by_domain.into_iter().map(|number| port(Protocol::Tcp, number.get())) {
        if !published.contains(&led_to) {
            published.push(led_to);
        }
    }
    let ingress = NetworkPolicyIngressRule { ports: Some(published.clone()), ..NetworkPolicyIngressRule::default() };
    let dns = [Protocol::Udp, Protocol::Tcp].map(|protocol| port(protocol, 53)).to_vec();
    let world = ["0.0.0.0/0", "::/0"].map(|all| internet(all, denied)).to_vec();
    let spec = NetworkPolicySpec {
        pod_selector: Some(LabelSelector::default()),
        policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
        // A rule without ports would open all of them.
        ingress: (!published.is_empty()).then(|| vec![ingress]),
        egress: Some(vec![
            NetworkPolicyEgressRule { ports: Some(dns), ..NetworkPolicyEgressRule::default() },
            NetworkPolicyEgressRule { to: Some(world), ..NetworkPolicyEgressRule::default() },
        ]),
    };
    let policy = NetworkPolicy { spec: Some(spec), ..NetworkPolicy::default() };
    Manifest::new(Kind::NetworkPolicy, SINGLE, &policy, by)
}

fn internet(all: &str, denied: &[Cidr]) -> NetworkPolicyPeer {
    let v6 = all.contains(':');
    let except: Vec<_> = denied.iter().filter(|cidr| cidr.is_v6() == v6).map(|c| c.as_str().to_owned()).collect();
    let block = IPBlock { cidr: all.to_owned(), except: (!except.is_empty()).then_some(except) };
    NetworkPolicyPeer { ip_block: Some(block), ..NetworkPolicyPeer::default() }
}

fn open(published: Port) -> NetworkPolicyPort {
    port(published.protocol, published.container_port.get())
}

fn port(protocol: Protocol, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.as_str().to_owned()),
        port: Some(IntOrString::Int(i32::from(number))),
        ..NetworkPolicyPort::default()
    }
}
