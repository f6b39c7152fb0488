//! Replays the inputs that the fuzzers found worth keeping, `fuzz/corpus`, and thousands of changed ones, always
//! the same: a change that breaks a property is noticed without a fuzzer.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use properties::{ALL, Property};

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The inputs that are kept for a target, with their names, in order of these.
fn kept(target: &str) -> Vec<(String, Vec<u8>)> {
    let directory = fuzz().join("corpus").join(target);
    let files = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let files = files.map(|file| file.unwrap().path());
    let mut inputs: Vec<_> = files
        .map(|file| (file.file_name().unwrap().display().to_string(), fs::read(&file).unwrap()))
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{} is empty: there is nothing to replay", directory.display());
    inputs
}

/// Runs the property on every input as it is, and on so many changed ones of each.
fn replay(target: &str, changes: u64) {
    let property = ALL.iter().find(|(name, _)| *name == target).expect("a target").1;
    let inputs = kept(target);
    for (name, input) in &inputs {
        holds(property, input, &format!("fuzz/corpus/{target}/{name}"));
    }
    let mut random = Random(0x2607);
    for (name, input) in &inputs {
        for number in 0..changes {
            let (_, other) = random.one_of(&inputs);
            let changed = change(input, other, &mut random);
            holds(property, &changed, &format!("change {number} of fuzz/corpus/{target}/{name}"));
        }
    }
}

fn holds(property: Property, input: &[u8], what: &str) {
    if catch_unwind(|| property(input)).is_err() {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("the property does not hold for {what}, these bytes: {hex}");
    }
}

/// One to three changes such as fuzzers make.
fn change(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(3) {
        let place = random.below(bytes.len() + 1);
        let end = place + random.below(bytes.len() - place + 1).min(64);
        match random.below(7) {
            0 => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
            1 => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = random.below(256) as u8),
            2 => bytes.truncate(place),
            3 => drop(bytes.drain(place..end)),
            4 => {
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            5 => {
                let from = random.below(other.len() + 1);
                let to = from + random.below(other.len() - from + 1).min(64);
                bytes.splice(place..end, other[from..to].iter().copied());
            }
            // A length, or a count.
            _ => {
                let number =
                    *random.one_of(&[0_u64, 1, 2, 0xff, 0x400, 0x10_0000, u32::MAX.into(), u64::MAX]);
                let width = *random.one_of(&[4, 8]);
                let places = bytes.iter_mut().skip(place).take(width);
                places.zip(number.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
        }
    }
    bytes
}

/// Numbers that look random and are always the same (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_of<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }
}

macro_rules! targets {
    ($($target:ident: $changes:literal,)*) => {
        $(
            #[test]
            fn $target() {
                replay(stringify!($target), $changes);
            }
        )*

        const REPLAYED: &[&str] = &[$(stringify!($target)),*];
    };
}

// Fewer where one takes long: signing with a key, reading files of parameters.
targets! {
    block: 2000,
    datagram: 1000,
    encrypted_pem: 200,
    frame: 2000,
    header: 2000,
    message: 1000,
    pem: 100,
    rules: 1000,
    settings: 100,
    store: 100,
    text: 500,
    transaction: 500,
}

#[test]
fn every_property_has_a_fuzzer_and_inputs_and_is_replayed() {
    let names = ALL.map(|(name, _)| name);
    assert_eq!(names, REPLAYED);
    let in_directory = |directory: &str| {
        let files = fs::read_dir(fuzz().join(directory)).unwrap().map(|file| file.unwrap().path());
        let mut stems: Vec<_> = files.map(|file| file.file_stem().unwrap().display().to_string()).collect();
        stems.sort();
        stems
    };
    assert_eq!(in_directory("fuzz_targets"), names);
    assert_eq!(in_directory("corpus"), names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}

#[test]
fn the_corpus_stays_small() {
    let mut bytes = 0;
    for (target, _) in ALL {
        let inputs = kept(target);
        assert!(inputs.len() <= 60, "{target} has {} inputs", inputs.len());
        bytes += inputs.iter().map(|(_, input)| input.len()).sum::<usize>();
    }
    assert!(bytes <= 300_000, "{bytes} bytes");
}
