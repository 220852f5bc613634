//! Every process's own way to every server: one proxy each, so that one process can be cut off alone.

use std::collections::BTreeMap;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use kube::config::Kubeconfig;
use reqwest::Url;

use super::proxy::{Mode, Proxy};

/// What a process speaks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Server {
    /// NATS.
    Nats,
    /// PostgreSQL.
    Postgres,
    /// The API server.
    Kubernetes,
}

/// A process of the product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// An api instance, by its number.
    Api(usize),
    /// A worker, by its number.
    Worker(usize),
}

/// All proxies of a system.
#[derive(Debug, Default)]
pub struct Links {
    proxies: BTreeMap<(Part, Server), Vec<Proxy>>,
}

impl Links {
    /// A way for a process to the server at this URL, or to those at these, divided by commas: the URLs by way of proxies.
    pub async fn through(&mut self, who: Part, server: Server, urls: &str) -> Result<String> {
        let mut through = Vec::new();
        for url in urls.split(',') {
            let mut url: Url = url.parse()?;
            let host = url.host_str().context("a server's URL has a host")?.to_owned();
            let port = url.port_or_known_default().context("a server's URL has a port")?;
            let proxy = Proxy::start(resolved(&host, port)?).await?;
            let address = proxy.address();
            url.set_ip_host(address.ip()).ok().context("a host")?;
            url.set_port(Some(address.port())).ok().context("a port")?;
            self.proxies.entry((who, server)).or_default().push(proxy);
            through.push(url.as_str().trim_end_matches('/').to_owned());
        }
        Ok(through.join(","))
    }

    /// Writes a kubeconfig that leads to the server at this URL, by way of a proxy.
    pub async fn kubeconfig(&mut self, who: Part, server: &str, original: &Path, through: &Path) -> Result<()> {
        let mut config = Kubeconfig::read_from(original)?;
        for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            cluster.server = Some(self.through(who, Server::Kubernetes, server).await?);
        }
        // JSON is YAML.
        std::fs::write(through, serde_json::to_vec(&config)?)?;
        Ok(())
    }

    /// Everybody who has a way to a server.
    pub fn parts(&self, server: Server) -> Vec<Part> {
        self.proxies.keys().filter(|(_, of)| *of == server).map(|(part, _)| *part).collect()
    }

    /// What happens on a process's way to a server from now on.
    pub fn set(&self, who: Part, server: Server, mode: Mode) -> Result<()> {
        self.proxies.get(&(who, server)).context("there is no such way")?.iter().for_each(|proxy| proxy.set(mode));
        Ok(())
    }

    /// Lets everything pass.
    pub fn heal(&self) {
        self.proxies.values().flatten().for_each(|proxy| proxy.set(Mode::Pass));
    }
}

fn resolved(host: &str, port: u16) -> Result<SocketAddr> {
    (host, port).to_socket_addrs()?.find(SocketAddr::is_ipv4).with_context(|| format!("{host} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Part = Part::Worker(1);

    #[tokio::test]
    async fn a_way_changes_the_address_of_a_url_and_nothing_else() {
        let mut links = Links::default();
        for (server, url, before, after) in [
            (Server::Nats, "nats://127.0.0.1:4222", "nats://127.0.0.1:", ""),
            (Server::Postgres, "postgres://me:word@127.0.0.1:5432/name", "postgres://me:word@127.0.0.1:", "/name"),
            (Server::Kubernetes, "https://127.0.0.1:6443", "https://127.0.0.1:", ""),
        ] {
            let through = links.through(WHO, server, url).await.unwrap();
            let port = links.proxies.get(&(WHO, server)).unwrap()[0].address().port();
            assert_eq!(through, format!("{before}{port}{after}"));
            assert_eq!(links.parts(server), [WHO]);
        }
    }
}
