//! A listener's side: its certificate, and whose clients it accepts, both as the files say at the moment.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

use crate::files::{self, BadFile};

/// How often the files are looked at. By content, because in Kubernetes a new one is a symbolic link that points elsewhere.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The files behind a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate chain, the server's own first, PEM.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// CA certificates, PEM. With them a client has to show a certificate that one of them signed.
    pub client_ca: Option<PathBuf>,
}

/// What the files said when they were last good. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Server {
    files: Arc<ServerFiles>,
    current: Arc<Current>,
    seen: Arc<Mutex<Contents>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Current(RwLock<Arc<Loaded>>);

#[derive(Debug)]
struct Loaded {
    key: Arc<CertifiedKey>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

impl Server {
    /// # Errors
    /// When a file cannot be read, holds nothing usable, or the key is not the certificate's.
    pub fn load(files: ServerFiles) -> Result<Server, BadFile> {
        let contents = files.read()?;
        let loaded = files.load(&contents)?;
        Ok(Server {
            files: Arc::new(files),
            current: Arc::new(Current(RwLock::new(Arc::new(loaded)))),
            seen: Arc::new(Mutex::new(contents)),
        })
    }

    /// The configuration of a listener, HTTP/1.1 by ALPN. Handshakes that begin after a reload see the new files.
    pub fn config(&self) -> ServerConfig {
        if self.files.client_ca.is_none() {
            return self.config_without_clients();
        }
        let builder =
            builder().with_client_cert_verifier(Arc::clone(&self.current) as Arc<dyn ClientCertVerifier>);
        let mut config = builder.with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A resumed session is not verified again: a client whose CA was taken away would stay accepted.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        config
    }

    /// Like [`config`](Self::config), without asking for a client's certificate: for a listener that a kubelet probes, which has none.
    pub fn config_without_clients(&self) -> ServerConfig {
        let mut config = builder()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.current) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }

    /// Looks at the files every 2 s and takes over what they say. Files that cannot be used are logged, and the last good ones stay.
    pub async fn follow(self) {
        let mut complaint = None;
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.reload() {
                Ok(true) => {
                    tracing::info!(certificate = %self.files.certificate.display(), "the TLS files have changed and are in use")
                }
                Ok(false) => {}
                // In a swap of several files some are new before others, so this may be over at the next look.
                Err(bad) if complaint.as_ref() == Some(&bad) => continue,
                Err(bad) => {
                    tracing::error!(error = %bad, error.type = "unusable_files", "the TLS files have changed and cannot be used; the last good ones stay");
                    complaint = Some(bad);
                    continue;
                }
            }
            complaint = None;
        }
    }

    /// Whether there was something new.
    fn reload(&self) -> Result<bool, BadFile> {
        let contents = self.files.read()?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == contents {
            return Ok(false);
        }
        let loaded = Arc::new(self.files.load(&contents)?);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        *seen = contents;
        Ok(true)
    }
}

fn builder() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    ServerConfig::builder_with_provider(crate::provider())
        .with_safe_default_protocol_versions()
        .expect("aws-lc-rs has suites for TLS 1.2 and 1.3")
}

impl ServerFiles {
    fn read(&self) -> Result<Contents, BadFile> {
        Ok(Contents {
            certificate: files::read(&self.certificate)?,
            key: files::read(&self.key)?,
            client_ca: self.client_ca.as_deref().map(files::read).transpose()?,
        })
    }

    fn load(&self, contents: &Contents) -> Result<Loaded, BadFile> {
        let chain = files::certificates(&self.certificate, &contents.certificate)?;
        let key = files::key(&self.key, &contents.key)?;
        let key = CertifiedKey::from_der(chain, key, &crate::provider())
            .map_err(|error| BadFile::new(&self.certificate, format!("does not go with its key: {error}")))?;
        let clients = match (&self.client_ca, &contents.client_ca) {
            (Some(path), Some(pem)) => {
                let roots = Arc::new(files::roots(path, pem)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, crate::provider())
                    .build()
                    .map_err(|error| BadFile::new(path, error.to_string()))?;
                Some(verifier)
            }
            _ => None,
        };
        Ok(Loaded {
            key: Arc::new(key),
            clients,
        })
    }
}

impl Current {
    fn get(&self) -> Arc<Loaded> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn clients(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let clients = self.get().clients.clone();
        clients.ok_or_else(|| Error::General("no client CA is loaded".to_owned()))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.get().key))
    }
}

impl ClientCertVerifier for Current {
    /// None: hints are for clients that have several certificates to choose from, and would have to outlive a reload.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.clients()?.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients()?
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.clients()?
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        crate::provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
