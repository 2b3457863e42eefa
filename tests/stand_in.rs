//! The stand-in for micromamba says and does what the real one was seen to: it is run as each record was made, and compared.

mod bench;
mod provider;
mod record;

use bench::Bench;
use record::Record;

const SMALL: &str = "extra/linux-64/small-1.0-h0_0.conda";
const SMALL_2: &str = "extra/linux-64/small-2.0-h0_0.conda";
const GENERIC: &str = "extra/noarch/generic-1.0-h0_0.conda";
const OLD: &str = "extra/linux-64/oldpkg-1.0-h0_0.tar.bz2";

/// A record by a part of its title.
fn find(file: &str, title: &str) -> Record {
    record::read(file).into_iter().find(|one| one.title.contains(title)).unwrap_or_else(|| panic!("{file}: {title}"))
}

/// Records are of this architecture.
fn bench(name: &str) -> Option<Bench> {
    if std::env::consts::ARCH == "x86_64" { Bench::new(name) } else { None }
}

#[test]
fn versions_and_unknown_options() {
    let Some(bench) = bench("recorded-version") else { return };
    for record in record::read("version") {
        bench.check("version", &record);
    }
}

#[test]
fn choosing_and_why_there_is_no_choice() {
    let Some(bench) = bench("recorded-solve") else { return };
    bench.check("solve-python", &find("solve-python", "cold"));
    for file in ["solve-missing-version", "solve-missing-package", "solve-nested-missing", "solve-conflict"] {
        for record in record::read(file) {
            bench.check(file, &record);
        }
    }
    // The last one of the records has a channel that cannot be reached.
    for record in record::read("search") {
        bench.check("search", &record);
    }
}

#[test]
fn channels_that_cannot_be_reached() {
    let Some(bench) = bench("recorded-unreachable") else { return };
    for record in record::read("solve-unreachable") {
        // The first is another program's failure, the others had a host without a network.
        if ["a folder that does not exist", "warm index", "the same with"]
            .iter()
            .any(|title| record.title.starts_with(title))
        {
            continue;
        }
        bench.fresh();
        bench.check("solve-unreachable", &record);
    }
}

#[test]
fn choosing_offline() {
    let Some(bench) = bench("recorded-offline") else { return };
    let file = "solve-offline";
    bench.check(file, &find(file, "nothing in the cache"));
    bench.check(file, &find(file, "nothing in the cache, without --json"));
    let mut online = find(file, "index in the cache, package not");
    online.words.retain(|word| word != "--offline");
    bench.run(&online);
    bench.check(file, &find(file, "index in the cache, package not"));
    bench.list(&[SMALL_2], "md5");
    bench.run(&find("fetch", "cold"));
    bench.check(file, &find(file, "index and small-2.0 in the cache"));
    bench.check(file, &find(file, "small=1.0 asked for"));
}

#[test]
fn an_index_is_fresh_for_an_hour_unless_it_is_asked_for() {
    let Some(bench) = bench("recorded-ttl") else { return };
    let gets = |title: &str| {
        let before = bench.server.requests().len();
        let mut record = find("repodata-ttl", title);
        // The channel there is one that changes; what is asked for is what counts here.
        for word in &mut record.words {
            *word = word.replace("/ttl", "/extra");
        }
        assert!(bench.run(&record).status.success());
        let requests = bench.server.requests();
        let lines = requests[before..].iter().map(|request| request.line.replace(" HTTP/1.1", ""));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        let asked = record.section("what the server was asked").unwrap().replace("/ttl", "/extra");
        let mut expected: Vec<String> = asked
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| line.split(" -> ").next().unwrap().to_owned())
            .collect();
        expected.sort();
        assert_eq!(lines, expected, "{title}");
        requests[before..].iter().any(|request| request.header("if-modified-since").is_some())
    };
    assert!(!gets("cold"));
    assert!(!gets("plain run"));
    assert!(gets("--repodata-ttl 0, nothing has changed"));
    assert!(!gets("--repodata-ttl 1"));
}

#[test]
fn the_cache_is_laid_out_by_address() {
    let Some(bench) = bench("recorded-fetch") else { return };
    bench.list(&[SMALL_2, GENERIC, OLD], "md5");
    let cold = find("fetch", "cold");
    bench.check("fetch", &cold);
    bench.check_tree(&bench.at("cache"), &cold.tree("CACHE (the layout)").unwrap());
    bench.check_tree(&bench.at("home"), &cold.tree("HOME").unwrap());
    for (name, section) in [
        ("linux-64/small-2.0-h0_0", "(of a .conda"),
        ("linux-64/oldpkg-1.0-h0_0", "(of a .tar.bz2)"),
        ("noarch/generic-1.0-h0_0", "(noarch)"),
    ] {
        let file = std::fs::read_to_string(bench.cached(&format!("extra/{name}/info/repodata_record.json"))).unwrap();
        let place = format!("CACHE/http/127.0.0.1_PORT/extra/{name}/info/repodata_record.json {section}");
        assert_eq!(record::value(&bench.neutral(&file)), record::value(cold.section(&place).unwrap()), "{name}");
    }
    let before = bench.server.requests().len();
    bench.check("fetch", &find("fetch", "warm"));
    assert_eq!(bench.server.requests().len(), before);
    // What --json says of a list: no hash that the list did not have, and no size.
    bench.check("fetch", &find("fetch", "warm, --json"));
}

