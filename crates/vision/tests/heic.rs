//! HEIC, from a file that an encoder of libheif wrote (`scripts/fixtures/pictures.py`).

#![cfg(feature = "heic")]

use std::panic::catch_unwind;

use crayon_vision::{decode, decode_for, dimensions, is_heic};

const TURNED: &[u8] = include_bytes!("fixtures/heic/turned.heic");

#[test]
fn a_phones_picture_is_read_upright() {
    assert!(is_heic(TURNED) && !is_heic(b"\x89PNG\r\n\x1a\n"));
    assert_eq!(dimensions(TURNED).unwrap(), (96, 64));
    for picture in [decode(TURNED).unwrap(), decode_for(TURNED, 16).unwrap()] {
        assert_eq!(picture.dimensions(), (96, 64));
        let patches =
            [(20, 15, [220, 30, 30]), (70, 15, [30, 200, 40]), (20, 50, [30, 40, 210]), (70, 50, [255; 3])];
        for (x, y, colour) in patches {
            let pixel = picture.get_pixel(x, y).0;
            assert!(pixel.iter().zip(colour).all(|(a, b)| a.abs_diff(b) <= 6), "{pixel:?} at {x}, {y}");
        }
    }
}

#[test]
fn damaged_files_are_refused_and_never_a_panic() {
    for end in (0..TURNED.len()).step_by(13) {
        assert!(decode(&TURNED[..end]).is_err(), "{end}");
    }
    for at in 0..TURNED.len() {
        for bit in [0x01, 0x80] {
            let mut changed = TURNED.to_vec();
            changed[at] ^= bit;
            assert!(catch_unwind(|| drop(decode(&changed))).is_ok(), "byte {at}");
        }
    }
}
