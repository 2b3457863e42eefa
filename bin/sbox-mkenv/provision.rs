//! Who provides the runtimes: the cache, a provider that the lock names, or the first that can.

use crate::Wanted;
use crate::clone;
use crate::provider::{Ask, MULTI_RUNTIME, Made, Provider};
use libsbox::cache::{self, Draft, Entry};
use libsbox::error::{Error, Kind, Result};
use libsbox::escape;
use libsbox::fs;
use libsbox::lockfile::{Package, RuntimeRecord};
use libsbox::model::{Language, Runtime};
use libsbox::output;
use libsbox::time;
use serde_json::{Value, json};

/// The cache entry that serves, which nobody removes until it was copied.
pub struct Provisioned {
    pub entry: Entry,
    runtimes: Vec<Runtime>,
    cached: bool,
    request: String,
    _lock: Option<fs::Lock>,
}

impl Provisioned {
    /// What is said of each runtime: that of the lock, and whether it came from the cache.
    pub fn records(&self) -> impl Iterator<Item = Value> {
        self.runtimes.iter().enumerate().map(|(at, runtime)| {
            let version = self.entry.versions.get(at).unwrap_or(&self.entry.version);
            let packages: &[Package] = if at == 0 { &self.entry.packages } else { &[] };
            let mut record = json!({
                "spec": runtime.to_string(), "provider": self.entry.provider, "version": version,
                "source": self.entry.source, "cached": self.cached, "packages": packages,
            });
            if !self.request.is_empty() {
                record["request"] = self.request.clone().into();
            }
            record
        })
    }
}

/// Providers that cannot, and their reasons.
type Refusals = Vec<(String, String)>;

pub fn provision(wanted: &Wanted) -> Result<Vec<Provisioned>> {
    let mut refusals = Refusals::new();
    let may = |name: &str, record: Option<&RuntimeRecord>| match record {
        // A later build does not change to another provider by itself: what runs in it was tried with this one.
        Some(record) => record.provider == name,
        None => wanted.provider == "auto" || wanted.provider == name,
    };
    if may(MULTI_RUNTIME, wanted.lock.first())
        && let Some(served) = try_provider(wanted, MULTI_RUNTIME, &wanted.runtimes, wanted.lock.first(), &mut refusals)?
    {
        return Ok(vec![served]);
    }
    let mut one = |(at, runtime): (usize, &Runtime)| {
        let record = wanted.lock.get(at);
        let known: &[&str] = if runtime.language == Language::Python { &["host"] } else { &["npm", "host"] };
        let named =
            record.map(|record| record.provider.as_str()).or((wanted.provider != "auto").then_some(&*wanted.provider));
        let names = named.as_ref().map_or(known, std::slice::from_ref);
        for name in names.iter().filter(|name| **name != MULTI_RUNTIME) {
            if let Some(served) = try_provider(wanted, name, std::slice::from_ref(runtime), record, &mut refusals)? {
                return Ok(served);
            }
        }
        Err(nobody(wanted, runtime, &refusals))
    };
    let served = wanted.runtimes.iter().enumerate().map(&mut one).collect::<Result<Vec<_>>>()?;
    for (name, refusal) in &refusals {
        let why = refusal.lines().next().unwrap_or_default().trim_end_matches(':');
        output::info(format_args!("skipped provider '{name}': {}", escape::visible(why)));
    }
    Ok(served)
}

