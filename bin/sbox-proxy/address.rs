//! Dialling a name, if its address is one that may be dialled ([`libsbox::address`]).

use libsbox::address::PRIVATE;
pub use libsbox::address::forbidden;
use libsbox::model::Place;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long a connection may take to be made, for each address of a name.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// Why nothing was dialled.
pub enum DialError {
    /// The name has no address.
    Unknown(String),
    /// It has, but none that may be dialled.
    Forbidden(IpAddr, &'static str),
    /// Nobody answered.
    Unreachable(String),
}

/// Resolves a name, once, and connects to the first of its addresses that may be dialled and answers. What was looked at
/// is what is dialled: a name that means something else a moment later makes no difference.
pub fn dial(name: &str, port: u16, place: Place) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> = match place {
        Place::At(address) => vec![SocketAddr::new(address, port)],
        _ => (name, port)
            .to_socket_addrs()
            .map_err(|error| DialError::Unknown(libsbox::error::reason(&error)))?
            .collect(),
    };
    let mut why = DialError::Unknown("it has no address".into());
    for address in addresses.into_iter().take(8) {
        let reason = match place {
            Place::At(_) => None,
            Place::Private => forbidden(address.ip()).filter(|reason| *reason != PRIVATE),
            Place::Public => forbidden(address.ip()),
        };
        if let Some(reason) = reason {
            why = DialError::Forbidden(address.ip(), reason);
            continue;
        }
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => why = DialError::Unreachable(libsbox::error::reason(&error)),
        }
    }
    Err(why)
}
