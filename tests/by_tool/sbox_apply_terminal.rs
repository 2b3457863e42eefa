//! sbox apply on a terminal: one key for each change.

use crate::common::cow::{Tree, need_overlay};
use crate::common::need_program;
use crate::common::pty::Pty;
use std::process::Command;

/// `sbox apply -i` in a tree, on a terminal.
fn asked(tree: &Tree, words: &[&str]) -> Pty {
    let mut command = Command::new(crate::common::bin().join("sbox"));
    command.args(["apply", "-i"]).args(words).current_dir(tree.root());
    command.env_clear().env("HOME", tree.scratch.home()).env("PATH", std::env::var_os("PATH").unwrap());
    command.env("TERM", "xterm");
    Pty::start(command)
}

#[test]
fn each_change_is_shown_and_asked_for_with_one_key() {
    let Some(tree) = Tree::overlay("apply-keys") else { return };
    assert!(tree.inside("for n in a b c d; do printf 'text \\033[2J%s\\n' $n >$n; done; echo x >.envrc"));
    let mut pty = asked(&tree, &[]);
    pty.expect("direnv runs it");
    pty.expect("apply '.envrc'? [y,n,a,q,?] ");
    pty.send("n");
    let shown = pty.expect("apply 'a'? ");
    assert!(shown.contains("+text \\x1b[2Ja"), "{shown}");
    pty.send("?");
    pty.expect("y apply it");
    pty.expect("apply 'a'? ");
    pty.send("y");
    pty.expect("apply 'b'? ");
    pty.send("n");
    pty.expect("apply 'c'? ");
    // Ctrl-C: the rest stays, what was chosen is applied, and the terminal is as it was.
    pty.send("\u{3}");
    pty.expect("1 change applied");
    let there = |name: &str| tree.path(name).exists();
    assert_eq!(["a", "b", "c", ".envrc"].map(there), [true, false, false, false]);
    let mut pty = asked(&tree, &[]);
    pty.expect("apply '.envrc'? ");
    // All others, and not what programs act on.
    pty.send("n");
    pty.expect("apply 'b'? ");
    pty.send("a");
    pty.expect("3 changes applied");
    assert_eq!(["b", "c", "d", ".envrc"].map(there), [true, true, true, false]);
}

#[test]
fn what_the_agent_writes_while_the_user_reads_is_not_applied() {
    if !need_overlay() || !need_program("python3") {
        return;
    }
    let tree = Tree::new("apply-while-asked");
    let mut run = tree.begin();
    // A page that is dirty already takes no new times when more is written to it.
    let signal = tree.scratch.path("signal").display().to_string();
    let program = format!(
        "import mmap, os, time\nf = open('a', 'w+b')\nf.write(b'good\\n' + b' ' * 2000 + b'\\n')\nf.flush()\n\
         m = mmap.mmap(f.fileno(), 0)\nm[0:4] = b'good'\nopen('{signal}-ready', 'w').close()\n\
         while not os.path.exists('{signal}-go'): time.sleep(0.01)\nm[0:4] = b'evil'\nopen('{signal}-done', 'w').close()\n"
    );
    let program = tree.scratch.write("agent.py", &program);
    let script = format!(
        "python3 {} </dev/null >/dev/null 2>&1 & while [ ! -e {signal}-ready ]; do sleep 0.01; done",
        program.display()
    );
    assert!(run.inside(&script));
    let mut pty = asked(&tree, &["a"]);
    let shown = pty.expect("apply 'a'? ");
    assert!(shown.contains("+good"), "{shown}");
    std::fs::write(format!("{signal}-go"), "").unwrap();
    assert!(crate::common::becomes(|| std::fs::exists(format!("{signal}-done")).unwrap()));
    pty.send("y");
    pty.expect("the agent changed it after it was shown");
    assert!(!tree.path("a").exists());
    drop(run);
}
