//! PEM, the text form of keys (RFC 7468): blocks of base64 between a BEGIN and an END line. Called by
//! [`super::file`].
//!
//! Written for secrets: the base64 is decoded in constant time, and no buffer is left behind that was not
//! overwritten with zeros. Lines may be of any length, and end with or without a carriage return, for editors and mail
//! change that. Errors quote nothing of a text but labels that look like one: where line ends are lost, the rest of a
//! BEGIN line is the key.

use std::ops::Range;

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

const DASHES: &str = "-----";
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
/// How many characters of base64 are written to a line.
const LINE: usize = 64;
/// How long a label may be to be quoted.
const LONGEST_LABEL: usize = 40;

/// What stands between a BEGIN and an END line.
pub struct Block {
    /// What the two lines call it.
    pub label: String,
    /// Whether headers precede the base64, as before PKCS#8: they told that, and how, it is encrypted.
    pub has_headers: bool,
    /// The decoded contents.
    pub der: Zeroizing<Vec<u8>>,
    /// Where it is in the text: from the start of its BEGIN line to the end of its END line.
    pub place: Range<usize>,
}

/// All blocks of a text. What stands before, between and after them is passed over.
pub fn blocks_of(text: &str) -> Result<Vec<Block>, String> {
    let (mut blocks, mut lines) = (Vec::new(), lines_of(text));
    while let Some((begin, line)) = lines.next() {
        let Some(label) = label_of(line, BEGIN) else { continue };
        if label.contains(DASHES) {
            return Err("its BEGIN and END lines are on one line: its line ends are lost".to_owned());
        }
        let name = if may_be_quoted(label) { label } else { "block" };
        // The whole capacity at once, so that growing never leaves a copy behind.
        let mut base64 = Zeroizing::new(String::with_capacity(text.len()));
        let mut has_headers = false;
        let end = loop {
            let (place, line) =
                lines.next().ok_or_else(|| format!("the END line of its {name} is missing"))?;
            match label_of(line, END) {
                Some(ended) if ended == label => break place.end,
                Some(_) => return Err(format!("its {name} has the END line of something else")),
                None if line.starts_with(DASHES) => {
                    return Err(format!("the END line of its {name} is missing"));
                }
                None if line.contains(':') => has_headers = true,
                None => base64.push_str(line),
            }
        };
        let mut der = Zeroizing::new(vec![0; base64.len() / 4 * 3]);
        let length = match Base64::decode(base64.as_bytes(), &mut der) {
            Ok(decoded) => decoded.len(),
            // The lines of an old encrypted key are told by their headers, not by what they hold.
            Err(_) if has_headers => 0,
            Err(_) => return Err(format!("its {name} is not whole base64")),
        };
        der.truncate(length);
        blocks.push(Block { label: label.to_owned(), has_headers, der, place: begin.start..end });
    }
    Ok(blocks)
}

/// Each line without the white space around it, and where it is, its end included.
fn lines_of(text: &str) -> impl Iterator<Item = (Range<usize>, &str)> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let place = start..start + line.len();
        start = place.end;
        (place, line.trim())
    })
}

/// Where the first line before the first block is that begins so, and what follows that on it.
pub fn note_of<'t>(text: &'t str, start: &str) -> Option<(Range<usize>, &'t str)> {
    let mut notes = lines_of(&text[..end_of_notes(text)]).map(|(place, _)| place);
    notes.find_map(|place| {
        let value = text[place.clone()].strip_prefix(start)?.trim();
        Some((place, value))
    })
}

/// Where the notes before the first block end: the start of that, or the end of the text.
pub fn end_of_notes(text: &str) -> usize {
    let first = lines_of(text).find(|(_, line)| label_of(line, BEGIN).is_some());
    first.map_or(text.len(), |(place, _)| place.start)
}

/// Appends a block. What it is appended to should have [`encoded_bytes`] of room.
pub fn push_block(label: &str, der: &[u8], text: &mut String) {
    let mut base64 = Zeroizing::new(vec![0; Base64::encoded_len(der)]);
    let base64 = Base64::encode(der, &mut base64).expect("the buffer has the length of the encoding");
    text.extend([BEGIN, label, DASHES, "\n"]);
    let mut rest = base64;
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.extend([line, "\n"]);
        rest = after;
    }
    text.extend([END, label, DASHES, "\n"]);
}

/// At least as many bytes as [`push_block`] appends.
pub fn encoded_bytes(label: &str, der: &[u8]) -> usize {
    let base64 = Base64::encoded_len(der);
    base64 + base64 / LINE + 2 * (BEGIN.len() + label.len() + DASHES.len() + 1)
}

