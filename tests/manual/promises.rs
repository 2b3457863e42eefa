//! No promise in the README without a test: this list says which test holds which sentence.
//!
//! Every row of "What is protected" has to be in it, and every comment beside a command. A sentence that is changed, and a
//! test that is renamed or removed, is noticed here.

use super::help::Help;
use crate::common::package;
use libsbox::commands::COMMANDS;

/// A piece of the README, and the tests that hold what it says.
const PROMISES: &[(&str, &[&str])] = &[
    ("It needs no Docker, no service and no root.", &["flow::the_python_quick_start"]),
    ("only the environment variables that you give it", &["escape::no_variable_of_the_caller_passes"]),
    ("If a file is not mounted, it does not exist for the agent.", &["escape::what_is_not_mounted_does_not_exist"]),
    (
        "does not change by a byte until you take over",
        &["escape::copy_on_write::an_agent_that_does_its_worst_leaves_the_tree_as_it_is"],
    ),
    (
        "lets a curious agent fail before your eyes",
        &[
            "by_tool::sbox_demo::a_curious_python_agent_reaches_nothing",
            "by_tool::sbox_demo::a_curious_node_agent_reaches_nothing",
        ],
    ),
    (
        "static programs for any Linux of the architecture",
        &["release::a_release_is_installed_and_removed_without_a_trace"],
    ),
    ("removes every file of it; --purge also", &["release::a_release_is_installed_and_removed_without_a_trace"]),
    (
        "says whether this machine has what sbox needs",
        &[
            "by_tool::sbox_doctor::each_thing_is_told_with_what_was_found",
            "by_tool::sbox_doctor::a_host_without_user_namespaces_is_told_with_the_narrow_fix",
        ],
    ),
    (
        "sbox init . -t claude-code",
        &[
            "agents::templates::a_template_is_a_configuration_that_is_the_users_own",
            "agents::real::claude_code_does_a_task",
        ],
    ),
    ("or log in inside, once", &["agents::home::a_login_outlives_a_build_from_scratch"]),
    ("what it changed, as git shows it", &["by_tool::sbox_diff::git_applies_text_with_every_kind_of_end"]),
    ("-n shows what would happen", &["by_tool::sbox_apply::dry_run_prints_and_changes_nothing"]),
    (
        "its commits, from 'main' into 'sbox/main'",
        &["escape::copy_on_write::commits_come_over_as_a_branch_and_nothing_else"],
    ),
    (
        "or forget it; --force forgets everything",
        &[
            "by_tool::sbox_discard::named_changes_are_forgotten_and_the_host_is_as_it_was",
            "by_tool::sbox_discard::everything_is_forgotten_when_that_is_said",
        ],
    ),
    (
        "What the agent changed is kept across runs and builds.",
        &["escape::copy_on_write::changes_live_across_runs_and_builds_and_are_applied"],
    ),
    (
        "your edits show inside within a second",
        &["escape::overlay::what_the_user_changes_on_the_host_shows_inside_and_the_agents_changes_stay"],
    ),
    (
        "A file that both of you changed is a conflict",
        &["by_tool::sbox_apply::what_changed_on_both_sides_is_named_and_left"],
    ),
    (
        "are applied only when you name them",
        &[
            "by_tool::sbox_apply::files_that_programs_act_on_are_applied_only_when_named",
            "by_tool::sbox_apply::git_data_is_never_applied_as_files",
        ],
    ),
    (
        "none of the agent's hooks and settings",
        &["escape::copy_on_write::nothing_of_the_agents_repository_is_run_when_its_commits_come_over"],
    ),
    (
        "`sbox init .` reads what is there",
        &[
            "by_tool::sbox_init::files_of_node_say_the_version_and_who_installs",
            "by_tool::sbox_init::files_of_python_say_the_version_and_who_installs",
        ],
    ),
    (
        "`sbox edit` opens the configuration and checks it",
        &["by_tool::sbox_edit::a_wrong_text_an_unchanged_one_and_a_failing_editor_change_nothing"],
    ),
    (
        "`sbox add PACKAGE...` installs and writes it down",
        &["by_tool::sbox_add::a_package_is_installed_and_written_between_the_comments"],
    ),
    (
        "your shell's; the agent has a placeholder, that host gets the key",
        &[
            "secrets::the_agent_uses_a_key_that_it_never_holds",
            "secrets::packs_and_scripts_have_neither_key_nor_placeholder",
            "by_tool::sbox_run::variables_come_from_the_host_by_name_only",
            "by_tool::sbox_envsh::the_script_runs_nothing_and_holds_no_secret",
        ],
    ),
    ("Its sandbox is gone afterwards.", &["one_off::a_run_without_a_project_is_gone_afterwards"]),
    (
        "If changes wait in it, it is kept, and sbox says where.",
        &["one_off::changes_in_a_copy_on_write_mount_wait_until_they_are_applied_or_discarded"],
    ),
    ("The same options change one run of", &["one_off::options_hold_for_one_run_of_a_project"]),
    (
        "lists everything that is wrong with it, by line and column",
        &["by_tool::sbox_validate::all_findings_are_printed_in_the_documented_format"],
    ),
    ("an account list without your other users", &["escape::facts_about_the_host_are_synthetic"]),
    (
        "not the configuration of the next run",
        &["escape::overlay::of_a_state_directory_only_the_configuration_shows_and_it_cannot_be_changed"],
    ),
    ("| files that are not mounted |", &["escape::what_is_not_mounted_does_not_exist"]),
    (
        "| a `:ro` mount |",
        &[
            "escape::read_only_means_every_operation_and_every_submount",
            "escape::read_only_cannot_be_undone_from_inside",
        ],
    ),
    (
        "| a `:cow` mount |",
        &["escape::overlay::an_agent_that_does_its_worst_in_a_copy_on_write_mount_leaves_the_hosts_tree_as_it_is"],
    ),
    ("| your environment: tokens,", &["escape::no_variable_of_the_caller_passes"]),
    ("| open files of the shell", &["escape::inherited_descriptors_do_not_lead_out"]),
    (
        "| other processes, and sockets",
        &[
            "escape::processes_of_the_host_cannot_be_seen_or_signalled",
            "escape::attempts::nothing_gets_through_at_level_namespace",
        ],
    ),
    (
        "| system calls, capabilities, set-uid programs |",
        &["escape::there_are_no_capabilities_and_none_to_gain", "escape::no_device_node_and_no_set_uid_program_works"],
    ),
    ("| `network: none` |", &["escape::without_a_network_the_hosts_loopback_is_not_there"]),
    ("| `network: {allow: ...}` |", &["escape::network::an_allowed_name_is_reached_and_nothing_else"]),
    (
        "| a key in `secrets:` |",
        &["secrets::the_agent_uses_a_key_that_it_never_holds", "secrets::a_placeholder_leaves_to_no_host_but_its_own"],
    ),
    (
        "| memory, processors, processes, time |",
        &["escape::confinement::what_uses_too_much_is_ended_and_told_by_its_name"],
    ),
    ("| when sbox is killed, however |", &["escape::nothing_survives_the_launcher"]),
    (
        "| a configuration that somebody else wrote |",
        &["by_tool::sbox_trust::a_project_from_elsewhere_gets_nothing_before_it_is_trusted"],
    ),
    (
        "a level that you name is used, or it is an error",
        &[
            "escape::confinement::a_weaker_level_is_taken_only_when_asked_for_and_never_with_less_than_asked",
            "escape::attempts::level_landlock_keeps_what_the_readme_promises",
        ],
    ),
    ("makes about a hundred attacks on a sandbox", &["by_tool::sbox_doctor::the_self_test_says_a_line_for_each_class"]),
    (
        "What is known to be acted on is protected or moved away",
        &[
            "escape::mounts::what_was_planted_is_moved_away_and_told",
            "escape::mounts::what_programs_of_the_user_obey_is_read_only_at_any_depth",
        ],
    ),
    (
        "returns when it has started, or with its error",
        &["by_tool::sbox_supervise::what_cannot_be_executed_is_an_error_and_no_daemon"],
    ),
    ("what `sbox run -d --wait` waits for", &["by_tool::sbox_run::a_daemon_is_waited_for_until_it_is_ready"]),
    (
        "`restart: on-failure` starts it again",
        &["by_tool::sbox_supervise::a_sandbox_that_is_killed_is_started_again_where_that_is_wanted"],
    ),
    (
        "opens a port of this machine's loopback",
        &["escape::network::a_port_of_the_hosts_loopback_leads_to_a_server_inside"],
    ),
    (
        "memory and processor time of the whole sandbox",
        &[
            "by_tool::sbox_ps::what_runs_is_listed_and_what_ended_on_demand",
            "by_tool::sbox_top::daemons_and_runs_are_there_with_what_they_use",
        ],
    ),
    ("across restarts and new log files", &["by_tool::sbox_logs::the_last_lines_come_across_files_and_long_lines"]),
    ("beside it, in the same sandbox", &["by_tool::sbox_exec::a_command_joins_a_daemon_and_is_as_confined_as_it"]),
    (
        "out of the sandbox, or into it",
        &[
            "by_tool::sbox_cp::files_and_trees_go_in_and_come_out",
            "by_tool::sbox_cp::a_link_of_the_agents_leads_nowhere",
        ],
    ),
    ("the same command, from the same environment", &["by_tool::sbox_restart::command_and_environment_are_kept"]),
    ("returns when none of its processes is left", &["by_tool::sbox_stop::nothing_in_the_sandbox_survives"]),
    ("Each daemon has one small supervisor", &["by_tool::sbox_supervise::its_death_is_the_sandboxs"]),
    ("one file, the same bytes each time", &["by_tool::sbox_pack::an_archive_has_what_the_manual_says_and_no_more"]),
    ("three commands start it", &["release::a_packed_sandbox_is_started_elsewhere_with_three_commands"]),
    ("it runs no code", &["by_tool::sbox_unpack::a_hostile_archive_makes_it_read_and_write_nothing_outside"]),
    ("lists anything there that looks like a secret", &["by_tool::sbox_pack::likely_secrets_are_reported"]),
    (
        "writes an image for podman, docker and Kubernetes",
        &["by_tool::sbox_pack::engines_load_unpack_and_run_an_image"],
    ),
    ("`sbox help --install DIR` writes all of them", &["manual::every_page_is_compiled_in"]),
];