#[test]
fn hashes_are_taken_in_every_form() {
    let Some(bench) = bench("recorded-hashes") else { return };
    let file = "fetch-hash-forms";
    for (title, kind) in [
        ("MD5", "md5"),
        ("md5:MD5", "md5:"),
        ("sha256:SHA256", "sha256"),
        ("SHA256 without a word", "sha256 alone"),
        ("nothing", ""),
        ("a wrong MD5", "#00000000000000000000000000000000"),
        ("a wrong sha256:SHA256", "#sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ] {
        bench.fresh();
        bench.list(&[SMALL_2], kind);
        bench.check(file, &find(file, title));
        assert_eq!(bench.cached(SMALL_2).exists(), !title.contains("wrong"), "{title}");
    }
}

#[test]
fn packages_that_are_not_what_they_should_be() {
    let Some(bench) = bench("recorded-bad") else { return };
    let file = "fetch-bad-package";
    for (title, folder, kind) in [
        ("one bit changed, same size; list with md5", "badhash", "md5"),
        ("one bit changed, same size; list with sha256", "badhash", "sha256"),
        ("half of it, Content-Length of the half; list with md5", "short", "md5"),
        ("half of it, Content-Length of the half; list with none", "short", ""),
        ("half of it, Content-Length of the whole", "broken", "md5"),
        ("an HTML page with 200; list with md5", "pkghtml", "md5"),
        ("an HTML page with 200; list with none", "pkghtml", ""),
        ("404; list with md5", "pkg404", "md5"),
        ("500; list with md5", "pkg500", "md5"),
    ] {
        bench.fresh();
        bench.list(&[&SMALL_2.replace("extra", folder)], kind);
        let record = find(file, title);
        bench.check(file, &record);
        bench.check_tree(&bench.at("cache"), &record.tree("CACHE afterwards").unwrap());
    }
    for (title, folder) in [("package 404", "pkg404"), ("wrong hash", "badhash")] {
        bench.fresh();
        bench.list(&[&SMALL_2.replace("extra", folder)], "md5");
        bench.check("json-failures", &find("json-failures", title));
    }
}

#[test]
fn a_cache_from_before_is_used() {
    let Some(bench) = bench("recorded-flat") else { return };
    bench.list(&[SMALL, GENERIC], "md5");
    let fetch = find("cache-flat", "Step::Fetch");
    bench.run(&fetch);
    for place in [SMALL, GENERIC] {
        for name in [place, place.trim_end_matches(".conda")] {
            let to = bench.at("cache").join(name.rsplit('/').next().unwrap());
            std::fs::rename(bench.cached(name), to).unwrap();
        }
    }
    std::fs::remove_dir_all(bench.at("cache/http")).unwrap();
    std::fs::remove_dir_all(bench.at("home/none")).unwrap();
    let before = bench.server.requests().len();
    bench.check("cache-flat", &fetch);
    assert_eq!(bench.server.requests().len(), before);
    bench.check_tree(&bench.at("cache"), &fetch.tree("CACHE afterwards").unwrap());
    bench.check("cache-flat", &find("cache-flat", "Step::Link"));
}

#[test]
fn what_is_damaged_in_the_cache() {
    let Some(bench) = bench("recorded-damage") else { return };
    let file = "cache-damaged";
    let folder = SMALL.trim_end_matches(".conda");
    let plain = |text: &str| std::fs::write(bench.cached(&format!("{folder}/share/plain.txt")), text).unwrap();
    let remove = |name: &str| std::fs::remove_file(bench.cached(&format!("{folder}/{name}"))).unwrap();
    let archive_only = |change: &dyn Fn(&mut Vec<u8>)| {
        std::fs::remove_dir_all(bench.cached(folder)).unwrap();
        let mut bytes = std::fs::read(bench.cached(SMALL)).unwrap();
        change(&mut bytes);
        std::fs::write(bench.cached(SMALL), bytes).unwrap();
    };
    type Damage<'a> = (&'a str, &'a dyn Fn());
    let damages: [Damage<'_>; 10] = [
        ("a file of the unpacked package has another size", &|| plain("plain and longer\n")),
        ("a file has other content of the same size", &|| plain("PLAIN\n")),
        ("a file is gone", &|| remove("share/plain.txt")),
        ("repodata_record.json is no JSON", &|| {
            std::fs::write(bench.cached(&format!("{folder}/info/repodata_record.json")), "{\"broken").unwrap();
        }),
        ("repodata_record.json is gone", &|| remove("info/repodata_record.json")),
        ("paths.json is gone", &|| remove("info/paths.json")),
        ("only the archive is there, and it is cut off", &|| archive_only(&|bytes| bytes.truncate(100))),
        ("only the archive is there, and one bit is changed", &|| archive_only(&|bytes| bytes[50] ^= 1)),
        ("a file has another size and the archive is gone", &|| {
            plain("plain and longer\n");
            std::fs::remove_file(bench.cached(SMALL)).unwrap();
        }),
        ("other content of the same size and the archive is gone", &|| {
            plain("PLAIN\n");
            std::fs::remove_file(bench.cached(SMALL)).unwrap();
        }),
    ];
    for (title, damage) in damages {
        for step in ["Step::Fetch", "Step::Link"] {
            bench.fresh();
            bench.list(&[SMALL], "md5");
            let fetch = find(file, "a file is gone / Step::Fetch");
            assert!(bench.run(&fetch).status.success());
            std::fs::remove_dir_all(bench.at("home/none")).unwrap();
            damage();
            let before = bench.server.requests().len();
            let record = find(file, &format!("{title} / {step}"));
            bench.check(file, &record);
            let asked = record
                .section("what the server was asked")
                .unwrap()
                .lines()
                .filter(|line| line.starts_with("GET"))
                .count();
            assert_eq!(bench.server.requests().len() - before, asked, "{title} / {step}");
        }
    }
}

#[test]
fn linking_and_what_is_noted_of_it() {
    let Some(bench) = bench("recorded-link") else { return };
    bench.list(&[SMALL, GENERIC, OLD], "md5");
    bench.run(&find("fetch", "cold"));
    let link = record::read("link").remove(0);
    bench.check("link", &link);
    bench.check_tree(&bench.at("place/env"), &link.tree("PREFIX").unwrap());
    bench.check_tree(&bench.at("home"), &link.tree("HOME").unwrap());
    for name in ["small", "oldpkg", "generic"] {
        let file = std::fs::read_to_string(bench.at(&format!("place/env/conda-meta/{name}-1.0-h0_0.json"))).unwrap();
        let expected = link.section(&format!("PREFIX/conda-meta/{name}-*.json")).unwrap();
        assert_eq!(record::value(&bench.neutral(&file)), record::value(expected), "{name}");
    }
    let history = std::fs::read_to_string(bench.at("place/env/conda-meta/history")).unwrap();
    let lines = |text: &str| text.lines().skip(1).map(ToOwned::to_owned).collect::<Vec<_>>();
    let expected = lines(link.section("PREFIX/conda-meta/history").unwrap().trim_end());
    assert_eq!(lines(&bench.neutral(&history)), expected);
    // An environment that is there is removed, with all that is in it; any other directory is not touched.
    std::fs::write(bench.at("place/env/mine.txt"), "mine").unwrap();
    bench.check("link", &find("link", "once more"));
    assert!(!bench.at("place/env/mine.txt").exists());
    std::fs::remove_dir_all(bench.at("place/env/conda-meta")).unwrap();
    bench.check("link", &find("link", "the prefix exists and is no environment"));
}

#[test]
fn linking_with_something_missing() {
    let Some(bench) = bench("recorded-missing") else { return };
    bench.list(&[SMALL], "md5");
    bench.run(&find("fetch", "cold"));
    bench.list(&[SMALL, GENERIC], "md5");
    bench.check("link-missing", &find("link-missing", "one of two is missing"));
    std::fs::remove_dir_all(bench.at("place/env")).unwrap();
    bench.list(&[SMALL], "md5");
    std::fs::remove_dir_all(bench.cached(SMALL.trim_end_matches(".conda"))).unwrap();
    bench.check("link-missing", &find("link-missing", "the archive is there, the unpacked folder is not"));
}

#[test]
fn scripts_of_packages() {
    let Some(bench) = bench("recorded-scripts") else { return };
    let file = "link-scripts";
    let script = |name: &str| format!("extra/linux-64/{name}-1.0-h0_0.tar.bz2");
    let clobber = |name: &str| format!("extra/linux-64/clobber-{name}-1.0-h0_0.conda");
    for (title, packages) in [
        ("a post-link script that prints, writes a message, and notes", vec![script("script-env")]),
        ("a post-link script that prints and ends with 3", vec![script("script-fails")]),
        ("a failing script, then another package", vec![script("script-fails"), SMALL.to_owned()]),
        ("failing script with --json", vec![script("script-fails")]),
        ("two packages with the same file", vec![clobber("a"), clobber("b")]),
    ] {
        bench.fresh();
        bench.list(&packages.iter().map(String::as_str).collect::<Vec<_>>(), "md5");
        assert!(bench.run(&find("fetch", "cold")).status.success());
        bench.check(file, &find(file, title));
    }
    // The background: 15 s of 15 in the record, and here.
    bench.fresh();
    bench.list(&[&script("script-background-closed")], "md5");
    bench.run(&find("fetch", "cold"));
    let start = std::time::Instant::now();
    bench.check(file, &find(file, "the same with"));
    assert!(start.elapsed().as_secs() >= 3, "it waits for what a script leaves behind");
}
