//! Channel binding: what ties an exchange above TLS to the certificate below it.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode as _, Reader as _};

use crate::handshake::ClientStream;

/// The `tls-server-end-point` of RFC 5929 (4.1): the hash of the certificate that the server showed. `None` where the certificate's
/// signature names no hash function of its own (Ed25519, RSA-PSS).
pub fn server_end_point<S>(stream: &ClientStream<S>) -> Option<Vec<u8>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    let algorithm = signature_hash(certificate)?;
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// The hash function of the certificate's signature, or SHA-256 where that would be MD5 or SHA-1.
fn signature_hash(certificate: &[u8]) -> Option<&'static digest::Algorithm> {
    let read = |certificate: &[u8]| -> der::Result<ObjectIdentifier> {
        AnyRef::from_der(certificate)?.sequence(|fields| {
            let _to_be_signed: AnyRef<'_> = fields.decode()?;
            let algorithm: AnyRef<'_> = fields.decode()?;
            let _signature: AnyRef<'_> = fields.decode()?;
            algorithm.sequence(|fields| {
                let oid = fields.decode()?;
                let _parameters: Option<AnyRef<'_>> = fields.decode()?;
                Ok(oid)
            })
        })
    };
    match read(certificate).ok()?.to_string().as_str() {
        // RSA (PKCS #1 v1.5) and ECDSA, with MD5, SHA-1 or SHA-256.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.1"
        | "1.2.840.10045.4.3.2" => Some(&SHA256),
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => Some(&SHA384),
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => Some(&SHA512),
        _ => None,
    }
}
