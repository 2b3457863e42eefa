//! Files of an archive that host-side commands believe only as far as they must: `sbox.lock`, the entry of a runtime, the
//! record of daemons.
#![no_main]

use libsbox::daemon::processes;
use libfuzzer_sys::fuzz_target;
use libsbox::{cache, lockfile::Lockfile, project::Project, daemon::record};

fuzz_target!(|bytes: &[u8]| {
    let root = sbox_fuzz::directory().join("project");
    std::fs::create_dir_all(root.join(".sbox")).expect("a directory in memory can be made");
    let Ok(project) = Project::at(&root) else { panic!("a plain path is a project") };
    for name in ["sbox.lock", ".sbox/processes.json"] {
        std::fs::write(root.join(name), bytes).expect("a file in memory can be written");
    }
    let _ = Lockfile::read(&project);
    for record in processes::list(&project).unwrap_or_default() {
        let _ = (record.shown_status(), record.uptime());
    }
    if let Ok(entry) = serde_json::from_slice::<cache::Entry>(bytes) {
        let _ = (cache::version_key(&entry.version), cache::fingerprint(&entry.request, &entry.packages));
    }
});
