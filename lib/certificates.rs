//! The system's certificate authorities.

use std::path::{Path, PathBuf};

/// Where a sandbox with secrets has the system's authorities and the one of its own, in one bundle.
pub const OWN_BUNDLE: &str = "/etc/ssl/sbox-authorities.pem";

/// The variables by which programs find a bundle: OpenSSL and Python's ssl and httpx; requests; pip; curl; git; Node.js and
/// what is made with it; npm; AWS's clients; cargo; Deno; gRPC; Nix's programs; Ruby's bundler; httplib2.
pub const VARIABLES: [&str; 14] = [
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "npm_config_cafile",
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "DENO_CERT",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "NIX_SSL_CERT_FILE",
    "BUNDLE_SSL_CA_CERT",
    "HTTPLIB2_CA_CERTS",
];

/// The places of bundles on this host, by their real paths: Go and what is linked with a system's library look there.
pub fn bundles() -> Vec<PathBuf> {
    const PLACES: [&str; 6] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/ssl/cert.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/pki/tls/cacert.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/ca-bundle.pem",
    ];
    let mut all: Vec<PathBuf> = PLACES.iter().filter_map(|place| Path::new(place).canonicalize().ok()).collect();
    all.retain(|place| place.starts_with("/etc") && place.is_file());
    all.sort();
    all.dedup();
    all
}

/// The system's bundle of certificate authorities: Debian and Alpine, Fedora, openSUSE. Programs that bring a bundle of
/// their own (pip, Node.js) need its path, or they do not know a company's authority.
pub fn system_bundle() -> Option<&'static str> {
    const BUNDLES: [&str; 3] =
        ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem"];
    BUNDLES.into_iter().find(|path| Path::new(path).is_file())
}