/// What one provider provides; nothing if it cannot, and then it said why.
fn try_provider(
    wanted: &Wanted,
    name: &str,
    runtimes: &[Runtime],
    record: Option<&RuntimeRecord>,
    refusals: &mut Refusals,
) -> Result<Option<Provisioned>> {
    let is_named = wanted.provider == name || record.is_some();
    let Some(provider) = Provider::find(name)? else {
        return match is_named {
            true => Err(Error::new(format!("there is no provider '{name}': no program sbox-mkenv-{name}"))
                .hint("use auto, conda, host or npm, or put such a program on PATH")),
            false => Ok(None),
        };
    };
    let mut asked = runtimes.to_vec();
    if let (true, Some(record), false) = (wanted.locked, record, name == MULTI_RUNTIME) {
        // Another provider has no list of packages to go by; but it can be asked for the very version.
        asked[0].version.clone_from(&record.version);
    }
    let request = Ask {
        runtimes: &asked,
        channels: &wanted.channels,
        packages: &wanted.packages,
        lock: record.filter(|_| name == MULTI_RUNTIME).map(|record| &record.packages[..]),
        update: wanted.update,
        offline: wanted.offline,
        has_fallback: !is_named,
    };
    match pin_entry(wanted, &provider, &request)? {
        Ok((entry, cached, lock)) => {
            if let (true, Some(record)) = (wanted.locked, record) {
                same_as_locked(record, &entry)?;
            }
            let runtimes = runtimes.to_vec();
            let request = wanted.request.clone();
            Ok(Some(Provisioned { entry, runtimes, cached, request, _lock: lock }))
        }
        Err(refusal) => {
            refusals.push((name.to_owned(), refusal));
            Ok(None)
        }
    }
}

/// Refuses what is not exactly what the lock says.
fn same_as_locked(record: &RuntimeRecord, entry: &Entry) -> Result<()> {
    let key = |package: &Package| (package.name.clone(), package.version.clone(), package.hash.clone());
    let sorted = |packages: &[Package]| {
        let mut keys: Vec<_> = packages.iter().map(key).collect();
        keys.sort();
        keys
    };
    let (there, here) = (sorted(&record.packages), sorted(&entry.packages));
    if there == here {
        return Ok(());
    }
    let differs = here
        .iter()
        .find(|package| !there.contains(package))
        .or_else(|| there.iter().find(|package| !here.contains(package)));
    let (name, version, _) = differs.cloned().unwrap_or_default();
    Err(Error::new(format!(
        "sbox.lock asks for other packages than provider '{}' has here: '{}' {}",
        entry.provider,
        escape::visible(&name),
        escape::visible(&version)
    ))
    .hint("sbox build, without --locked, takes what is here and writes a new lock"))
}

type Pinned = (Entry, bool, Option<fs::Lock>);

