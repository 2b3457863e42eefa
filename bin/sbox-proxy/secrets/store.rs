//! The values, as they come from `sbox-secrets` through a descriptor: at first all of them, later those that have changed.

use libsbox::error::{Context, Error, Result};
use libsbox::model::HostRule;
use libsbox::model::secret::{Delivered, Places};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::sync::{Arc, RwLock};

/// The secrets as one request finds them.
pub struct View {
    /// Of the host that is asked.
    pub own: Vec<Arc<Secret>>,
    /// Of other hosts.
    pub others: Vec<Arc<Secret>>,
}

/// A secret, as the proxy knows it.
pub struct Secret {
    pub name: String,
    hosts: Vec<HostRule>,
    pub places: Places,
    pub placeholder: String,
    /// What goes out now, and what did before: an answer may still have that.
    values: Vec<String>,
    /// Why there is none.
    why: Option<String>,
}

impl Secret {
    fn of(line: Delivered, before: Option<&Secret>) -> Result<Secret> {
        let hosts = line.hosts.iter().map(|rule| HostRule::parse(rule)).collect::<std::result::Result<_, _>>();
        let mut values: Vec<String> = line.value.into_iter().collect();
        for old in before.iter().flat_map(|before| &before.values) {
            if !values.contains(old) && values.len() < 4 {
                values.push(old.clone());
            }
        }
        let hosts = hosts.map_err(Error::new)?;
        Ok(Secret { name: line.name, hosts, places: line.places, placeholder: line.placeholder, values, why: line.why })
    }

    /// What goes out in the placeholder's place, or why nothing does.
    pub fn value(&self) -> std::result::Result<&str, String> {
        match (&self.why, self.values.first()) {
            (None, Some(value)) => Ok(value),
            (why, _) => {
                let why = why.as_deref().unwrap_or("it has no value");
                Err(format!("there is nothing to put in the place of '{}': {why}", self.name))
            }
        }
    }

    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(String::as_str)
    }

    pub fn is_of(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|rule| rule.matches(host, port))
    }

    #[cfg(test)]
    pub fn for_a_test(name: &str, placeholder: &str, value: &str, places: Places) -> Secret {
        Secret {
            name: name.into(),
            hosts: Vec::new(),
            places,
            placeholder: placeholder.into(),
            values: vec![value.into()],
            why: None,
        }
    }
}

/// All of them.
pub struct Store(Arc<RwLock<Vec<Arc<Secret>>>>);

impl Store {
    /// Reads the first of what comes, and goes on to read what follows.
    pub fn read(from: OwnedFd) -> Result<(Store, impl FnOnce() + Send + 'static)> {
        let mut lines = BufReader::new(std::fs::File::from(from));
        let store = Store(Arc::default());
        while next(&mut lines, &store)? {}
        let own = Store(Arc::clone(&store.0));
        // The end of the line is the end of whoever sends the values: those that are known stay.
        Ok((store, move || while next(&mut lines, &own).is_ok() {}))
    }

    pub fn is_of(&self, host: &str, port: u16) -> bool {
        self.all().iter().any(|secret| secret.is_of(host, port))
    }

    pub fn all(&self) -> Vec<Arc<Secret>> {
        self.0.read().map(|all| all.clone()).unwrap_or_default()
    }

    pub fn view(&self, host: &str, port: u16) -> View {
        let (own, others) = self.all().into_iter().partition(|secret| secret.is_of(host, port));
        View { own, others }
    }
}

/// Reads one; tells whether another follows at once.
fn next(lines: &mut BufReader<std::fs::File>, store: &Store) -> Result<bool> {
    let mut line = String::new();
    let shown = || String::from("read the secrets");
    if lines.read_line(&mut line).context(shown)? == 0 {
        return Err(Error::new("the secrets did not come"));
    }
    let line: Delivered = serde_json::from_str(&line).map_err(|_| Error::new("cannot read the secrets"))?;
    let more = line.more;
    let lost = |_| Error::new("cannot keep the secrets");
    let mut all = store.0.write().map_err(lost)?;
    let before = all.iter().position(|secret| secret.name == line.name);
    let secret = Arc::new(Secret::of(line, before.map(|at| &*all[at]))?);
    match before {
        Some(at) => all[at] = secret,
        None => all.push(secret),
    }
    Ok(more)
}
