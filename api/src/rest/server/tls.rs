//! Encryption, with a certificate that is read again when its file changes: connections that are open keep theirs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use common::telemetry::Chain;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio::time::{self, MissedTickBehavior};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The files of a certificate.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate and those that lead to its authority, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
}

/// Why a certificate is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("\"{0}\" cannot be read")]
    Read(PathBuf, #[source] io::Error),
    /// A file has something else.
    #[error("\"{0}\" has none in PEM")]
    Pem(PathBuf, #[source] pem::Error),
    /// The two do not belong together, or the key is of a kind that is not known.
    #[error("the certificate and the key do not fit")]
    Unfit(#[source] rustls::Error),
}

/// Encrypts connections.
pub(super) struct Tls {
    acceptor: TlsAcceptor,
    certificate: Arc<Certificate>,
    files: TlsFiles,
}

/// The certificate that is shown now.
#[derive(Debug)]
struct Certificate(RwLock<Loaded>);

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    digest: [u8; 32],
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).key.clone())
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When they are of no use.
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = Contents::read(&files)?.load(&files)?;
        let certificate = Arc::new(Certificate(RwLock::new(loaded)));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().map_err(TlsError::Unfit)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(certificate.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { acceptor: Arc::new(config).into(), certificate, files })
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await
    }

    /// Looks again and again whether the files have changed. Those that are of no use change nothing.
    pub(super) async fn reload(&self) {
        let mut look = time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refused = None;
        loop {
            look.tick().await;
            let contents = match Contents::read(&self.files) {
                Ok(contents) => contents,
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the certificate cannot be read again");
                    continue;
                }
            };
            let digest = contents.digest();
            let shown = self.certificate.0.read().unwrap_or_else(PoisonError::into_inner).digest;
            // One that is half written, or of no use, is told of once.
            if digest == shown || refused == Some(digest) {
                continue;
            }
            match contents.load(&self.files) {
                Ok(loaded) => {
                    *self.certificate.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
                    tracing::info!("a new certificate is shown");
                }
                Err(error) => {
                    tracing::warn!(error = %Chain(&error), "the new certificate is of no use; the old one is kept");
                    refused = Some(digest);
                }
            }
        }
    }
}

/// What the files have.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let read = |file: &Path| std::fs::read(file).map_err(|error| TlsError::Read(file.to_owned(), error));
        Ok(Self { certificate: read(&files.certificate)?, key: read(&files.key)? })
    }

    fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(&self.certificate).chain_update(&self.key).finalize().into()
    }

    fn load(&self, files: &TlsFiles) -> Result<Loaded, TlsError> {
        let unreadable = |file: &Path| {
            let file = file.to_owned();
            |error| TlsError::Pem(file, error)
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.certificate).collect();
        let chain = chain.and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) });
        let chain = chain.map_err(unreadable(&files.certificate))?;
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(unreadable(&files.key))?;
        let key = CertifiedKey::from_der(chain, key, &ring::default_provider()).map_err(TlsError::Unfit)?;
        Ok(Loaded { key: Arc::new(key), digest: self.digest() })
    }
}
