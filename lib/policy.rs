//! What the agent may know of its own limits, in plain English: `/.sbox-policy`, and a tool of `sbox mcp`.
//!
//! Where something is on the host is the host's affair: only paths inside are in it, and names that the network leads to
//! without the addresses that somebody wrote down for them.

use crate::built::Built;
use crate::config::Config;
use crate::escape::{visible, visible_path};
use crate::model::{HostRule, MountMode, Network};
use crate::name_rules::NameRules;
use crate::project::Project;
use std::fmt::Write;

/// Where it is inside.
pub const PLACE: &str = "/.sbox-policy";

/// More than these are counted, and not listed: the text travels as one argument.
const MOST: usize = 200;

/// The text.
pub fn text(project: &Project, config: &Config, rules: &NameRules) -> String {
    let inside = Built::seen_from_inside(project);
    let mut out =
        String::from("This is a sandbox made by sbox. A file that is not listed here does not exist in it.\n\nFiles\n");
    let mut line = |place: &str, what: &str| {
        let _ = writeln!(out, "  {place:<24} {what}");
    };
    for mount in config.mount.iter().take(MOST) {
        let what = match mount.mode {
            MountMode::ReadOnly => "read-only",
            MountMode::ReadWrite => "read-write: what you change is changed for the user at once",
            MountMode::CopyOnWrite => "copy-on-write: change what you like; the user takes over what they want",
        };
        line(&visible_path(&mount.dst), what);
    }
    if config.mount.len() > MOST {
        line("...", &format!("and {} more", config.mount.len() - MOST));
    }
    line("/home", "your home, HOME; it stays between runs");
    line("/tmp", "for files that nobody needs later");
    line(&visible_path(inside.env()), "the environment: programs and packages, which you may change");
    line("/usr, /bin, /lib", "the system's programs, read-only; /etc has a few of its files");
    out += "\nNetwork\n";
    network(&mut out, config, rules);
    let limits = config.limits.written();
    out += "\nLimits\n";
    match limits.is_empty() {
        true => out += "  none but the machine's own\n",
        false => limits.iter().for_each(|limit| out += &format!("  {}\n", visible(limit))),
    }
    out += match config.nested {
        true => "\nUser namespaces and mounts of your own are allowed.\n",
        false => "\nUser namespaces, mounts, set-uid programs and debugging of others are refused.\n",
    };
    out += "\nNothing in here can change this. If something is missing, tell the user, who can change the configuration\n\
            of the sandbox; 'sbox why PATH', 'sbox why HOST' or 'sbox why PROGRAM', run by the user, names the line.\n";
    out
}

fn network(out: &mut String, config: &Config, rules: &NameRules) {
    match &config.network {
        Network::Host => out.push_str("  the user's\n"),
        Network::None => out.push_str("  none\n"),
        Network::Allow { .. } => {
            out.push_str(
                "  only these names, by HTTP or HTTPS through the proxy that the environment names (http_proxy);\n  \
                 others are answered with 403 and the line that the user could add\n",
            );
            list(out, "allowed", rules.allow.iter().map(|rule| &rule.rule));
            list(out, "denied", rules.deny.iter().map(|rule| &rule.rule));
        }
    }
    for (host, inside) in &config.reach {
        let _ = writeln!(out, "  localhost:{inside} leads to port {host} of the user's machine");
    }
    for (host, inside) in &config.ports {
        let _ = writeln!(out, "  what listens on port {inside} in here is reached by the user on port {host}");
    }
}

fn list<'a>(out: &mut String, what: &str, rules: impl Iterator<Item = &'a HostRule>) {
    let all: Vec<String> = rules.map(|rule| visible(rule.to_string().split('=').next().unwrap_or_default())).collect();
    for name in all.iter().take(MOST) {
        let _ = writeln!(out, "  {what}: {name}");
    }
    if all.len() > MOST {
        let _ = writeln!(out, "  {what}: and {} more", all.len() - MOST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn it_says_what_is_there_and_nothing_of_the_host() {
        let root = Path::new("/srv/secret-place/p");
        let config = "runtime: node:22\nmount: [\"/usr/include:/inc:ro\", \"/usr/lib:/work\"]\n\
                      network: {allow: [a.example.org=10.9.8.7, \"b.example.org:8443\"], deny: [c.example.org]}\n\
                      env: {TOKEN: abc123}\nlimits: {memory: 1G}\nreach: [5432]\n";
        let config = crate::check::check(config, root).config.unwrap();
        let project = Project::at(root).unwrap();
        let rules = NameRules::of(&project, &config, &crate::environment::Host::own());
        let text = text(&project, &config, &rules);
        for wanted in [
            "/inc",
            "read-only",
            "a.example.org\n",
            "b.example.org:8443\n",
            "denied: c.example.org",
            "memory=1G",
            "localhost:5432",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        for hidden in ["/usr/include", "10.9.8.7", "abc123", "TOKEN"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
    }
}
