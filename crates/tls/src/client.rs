//! The client's side: whom it trusts, and its own certificate where a server asks for one.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::files::{self, BadFile};

/// The files behind a client's connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// CA certificates, PEM; without them the operating system's store is trusted.
    pub ca: Option<PathBuf>,
    /// The client's certificate chain and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// How much of the server's certificate has to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// It leads to a trusted CA, is valid now, and bears the server's name.
    Full,
    /// It leads to a trusted CA and is valid now, whatever its name.
    Chain,
    /// Nothing: encrypted, to whoever answers.
    Nothing,
}

/// Makes the configuration of each new connection from the files as they are then.
#[derive(Debug)]
pub struct Client {
    files: ClientFiles,
    last: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    verify: Verify,
    contents: Contents,
    config: Arc<ClientConfig>,
}

#[derive(Debug, PartialEq, Eq)]
struct Contents {
    ca: Option<Vec<u8>>,
    identity: Option<(Vec<u8>, Vec<u8>)>,
}

impl Client {
    pub fn new(files: ClientFiles) -> Client {
        Client {
            files,
            last: Mutex::new(None),
        }
    }

    /// The configuration for a new connection; the one before when no file has changed, so that sessions resume. ALPN is not set.
    ///
    /// # Errors
    /// When a file cannot be read or holds nothing usable, or the operating system has no CA certificates.
    pub fn config(&self, verify: Verify) -> Result<Arc<ClientConfig>, BadFile> {
        let contents = self.files.read()?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &*last
            && made.verify == verify
            && made.contents == contents
        {
            return Ok(Arc::clone(&made.config));
        }
        let config = Arc::new(self.make(verify, &contents)?);
        *last = Some(Made {
            verify,
            contents,
            config: Arc::clone(&config),
        });
        Ok(config)
    }

    pub fn files(&self) -> &ClientFiles {
        &self.files
    }

    fn make(&self, verify: Verify, contents: &Contents) -> Result<ClientConfig, BadFile> {
        let provider = crate::provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs has suites for TLS 1.2 and 1.3");
        let builder = match verify {
            Verify::Full => builder.with_root_certificates(self.roots(contents)?),
            less => {
                let chain = match less {
                    Verify::Nothing => None,
                    _ => Some(self.chain(contents, &provider)?),
                };
                let verifier = Arc::new(Lenient { chain, provider });
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        let (Some((certificate_path, key_path)), Some((certificate, key))) =
            (&self.files.identity, &contents.identity)
        else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = files::certificates(certificate_path, certificate)?;
        let key = files::key(key_path, key)?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| BadFile::new(certificate_path, format!("does not go with its key: {error}")))
    }

    fn chain(
        &self,
        contents: &Contents,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Arc<WebPkiServerVerifier>, BadFile> {
        let roots = Arc::new(self.roots(contents)?);
        WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
            .build()
            .map_err(|error| BadFile::new(&self.ca_name(), error.to_string()))
    }

    fn roots(&self, contents: &Contents) -> Result<RootCertStore, BadFile> {
        if let Some(pem) = &contents.ca {
            return files::roots(&self.ca_name(), pem);
        }
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        // Some of what a system's store holds is older than what can be parsed.
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            let reason = format!("has no CA certificates; name a CA file ({})", reasons.join("; "));
            return Err(BadFile::new(&self.ca_name(), reason));
        }
        Ok(roots)
    }

    fn ca_name(&self) -> PathBuf {
        self.files
            .ca
            .clone()
            .unwrap_or_else(|| PathBuf::from("the operating system"))
    }
}

impl ClientFiles {
    fn read(&self) -> Result<Contents, BadFile> {
        Ok(Contents {
            ca: self.ca.as_deref().map(files::read).transpose()?,
            identity: match &self.identity {
                Some((certificate, key)) => Some((files::read(certificate)?, files::read(key)?)),
                None => None,
            },
        })
    }
}

/// Overlooks the name, and without `chain` everything but that the server holds the key of the certificate that it shows.
#[derive(Debug)]
struct Lenient {
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is looked at last, so that this error says that the rest is right.
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            outcome => outcome,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
