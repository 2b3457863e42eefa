//! Channels: where packages come from. Their addresses may have a password in them, which is for micromamba only.

use libsbox::error::{Error, Result};
use libsbox::escape;
use libsbox::lockfile::Package;

/// Where packages come from if nobody says so: the community's channel.
pub const DEFAULT: &str = "conda-forge";

/// The address without a user, a password, or a token (`/t/TOKEN/`, as Anaconda's servers have it). micromamba shows the
/// same with stars in their place.
pub fn shown(text: &str) -> String {
    let public = |part: &str| {
        let Some((scheme, rest)) = part.split_once("://") else { return part.to_owned() };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.rsplit('@').next().unwrap_or(host);
        let mut segments: Vec<&str> = path.split('/').collect();
        if let Some(at) = segments.windows(2).position(|pair| pair[0] == "t" && !pair[1].is_empty()) {
            segments.drain(at..at + 2);
        }
        format!("{scheme}://{host}/{}", segments.join("/")).trim_end_matches('/').to_owned()
    };
    text.split(", ").map(public).collect::<Vec<_>>().join(", ")
}

pub fn without_passwords(packages: Vec<Package>) -> Vec<Package> {
    packages.into_iter().map(|package| Package { url: shown(&package.url), ..package }).collect()
}

/// The same packages with the passwords of the channels that they are from.
pub fn with_passwords(packages: &[Package], channels: &[String]) -> Vec<Package> {
    let full = |url: &str| {
        let url = &*shown(url);
        let of = |channel: &&String| below(url, &shown(channel)).is_some() && shown(channel) != **channel;
        match channels.iter().find(of) {
            Some(channel) => {
                format!("{}/{}", channel.trim_end_matches('/'), below(url, &shown(channel)).unwrap_or_default())
            }
            None => url.to_owned(),
        }
    };
    packages.iter().map(|package| Package { url: full(&package.url), ..package.clone() }).collect()
}

fn below<'a>(url: &'a str, channel: &str) -> Option<&'a str> {
    url.strip_prefix(channel.trim_end_matches('/'))?.strip_prefix('/')
}

/// Refuses a package that is not from one of the channels: a lock may have come with an archive,
/// and who accepted its channels has not accepted others.
pub fn only_from(packages: &[Package], channels: &[String]) -> Result<()> {
    let usual = [DEFAULT.to_owned()];
    let channels = if channels.is_empty() { &usual } else { channels };
    let strange = |package: &&Package| {
        let url = shown(&package.url);
        url.contains("/../")
            || !channels.iter().any(|channel| {
                // What a name refers to, micromamba knows.
                match channel.contains("://") {
                    true => below(&url, &shown(channel)).is_some(),
                    false => url.contains(&format!("/{channel}/")),
                }
            })
    };
    match packages.iter().find(strange) {
        Some(package) => Err(Error::new(format!(
            "'{}' is not from one of the channels: {}",
            escape::visible(&package.name),
            escape::visible(&shown(&package.url))
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_come_and_go() {
        let channel = String::from("https://me:secret@host/t/tk-1/private");
        assert_eq!(shown(&channel), "https://host/private");
        assert_eq!(shown("conda-forge, https://u@h/c/"), "conda-forge, https://h/c");
        let package = Package { url: "https://host/private/noarch/x-1-0.conda".into(), ..Package::default() };
        let full = with_passwords(std::slice::from_ref(&package), &[channel]);
        assert_eq!(full[0].url, "https://me:secret@host/t/tk-1/private/noarch/x-1-0.conda");
        assert_eq!(without_passwords(full), std::slice::from_ref(&package));
        // What micromamba chooses has stars in their place.
        let masked =
            Package { url: "https://me:*****@host/t/**********/private/noarch/x-1-0.conda".into(), ..package.clone() };
        let full = with_passwords(std::slice::from_ref(&masked), &["https://me:secret@host/t/tk-1/private".into()]);
        assert_eq!(full[0].url, "https://me:secret@host/t/tk-1/private/noarch/x-1-0.conda");
        assert_eq!(without_passwords(vec![masked]), [package]);
        assert_eq!(shown("https://host/conda/t/tk-1/private/"), "https://host/conda/private");
    }
}