fn readme() -> String {
    std::fs::read_to_string(package().join("README.md")).unwrap()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether there is a test of this name: `escape::mounts::name` is in `tests/escape/mounts.rs`.
fn is_a_test(name: &str) -> bool {
    let (module, function) = name.rsplit_once("::").unwrap();
    let text = std::fs::read_to_string(package().join(format!("tests/{}.rs", module.replace("::", "/"))));
    text.is_ok_and(|text| {
        let before = text.split(&format!("\nfn {function}()")).next().filter(|before| before.len() < text.len());
        before.is_some_and(|before| before.lines().rev().take(4).any(|line| line == "#[test]"))
    })
}

#[test]
fn each_promise_of_the_readme_is_there_and_held_by_tests() {
    let text = one_line(&readme());
    for (promise, tests) in PROMISES {
        assert!(text.contains(&one_line(promise)), "not in the README any more: {promise}");
        assert!(!tests.is_empty());
        for test in *tests {
            assert!(is_a_test(test), "there is no test {test}, which is to hold: {promise}");
        }
    }
}

#[test]
fn each_row_of_what_is_protected_is_a_promise_with_a_test() {
    let text = readme();
    let (_, section) = text.split_once("## What is protected\n").unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| ") && line.len() > 6).collect();
    assert!(rows.len() > 9, "{rows:?}");
    for row in rows.iter().filter(|row| !row.starts_with("| |")) {
        assert!(PROMISES.iter().any(|(promise, _)| row.starts_with(promise)), "no test holds: {row}");
    }
}

/// Command lines of the README, without prompts and comments.
fn commands(text: &str) -> Vec<String> {
    let blocks = text.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines = blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ "));
    lines.map(|line| line.split("  #").next().unwrap().trim().to_owned()).collect()
}

#[test]
fn each_command_of_the_readme_is_known_with_its_options() {
    let mut seen = 0;
    for line in commands(&readme()) {
        for part in line.split("&&") {
            let words: Vec<&str> = part.split_whitespace().collect();
            let ["sbox", name, rest @ ..] = &words[..] else { continue };
            assert!(COMMANDS.iter().any(|command| command.name == *name), "{line}");
            let known = Help::of(&format!("sbox-{name}")).names();
            // What comes after a program's name is that program's.
            let own = rest.iter().take_while(|word| !word.starts_with('"') && **word != "--");
            for option in own.filter(|word| word.starts_with('-')) {
                assert!(known.contains(*option), "{line}: {option}");
            }
            seen += 1;
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_readme_is_short_and_its_links_lead_somewhere() {
    let text = readme();
    assert!(
        text.lines().count() <= 250 && text.lines().all(|line| line.chars().count() <= 120 || line.starts_with('|'))
    );
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(link.starts_with("..") || package().join(link).exists() || link.starts_with(".github/"), "{link}");
    }
}
