//! A request that is refused, and why.

use std::net::IpAddr;

/// A refusal.
pub struct Refusal {
    /// The status of the answer.
    pub code: u16,
    /// The reason, which a person reads.
    pub why: String,
    /// The entry of `allow` that would have let it through.
    pub rule: Option<String>,
}

impl Refusal {
    pub fn new(code: u16, why: impl Into<String>) -> Refusal {
        Refusal { code, why: why.into(), rule: None }
    }

    /// Of an address that is dialled only if it is named.
    pub fn forbidden(host: &str, address: IpAddr, why: &str) -> Refusal {
        let rule = format!("{host}={address}");
        let why = format!("'{host}' is at {address}, {why}; allow: [\"{rule}\"] would allow it");
        Refusal { code: 403, why, rule: Some(rule) }
    }
}
