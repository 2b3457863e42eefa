//! A profile for AppArmor, for hosts where it keeps user namespaces from programs without one (Ubuntu 23.10 and later).

use libsbox::error::Result;
use libsbox::plumbing;

/// The profile for `sbox-spawn` where it is installed. It permits one thing more than having none: `userns`.
pub fn text() -> Result<String> {
    let program = plumbing::exec_path()?.join("sbox-spawn");
    let path = program.display();
    Ok(format!(
        "\
# Lets sbox-spawn make user namespaces; nothing else changes for it, and nothing for other programs.
# As an administrator:
#   sbox doctor --apparmor-profile > /etc/apparmor.d/sbox-spawn
#   apparmor_parser -r /etc/apparmor.d/sbox-spawn
abi <abi/4.0>,
include <tunables/global>

profile sbox-spawn \"{path}\" flags=(unconfined) {{
  userns,

  include if exists <local/sbox-spawn>
}}
"
    ))
}
