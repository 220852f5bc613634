//! What an order's domains need: a Service that leads to its pod, and an Ingress that leads to the Service.

use std::collections::BTreeMap;

use common::ingress::{Domain, Ingress, Route, Tls};
use common::port::PortNumber;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress as KubeIngress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::objects::SINGLE;
use crate::kubernetes::{Identity, Kind, LABEL_ORDER, Manifest};
use crate::settings::IngressSettings;

/// Annotation by which cert-manager is asked for a certificate.
const ANNOTATION_ISSUER: &str = "cert-manager.io/cluster-issuer";
/// The Secret that cert-manager puts the certificate into.
pub const ISSUED_SECRET: &str = "ingress-tls";

/// The Service and the Ingress.
pub(super) fn exposure(by: &Identity, ingress: &Ingress, settings: &IngressSettings) -> Vec<Manifest> {
    let selector = BTreeMap::from([(LABEL_ORDER.to_owned(), by.order.to_string())]);
    let ports = ingress.ports().into_iter().map(service_port).collect();
    let spec = ServiceSpec { ports: Some(ports), selector: Some(selector), ..ServiceSpec::default() };
    let service = Service { spec: Some(spec), ..Service::default() };

    let spec = IngressSpec {
        ingress_class_name: settings.class.clone(),
        rules: Some(ingress.domains.iter().map(|(domain, route)| rule(domain, *route)).collect()),
        tls: certificate(ingress, settings).map(|tls| vec![tls]),
        ..IngressSpec::default()
    };
    let object = Manifest::new(Kind::Ingress, SINGLE, &KubeIngress { spec: Some(spec), ..KubeIngress::default() }, by);
    let has = |tls| ingress.domains.values().any(|route| route.tls == tls);
    let object = match &settings.issuer {
        Some(issuer) if has(Tls::Issued) => object.annotated(ANNOTATION_ISSUER, issuer),
        _ if has(Tls::Pod) => object.annotated(&settings.passthrough.0, &settings.passthrough.1),
        _ => object,
    };
    vec![Manifest::new(Kind::Service, SINGLE, &service, by), object]
}

/// The certificate of the domains that have one: the issued one, once any is issued, since an issuer would ask for the
/// region's own too.
fn certificate(ingress: &Ingress, settings: &IngressSettings) -> Option<IngressTLS> {
    let has = |tls| ingress.domains.values().any(|route| route.tls == tls);
    let (covered, secret): (&[Tls], &str) = match &settings.tls_secret {
        Some(_) if has(Tls::Issued) => (&[Tls::Issued, Tls::Region], ISSUED_SECRET),
        None if has(Tls::Issued) => (&[Tls::Issued], ISSUED_SECRET),
        Some(own) if has(Tls::Region) => (&[Tls::Region], own),
        Some(_) | None => return None,
    };
    let hosts = ingress.domains.iter().filter(|(_, route)| covered.contains(&route.tls));
    let hosts = hosts.map(|(domain, _)| domain.to_string()).collect();
    Some(IngressTLS { hosts: Some(hosts), secret_name: Some(secret.to_owned()) })
}

fn service_port(port: PortNumber) -> ServicePort {
    ServicePort {
        name: Some(format!("tcp-{port}")),
        port: i32::from(port.get()),
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(port.get()))),
        ..ServicePort::default()
    }
}

fn rule(domain: &Domain, route: Route) -> IngressRule {
    let port =
        ServiceBackendPort { number: Some(i32::from(route.container_port.get())), ..ServiceBackendPort::default() };
    let service = IngressServiceBackend { name: SINGLE.to_owned(), port: Some(port) };
    let path = HTTPIngressPath {
        backend: IngressBackend { service: Some(service), ..IngressBackend::default() },
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
    };
    IngressRule { host: Some(domain.to_string()), http: Some(HTTPIngressRuleValue { paths: vec![path] }) }
}