/// Whether a label is of the kind that programs write, which have no small letters: so it is nothing encoded.
fn may_be_quoted(label: &str) -> bool {
    label.len() <= LONGEST_LABEL
        && label.bytes().all(|byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'.' | b'-'))
}

fn label_of<'l>(line: &'l str, start: &str) -> Option<&'l str> {
    line.strip_prefix(start)?.strip_suffix(DASHES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        blocks_of(text).err().expect("the text is damaged")
    }

    #[test]
    fn several_blocks_are_read_and_text_around_them_is_passed_over() {
        let (a, b) =
            ("-----BEGIN A-----\nAQI=\n-----END A-----\n", "  -----BEGIN B-----\r\nAw==\r\n-----END B-----");
        let text = format!("a note: x\r\nanother\na note: y\n{a}between\na note: z\n{b}");
        let blocks = blocks_of(&text).unwrap();
        let shown: Vec<_> = blocks.iter().map(|block| (block.label.as_str(), block.der.as_slice())).collect();
        assert_eq!(shown, [("A", &[1, 2][..]), ("B", &[3])]);
        let places: Vec<_> = blocks.into_iter().map(|block| &text[block.place]).collect();
        assert_eq!(places, [a, b]);
        let note = |start| note_of(&text, start).map(|(place, value)| (&text[place], value));
        assert_eq!(note("a note:"), Some(("a note: x\r\n", "x")));
        assert_eq!(note("another"), Some(("another\n", "")));
        assert_eq!(note("between"), None);
        assert!(text[end_of_notes(&text)..].starts_with(a));
        assert_eq!((end_of_notes("x\ny"), note_of("x\ny", "y")), (3, Some((2..3, ""))));
        assert!(blocks_of("nothing\nat all").unwrap().is_empty());
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(error("-----BEGIN A-----\nAQI=\n"), "the END line of its A is missing");
        assert_eq!(error("-----BEGIN A-----\nAQI=\n-----END A----\n"), "the END line of its A is missing");
        assert_eq!(
            error("-----BEGIN A-----\nAQI=\n-----END B-----\n"),
            "its A has the END line of something else"
        );
        assert_eq!(error("-----BEGIN A-----\nAQ\n-----BEGIN B-----\n"), "the END line of its A is missing");
        for base64 in ["AQI", "AQ=I", "A?I=", "AQ==AQI="] {
            assert_eq!(
                error(&format!("-----BEGIN A-----\n{base64}\n-----END A-----\n")),
                "its A is not whole base64"
            );
        }
    }

    #[test]
    fn errors_quote_nothing_that_may_be_secret() {
        let secret = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC";
        for (text, expected) in [
            (format!("-----BEGIN A-----{secret}-----END A-----"), "its line ends are lost"),
            (format!("-----BEGIN A----- {secret} -----END A-----\n"), "its line ends are lost"),
            (format!("-----BEGIN A-----\r{secret}\r-----END A-----\r"), "its line ends are lost"),
            (format!("-----BEGIN A{secret}-----\n"), "the END line of its block is missing"),
            (format!("-----BEGIN A-----\n-----END A{secret}-----\n"), "has the END line of something else"),
            (
                format!("-----BEGIN {secret}-----\n?\n-----END {secret}-----\n"),
                "its block is not whole base64",
            ),
            (format!("-----BEGIN {}-----\n", "A".repeat(41)), "the END line of its block is missing"),
        ] {
            let error = error(&text);
            assert!(error.contains(expected) && !error.contains(secret), "{error}");
        }
    }

    #[test]
    fn headers_are_noticed() {
        let text = "-----BEGIN A-----\nProc-Type: 4,ENCRYPTED\n\nAQI=\n-----END A-----\n";
        assert!(blocks_of(text).unwrap()[0].has_headers);
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_here_and_elsewhere(der in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut text = String::with_capacity(encoded_bytes("A KEY", &der));
            let room = text.capacity();
            push_block("A KEY", &der, &mut text);
            prop_assert_eq!(text.capacity(), room, "it had to grow");
            let blocks = blocks_of(&text).unwrap();
            prop_assert_eq!(blocks[0].der.as_slice(), der.as_slice());
            if !der.is_empty() {
                let elsewhere = ::pem::parse(&text).unwrap();
                prop_assert_eq!(elsewhere.contents(), der.as_slice());
                let config = ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF);
                prop_assert_eq!(::pem::encode_config(&::pem::Pem::new("A KEY", der), config), text);
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in "(-----(BEGIN|END) [AB]-----|[A-Za-z0-9+/=: ]{0,9}|\n|\r){0,30}") {
            let _ = blocks_of(&text);
        }
    }
}
