//! What an order's domains need: a Service that leads to its pod, and an Ingress that leads to the Service.

use std::collections::BTreeMap;

use common::ingress::{Ingress, Tls};
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress as KubeIngress, IngressBackend, IngressRule, IngressServiceBackend,
    IngressSpec, IngressTLS, ServiceBackendPort,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::objects::SINGLE;
use crate::kubernetes::{Identity, Kind, LABEL_ORDER, Manifest};
use crate::settings::IngressSettings;

/// The port of the Service.
const HTTP: i32 = 80;
/// Annotation by which cert-manager is asked for a certificate.
const ANNOTATION_ISSUER: &str = "cert-manager.io/cluster-issuer";
/// The Secret that cert-manager puts the certificate into.
pub const ISSUED_SECRET: &str = "ingress-tls";

/// The Service and the Ingress.
pub(super) fn exposure(by: &Identity, ingress: &Ingress, settings: &IngressSettings) -> Vec<Manifest> {
    let port = ServicePort {
        port: HTTP,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(i32::from(ingress.container_port.get()))),
        ..ServicePort::default()
    };
    let selector = BTreeMap::from([(LABEL_ORDER.to_owned(), by.order.to_string())]);
    let spec = ServiceSpec { ports: Some(vec![port]), selector: Some(selector), ..ServiceSpec::default() };
    let service = Service { spec: Some(spec), ..Service::default() };

    let rules = ingress.domains.iter().map(|domain| rule(domain.as_str())).collect();
    let hosts = Some(ingress.domains.iter().map(ToString::to_string).collect());
    let tls = match ingress.tls {
        Tls::Issued => Some(IngressTLS { hosts, secret_name: Some(ISSUED_SECRET.to_owned()) }),
        Tls::Region => {
            settings.tls_secret.as_ref().map(|secret| IngressTLS { hosts, secret_name: Some(secret.clone()) })
        }
        Tls::Pod => None,
    };
    let spec = IngressSpec {
        ingress_class_name: settings.class.clone(),
        rules: Some(rules),
        tls: tls.map(|tls| vec![tls]),
        ..IngressSpec::default()
    };
    let object = Manifest::new(Kind::Ingress, SINGLE, &KubeIngress { spec: Some(spec), ..KubeIngress::default() }, by);
    let object = match (ingress.tls, &settings.issuer) {
        (Tls::Issued, Some(issuer)) => object.annotated(ANNOTATION_ISSUER, issuer),
        (Tls::Pod, _) => object.annotated(&settings.passthrough.0, &settings.passthrough.1),
        (Tls::Issued, None) | (Tls::Region, _) => object,
    };
    vec![Manifest::new(Kind::Service, SINGLE, &service, by), object]
}

fn rule(host: &str) -> IngressRule {
    let port = ServiceBackendPort { number: Some(HTTP), ..ServiceBackendPort::default() };
    let service = IngressServiceBackend { name: SINGLE.to_owned(), port: Some(port) };
    let path = HTTPIngressPath {
        backend: IngressBackend { service: Some(service), ..IngressBackend::default() },
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
    };
    IngressRule { host: Some(host.to_owned()), http: Some(HTTPIngressRuleValue { paths: vec![path] }) }
}
