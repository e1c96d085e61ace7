//! GPT-2's printable alphabet: each of the 256 bytes has one character that stands for it in vocabulary files.
//!
//! Bytes that are printable in Latin-1 stand for themselves; the other 68 take U+0100 onwards, in order.

const fn printable(byte: u8) -> bool {
    matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff)
}

const CHARS: [char; 256] = {
    let mut chars = ['\0'; 256];
    let (mut byte, mut spare) = (0usize, 0u32);
    while byte < 256 {
        chars[byte] = if printable(byte as u8) {
            byte as u8 as char
        } else {
            spare += 1;
            match char::from_u32(0xff + spare) {
                Some(c) => c,
                None => '\0',
            }
        };
        byte += 1;
    }
    chars
};

/// Characters U+0100 to U+0143 back to the bytes they stand for.
const SPARE: [u8; 68] = {
    let mut bytes = [0; 68];
    let (mut byte, mut spare) = (0usize, 0usize);
    while byte < 256 {
        if !printable(byte as u8) {
            bytes[spare] = byte as u8;
            spare += 1;
        }
        byte += 1;
    }
    bytes
};

/// The character that stands for `byte`.
pub(crate) fn char_of(byte: u8) -> char {
    CHARS[usize::from(byte)]
}

/// The byte that `c` stands for.
pub(crate) fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0..=0xff => Some(code as u8).filter(|&byte| printable(byte)),
        code => SPARE.get(code as usize - 0x100).copied(),
    }
}

/// Appends the bytes that `text` stands for; leaves `out` alone and returns false if a character is none of ours.
pub(crate) fn push_bytes(text: &str, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                return false;
            }
        }
    }
    true
}

/// The vocabulary entry that stands for `bytes`.
pub(crate) fn entry(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char_of(byte)).collect()
}

/// Every byte, the printable ones first: the order in which GPT-2 and CLIP number them.
pub(crate) fn printable_first() -> impl Iterator<Item = u8> {
    let of = |wanted: bool| (0..=255u8).filter(move |&byte| printable(byte) == wanted);
    of(true).chain(of(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alphabet_is_a_bijection() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255u8 {
            assert!(seen.insert(char_of(byte)));
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
        assert_eq!(char_of(b' '), 'Ġ');
        assert_eq!(char_of(b'\n'), 'Ċ');
        assert_eq!(char_of(0xad), 'Ń');
        assert_eq!([' ', '\u{ad}', 'ń', '▁'].map(byte_of), [None; 4]);
    }

    #[test]
    fn foreign_characters_leave_the_output_alone() {
        let mut out = vec![1];
        assert!(!push_bytes("Ġa▁", &mut out));
        assert_eq!(out, [1]);
        assert!(push_bytes("Ġa", &mut out));
        assert_eq!(out, [1, b' ', b'a']);
    }
}
