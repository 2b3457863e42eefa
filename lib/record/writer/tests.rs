use super::super::verify::verify;
use super::super::{End, runs};
use super::*;

fn place(name: &str) -> PathBuf {
    let root = std::env::temp_dir().join(format!("sbox-record-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).unwrap();
    root.join("logs")
}

fn note(what: &str) -> Event {
    Event::Note { what: what.into() }
}

/// A record of two runs, the second one killed.
fn two_runs(name: &str) -> PathBuf {
    let place = place(name);
    let mut first = Writer::begin(&place, Start { kind: "run".into(), ..Start::default() });
    first.write(vec![note("a"), note("b")]);
    first.write(vec![Event::End(Box::new(End { code: 3, ..End::default() }))]);
    assert_eq!((first.run(), first.finish(true)), (Some(1), None));
    let second = Writer::begin(&place, Start::default());
    assert_eq!(second.run(), Some(2));
    place
}

fn edit(place: &Path, change: impl FnOnce(String) -> String) {
    let path = place.join(FILE);
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, change(text)).unwrap();
}

fn lines_of(place: &Path) -> Vec<String> {
    std::fs::read_to_string(place.join(FILE)).unwrap().lines().map(str::to_owned).collect()
}

fn remove(place: &Path) {
    std::fs::remove_dir_all(place.parent().unwrap()).unwrap();
}

#[test]
fn runs_are_told_apart_and_one_that_was_killed_has_no_end() {
    let place = two_runs("apart");
    let all = runs(&place);
    assert_eq!(all.iter().map(|run| (run.number, run.events.len())).collect::<Vec<_>>(), [(1, 2), (2, 0)]);
    assert_eq!(all[0].end.as_ref().map(|(_, end)| end.code), Some(3));
    assert!(all[1].end.is_none());
    let verified = verify(&place).unwrap();
    assert!(verified.findings.is_empty() && verified.lines == 5, "{verified:?}");
    remove(&place);
}

#[test]
fn an_edited_line_breaks_the_chain_also_after_more_was_written() {
    for at in 0..5 {
        let place = two_runs(&format!("edited-{at}"));
        let line = lines_of(&place)[at].clone();
        edit(&place, |text| text.replace(&line, &line.replace("\"run\":", "\"run\":9")));
        assert!(!verify(&place).unwrap().is_whole(), "line {at}");
        drop(Writer::begin(&place, Start::default()));
        assert!(!verify(&place).unwrap().is_whole(), "line {at}, with one more after it");
        remove(&place);
    }
}

#[test]
fn removed_lines_are_missed_also_at_the_end() {
    for at in 0..5 {
        let place = two_runs(&format!("removed-{at}"));
        let line = lines_of(&place)[at].clone() + "\n";
        edit(&place, |text| text.replace(&line, ""));
        assert!(!verify(&place).unwrap().is_whole(), "line {at}");
        drop(Writer::begin(&place, Start::default()));
        assert!(!verify(&place).unwrap().is_whole(), "line {at}, with one more after it");
        remove(&place);
    }
    let place = two_runs("head");
    std::fs::remove_file(place.join(HEAD)).unwrap();
    assert!(!verify(&place).unwrap().is_whole());
    remove(&place);
}

#[test]
fn a_writer_that_was_killed_leaves_what_the_next_one_goes_on_from() {
    let place = two_runs("torn");
    let head = std::fs::read(place.join(HEAD)).unwrap();
    let mut third = Writer::begin(&place, Start::default());
    third.write(vec![note("whole")]);
    // Killed before it has written the head, and in the middle of the next line.
    std::fs::write(place.join(HEAD), head).unwrap();
    edit(&place, |text| text + "{\"seq\":8,\"ti");
    let torn = verify(&place).unwrap();
    assert!(torn.is_whole() && torn.findings.len() == 1 && torn.last == 7, "{torn:?}");
    drop(Writer::begin(&place, Start::default()));
    let after = verify(&place).unwrap();
    assert!(after.is_whole() && after.findings.len() == 1 && after.last == 8, "{after:?}");
    assert_eq!(runs(&place).last().map(|run| run.number), Some(4));
    remove(&place);
}

#[test]
fn the_chain_goes_on_in_the_next_file_and_what_is_kept_is_bounded() {
    let place = place("rotated");
    let mut writer = Writer::begin(&place, Start::default());
    let long = "x".repeat(1 << 16);
    for at in 0..400 {
        writer.write(vec![note(&format!("{at} {long}"))]);
        if at == 70 {
            assert!(place.join(file(1)).exists() && !place.join(file(2)).exists());
            let verified = verify(&place).unwrap();
            assert!(verified.findings.is_empty() && verified.first == 1, "{:?}", verified.findings);
            std::fs::rename(place.join(file(1)), place.join("aside")).unwrap();
            assert!(!verify(&place).unwrap().is_whole(), "the first file is gone");
            std::fs::rename(place.join("aside"), place.join(file(1))).unwrap();
        }
    }
    let verified = verify(&place).unwrap();
    assert!(verified.findings.is_empty() && verified.first > 1 && verified.last == 401, "{:?}", verified.findings);
    let size: u64 = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(size < u64::from(KEPT + 1) * LARGEST + 1024 && !place.join(file(KEPT + 1)).exists(), "{size}");
    std::fs::remove_file(place.join(file(2))).unwrap();
    assert!(!verify(&place).unwrap().is_whole());
    remove(&place);
}

#[test]
fn writers_at_once_share_one_chain() {
    let place = place("together");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let work = || {
                let mut writer = Writer::begin(&place, Start::default());
                (0..50).for_each(|at| writer.write(vec![note(&at.to_string())]));
                assert_eq!(writer.finish(false), None);
            };
            crate::thread::spawn_scoped(scope, work).unwrap();
        }
    });
    let verified = verify(&place).unwrap();
    assert!(verified.findings.is_empty() && verified.lines == 204, "{verified:?}");
    assert!(runs(&place).iter().all(|run| run.events.len() == 50) && runs(&place).len() == 4);
    remove(&place);
}

#[test]
fn what_cannot_be_written_is_kept_for_later_and_said() {
    let place = place("later");
    std::os::unix::fs::symlink("/nowhere/at/all", place.parent().unwrap().join("elsewhere")).unwrap();
    let missing = place.parent().unwrap().join("missing/logs");
    let mut writer = Writer::begin(&missing, Start::default());
    writer.write((0..2 * MOST_WAITING).map(|at| note(&at.to_string())).collect());
    assert!(writer.run().is_none());
    std::fs::create_dir_all(missing.parent().unwrap()).unwrap();
    writer.write(vec![note("last")]);
    assert_eq!((writer.run(), writer.finish(false)), (Some(1), None));
    let all = runs(&missing);
    assert!(all[0].start.is_some() && all[0].events.len() == MOST_WAITING, "{}", all[0].events.len());
    assert!(matches!(all[0].events.last(), Some((_, Event::Note { what })) if what.contains("events were lost")));
    let never = Writer::begin(&place.parent().unwrap().join("elsewhere/logs"), Start::default());
    assert!(never.finish(false).is_some());
    remove(&place);
}
