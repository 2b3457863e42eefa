//! Keys that the agent uses and never holds. For the hosts of a secret, and only for those, TLS ends here: what the agent
//! sends in a key's place is exchanged for the key on its way out, and back on its way in.

mod authority;
mod body;
pub mod clear;
mod exchange;
mod head;
mod relay;
mod replace;
mod store;
mod swap;

use crate::base64;
use authority::Authority;
use libsbox::error::{Context, Error, Result};
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use store::Store;

/// All that is needed to end TLS and to begin it again.
pub struct Interception {
    pub store: Store,
    authority: Authority,
    client: Arc<ClientConfig>,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

impl Interception {
    /// Takes the values from a descriptor. What it gives beside itself waits for changes, and wants a thread.
    pub fn new(fd: i32) -> Result<(Interception, impl FnOnce() + Send + 'static)> {
        let fd = libsbox::sys::adopt(fd).context(|| format!("take the secrets from descriptor {fd}"))?;
        let (store, later) = Store::read(fd)?;
        Ok((Interception { store, authority: Authority::new()?, client: client()? }, later))
    }

    /// The certificate of the authority, as it stands in a bundle.
    pub fn certificate(&self) -> String {
        let text = base64::encode(self.authority.der());
        let lines: Vec<&str> =
            text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap_or_default()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    }
}

pub use relay::serve;

/// Towards servers: what the host itself trusts, and nothing else.
fn client() -> Result<Arc<ClientConfig>> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map_or("there are none".into(), ToString::to_string);
        return Err(Error::new(format!("cannot read this host's certificate authorities: {why}"))
            .hint("without them no server of a secret can be known; install ca-certificates, or set SSL_CERT_FILE"));
    }
    let wrong = |error: rustls::Error| Error::new(format!("cannot prepare TLS: {error}"));
    let config =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(wrong)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
