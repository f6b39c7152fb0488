//! The test vectors of the protocol: the code, the files and the reference implementation agree.

use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use common::difficulty::{CompactTarget, scale_target};
use common::rules::Rules;
use serde_json::Value;

#[path = "vectors/evaluate.rs"]
mod evaluate;

/// Every output in a file is what the code makes of the input beside it.
fn check(file: &str) {
    let text = std::fs::read_to_string(evaluate::folder().join(format!("{file}.json"))).unwrap();
    let vectors: Value = serde_json::from_str(&text).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert!(!cases.is_empty(), "{file}.json holds no cases");
    for case in cases {
        let output = evaluate::evaluate(file, &case["input"]).unwrap();
        assert_eq!(output, case["output"], "{file}.json: {}", case["name"]);
    }
}

macro_rules! file_tests {
    ($($file:ident)*) => {
        $(#[test]
        fn $file() {
            check(stringify!($file));
        })*

        #[test]
        fn every_file_has_its_test() {
            assert_eq!(evaluate::FILES, [$(stringify!($file)),*]);
            for entry in std::fs::read_dir(evaluate::folder()).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "json") {
                    let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
                    assert!(evaluate::FILES.contains(&stem.as_str()), "{stem}.json has no test");
                }
            }
        }
    };
}

file_tests! { amounts addresses signatures transactions headers targets merkle rules blocks chains messages }

/// The page names the id of the default network, by which a stranger sees that his rules bytes are right.
#[test]
fn the_protocol_page_names_the_default_network() {
    let page = include_str!("../PROTOCOL.md");
    assert!(page.contains(&Rules::default().network_id().to_string()));
}

/// Bitcoin Cash's published vectors of the exponent function, with its parameters.
#[test]
fn the_retarget_reproduces_the_vectors_of_bitcoin_cash() {
    const SPACING_S: i128 = 600;
    const HALF_LIFE_S: i128 = 172_800;
    let least = CompactTarget::from_bits(0x0101_0000).to_target();
    let most = CompactTarget::from_bits(0x1d00_ffff).to_target();
    let mut checked = 0;
    for run in 1..=11 {
        let path = evaluate::folder().join(format!("asert/run{run:02}"));
        let text = std::fs::read_to_string(path).unwrap();
        let head = |name: &str| {
            let line =
                text.lines().find_map(|line| line.strip_prefix("##")?.trim().strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().to_owned()
        };
        let bits = |text: &str| {
            CompactTarget::from_bits(u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap())
        };
        let anchor_height: i128 = head("anchor height").parse().unwrap();
        let anchor_parent_time: i128 = head(if text.contains("anchor parent time") {
            "anchor parent time"
        } else {
            "anchor ancestor time"
        })
        .parse()
        .unwrap();
        let anchor = bits(&head("anchor nBits")).to_target();
        let iterations: usize = head("iterations").parse().unwrap();
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        assert_eq!(lines.len(), iterations, "run {run}");
        for line in lines {
            let [_, height, time, expected] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                panic!("run {run}: {line:?} has not four columns");
            };
            let (height, time): (i128, i128) = (height.parse().unwrap(), time.parse().unwrap());
            let behind = time - anchor_parent_time - SPACING_S * (height - anchor_height + 1);
            let target = scale_target(anchor, behind * 65536 / HALF_LIFE_S, least, most);
            assert_eq!(target.to_compact(), bits(expected), "run {run}: {line}");
            checked += 1;
        }
    }
    assert_eq!(checked, 4000);
}

/// The implementation in Python, written from `PROTOCOL.md`, makes of every file what the code does.
#[test]
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
fn the_reference_implementation_agrees() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/check_vectors.py");
    // -B: leave no compiled files in the source tree.
    match Command::new("python3").arg("-B").arg(script).output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{said}");
        }
        Err(error) if error.kind() == ErrorKind::NotFound => eprintln!("skipped: there is no python3 here"),
        Err(error) => panic!("python3 cannot be run: {error}"),
    }
}
