#![expect(
    clippy::unwrap_used,
    reason = "only tests call it, and they fail by panicking"
)]

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// A certificate authority made for one test, and a folder for what it signs; both go with this value.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: TempDir,
}

/// A certificate and its key, as files in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Identity {
    /// Puts another one in its place, as a rotation does: each file at once.
    pub fn become_copy_of(&self, other: &Identity) {
        for (to, from) in [(&self.certificate, &other.certificate), (&self.key, &other.key)] {
            let fresh = to.with_extension("fresh");
            std::fs::copy(from, &fresh).unwrap();
            std::fs::rename(&fresh, to).unwrap();
        }
    }

    /// Certificate and key in one text, as Java wants them.
    pub fn pem(&self) -> String {
        let read = |path| std::fs::read_to_string(path).unwrap();
        format!("{}{}", read(&self.key), read(&self.certificate))
    }
}

impl Authority {
    /// `name` is the CA's common name.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = Authority {
            issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap(),
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::write(authority.ca(), authority.issuer.pem()).unwrap();
        authority
    }

    /// The folder, in which a test may put files of its own.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The CA's own certificate, PEM.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// A server's certificate for these names and addresses.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.sign(names, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
        })
    }

    /// The certificate of one of several servers that are each other's clients.
    pub fn peer(&self, names: &[&str]) -> Identity {
        self.sign(names, |params| {
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
        })
    }

    /// A server's certificate whose time is over.
    pub fn expired_server(&self, names: &[&str]) -> Identity {
        self.sign(names, |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    /// A client's certificate; its common name is `name`.
    pub fn client(&self, name: &str) -> Identity {
        self.sign(&[], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.distinguished_name.push(DnType::CommonName, name);
        })
    }

    fn sign(&self, names: &[&str], adapt: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        adapt(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let stem = self.dir.path().join(uuid::Uuid::now_v7().simple().to_string());
        let identity = Identity {
            certificate: stem.with_extension("pem"),
            key: stem.with_extension("key"),
        };
        std::fs::write(&identity.certificate, certificate.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}
