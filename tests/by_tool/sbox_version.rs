use crate::common::Scratch;

#[test]
fn prints_the_version_of_the_package() {
    let scratch = Scratch::new("version");
    let text = format!("sbox version {}\n", env!("CARGO_PKG_VERSION"));
    scratch.program("sbox-version").assert().success().stdout(text.clone());
    scratch.program("sbox").arg("--version").assert().success().stdout(text);
}

#[test]
fn extra_arguments_are_wrong_usage() {
    Scratch::new("version-usage").program("sbox-version").arg("x").assert().code(2);
}
