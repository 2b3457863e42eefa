//! The system's certificate authorities.

use std::path::Path;

/// The system's bundle of certificate authorities: Debian and Alpine, Fedora, openSUSE. Programs that bring a bundle of
/// their own (pip, Node.js) need its path, or they do not know a company's authority.
pub fn system_bundle() -> Option<&'static str> {
    const BUNDLES: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];
    BUNDLES.into_iter().find(|path| Path::new(path).is_file())
}
