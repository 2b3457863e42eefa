//! One file a program.

mod sbox;
mod sbox_attempt;
mod sbox_build;
mod sbox_clean;
mod sbox_demo;
mod sbox_doctor;
mod sbox_envsh;
mod sbox_exec;
mod sbox_forward;
mod sbox_info;
mod sbox_init;
mod sbox_mkenv;
mod sbox_mkenv_host;
mod sbox_mkenv_npm;
mod sbox_proxy;
mod sbox_relocate;
mod sbox_run;
mod sbox_shell;
mod sbox_spawn;
mod sbox_stage;
mod sbox_status;
mod sbox_trust;
mod sbox_validate;
mod sbox_version;