/// [`find_or_make`], with a lock by which nobody removes the entry until it was copied.
fn pin_entry(wanted: &Wanted, provider: &Provider, ask: &Ask<'_>) -> Result<std::result::Result<Pinned, String>> {
    for _ in 0..5 {
        let (entry, cached) = match find_or_make(wanted, provider, ask)? {
            Ok(found) => found,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // A cache that cannot be written is one that nobody removes anything from.
        let lock = cache::hold(&entry).ok();
        if entry.path.join("env").is_dir() {
            return Ok(Ok((entry, cached, lock)));
        }
    }
    Err(Error::new(format!("the cache entry for {} is removed again and again", ask.runtimes[0])))
}

/// The entry that serves, made if there is none, and whether it was there; or the provider's words on why it has none.
fn find_or_make(
    wanted: &Wanted,
    provider: &Provider,
    ask: &Ask<'_>,
) -> Result<std::result::Result<(Entry, bool), String>> {
    let group = &ask.runtimes[0];
    // Those of a joint provider are told apart by everything that was asked for; what one runtime alone needs, any
    // request for a runtime alone is served with.
    let request = if provider.name == MULTI_RUNTIME { &*wanted.request } else { "" };
    let exactly = ask.lock.map(|packages| cache::fingerprint(request, packages));
    let cached = |fingerprint: Option<&str>| -> Result<Option<Entry>> {
        let entries = cache::entries(group)?;
        let mut fit = entries.into_iter().filter(|entry| entry.provider == provider.name && entry.request == request);
        Ok(fit.find(|entry| fingerprint.is_none_or(|wanted| entry.fingerprint == wanted)))
    };
    if let Some(entry) = cached(exactly.as_deref())?.filter(|_| exactly.is_some()) {
        cache::touch(&entry);
        return Ok(Ok((entry, true)));
    }
    // A provider that can tell cheaply what it would make is asked, so that an upgraded interpreter is seen; for the
    // others, and for what has gone from the host since, the newest entry serves.
    let serves_as_it_is = !wanted.update && exactly.is_none();
    let before = if provider.name == MULTI_RUNTIME && serves_as_it_is { cached(None)? } else { None };
    let resolved = if before.is_some() { Ok(Made::default()) } else { provider.resolve(ask)? };
    let known = resolved.as_ref().ok().and_then(|made| made.fingerprint.clone());
    let fingerprint = exactly.clone().or(known);
    let there = |fingerprint: Option<&str>| {
        if serves_as_it_is || fingerprint.is_some() { cached(fingerprint) } else { Ok(None) }
    };
    if let Some(entry) = there(fingerprint.as_deref())? {
        cache::touch(&entry);
        return Ok(Ok((entry, true)));
    }
    if let Err(refusal) = resolved {
        return Ok(Err(refusal));
    }
    let _lock = cache::lock_making(group, request)?;
    if let Some(entry) = there(fingerprint.as_deref())? {
        return Ok(Ok((entry, true)));
    }
    let draft = Draft::new(group)?;
    let made = match provider.make(ask, &draft.env())? {
        Ok(made) => made,
        Err(refusal) => return Ok(Err(refusal)),
    };
    publish(provider, ask, made, request, draft).map(|entry| Ok((entry, false)))
}

fn publish(provider: &Provider, ask: &Ask<'_>, made: Made, request: &str, draft: Draft) -> Result<Entry> {
    let versions = if made.versions.is_empty() { vec![made.version.clone()] } else { made.versions };
    for (runtime, version) in ask.runtimes.iter().zip(&versions) {
        if !runtime.accepts(version) {
            return Err(Error::new(format!("provider '{}' made version {version} for {runtime}", provider.name)));
        }
    }
    let prefix = made.prefix.unwrap_or_else(|| draft.env());
    let entry = Entry {
        provider: provider.name.clone(),
        fingerprint: made.fingerprint.unwrap_or_else(|| fs::sha256(made.version.as_bytes())),
        version: made.version,
        versions,
        request: request.to_owned(),
        source: made.source,
        sites: clone::sites(&draft.env(), &prefix)?,
        prefix,
        made_at: time::rfc3339(time::now()),
        packages: made.packages,
        ..Entry::default()
    };
    let entry = draft.publish(entry)?;
    cache::touch(&entry);
    Ok(entry)
}

fn nobody(wanted: &Wanted, runtime: &Runtime, refusals: &Refusals) -> Error {
    for (name, refusal) in refusals {
        for line in refusal.lines() {
            output::line(format_args!("  {name}: {}", escape::visible(line)));
        }
    }
    if let (Some(record), false) = (wanted.lock.first(), wanted.locked) {
        let message = format!("{runtime} was made by provider '{}', which cannot provide it now", record.provider);
        return Error::new(message).hint("sbox build --update chooses a provider again");
    }
    if let ([(name, _)], true) = (&refusals[..], wanted.provider != "auto" || wanted.locked) {
        return Error::new(format!("provider '{name}' cannot provide {runtime}"))
            .hint("see its reason above; 'provider: auto' tries others");
    }
    let hint = match runtime.language {
        _ if !wanted.packages.is_empty() || !wanted.channels.is_empty() => {
            "'packages' and 'channels' need conda: see its reason above".into()
        }
        Language::Python => format!(
            "install Python {} somewhere sbox looks (for example: uv python install {0}, pyenv install {0}, or your system's package), or ask for a version from the list above",
            runtime.version
        ),
        Language::Node => "install npm so that Node.js can be fetched with it, or a Node.js of that version; if the registry cannot be reached, see npm's reason above".into(),
    };
    Error::of(Kind::Failure, format!("nothing on this host can provide {runtime}")).hint(hint)
}
