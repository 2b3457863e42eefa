//! The certificate authority of one run: its key is in the memory of this process and nowhere else.

use libsbox::error::{Error, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// How far back certificates begin: the clock of what looks at them may be behind, as in a guest that was asleep.
const BACK: Duration = Duration::from_secs(2 * 86_400);

/// How long they last. A daemon may run for months; no client takes one of more than 825 days.
const LASTS: Duration = Duration::from_secs(365 * 86_400);

/// How many names are kept. A rule for all names below one lets the agent ask for as many as it likes.
const MOST: usize = 256;

/// Makes certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// Of every leaf: the key of a certificate has nothing to do with the name in it.
    key: KeyPair,
    made: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(format!("cannot make a certificate: {error}"))
}

impl Authority {
    pub fn new() -> Result<Authority> {
        let mut params = params("sbox: this sandbox only");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().map_err(failed)?).map_err(failed)?;
        Ok(Authority { issuer, key: KeyPair::generate().map_err(failed)?, made: Mutex::default() })
    }

    /// Its certificate, which the sandbox has to trust.
    pub fn der(&self) -> &[u8] {
        self.issuer.der()
    }

    /// What a server of this name is to a client in the sandbox.
    pub fn server(&self, name: &str) -> Result<Arc<ServerConfig>> {
        let lost = |_| Error::new("cannot make a certificate: another thread ended in the midst of it");
        let mut made = self.made.lock().map_err(lost)?;
        if let Some(found) = made.get(name) {
            return Ok(Arc::clone(found));
        }
        let mut params = params(name);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name.try_into().map_err(failed)?)];
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let leaf = params.signed_by(&self.key, &self.issuer).map_err(failed)?;
        let chain = vec![leaf.der().clone(), CertificateDer::from(self.der().to_vec())];
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).map_err(failed)?;
        let mut config = ServerConfig::builder_with_provider(super::provider())
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(failed)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let config = Arc::new(config);
        if made.len() >= MOST {
            made.clear();
        }
        made.insert(name.to_owned(), Arc::clone(&config));
        Ok(config)
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut subject = DistinguishedName::new();
    // No more than 64 letters fit (RFC 5280, ub-common-name); what counts is the alternative name.
    subject.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    params.distinguished_name = subject;
    let now = SystemTime::now();
    params.not_before = (now - BACK).into();
    params.not_after = (now + LASTS).into();
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_certificate_and_there_are_not_too_many() {
        let authority = Authority::new().unwrap();
        let first = authority.server("api.example.org").unwrap();
        assert!(Arc::ptr_eq(&first, &authority.server("api.example.org").unwrap()));
        for number in 0..MOST + 10 {
            authority.server(&format!("n{number}.example.org")).unwrap();
        }
        assert!(authority.made.lock().unwrap().len() <= MOST);
        assert!(authority.server(&format!("{}.example.org", "a".repeat(63))).is_ok());
    }
}
