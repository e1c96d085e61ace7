//! Picture files of many kinds against the pixels of transformers' image processors, and those that are refused.

mod common;

use common::{fixture, json, open};
use crayon_vision::{Options, Pixels, VisionError, decode, decode_for};

const EDGE: usize = 28;

#[test]
fn pixels_are_those_of_transformers() {
    let expected = decode(&std::fs::read(fixture("pictures/expected.png")).unwrap()).unwrap();
    let squares: Vec<&[u8]> = expected.as_raw().chunks_exact(EDGE * EDGE * 3).collect();
    let names = json("pictures/expected.json");
    let (crop, squash) = (open("clip"), open("siglip"));
    let mut worst = Vec::new();
    for (i, name) in names.as_array().unwrap().iter().enumerate() {
        let name = name.as_str().unwrap();
        let file = std::fs::read(fixture("pictures").join(name)).unwrap();
        for (clip, expected) in [(&crop, squares[2 * i]), (&squash, squares[2 * i + 1])] {
            let pixels = clip.preprocess(&file).unwrap();
            let off = pixels.rgb.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            worst.push((off, name));
        }
    }
    let bad: Vec<_> = worst.iter().filter(|(off, _)| *off > 2).collect();
    assert!(bad.is_empty(), "off by more than 2 of 255: {bad:?}");
}

#[test]
fn what_is_no_picture_is_refused() {
    let clip = open("clip");
    let good = std::fs::read(fixture("pictures/rgb.png")).unwrap();
    for bad in [&b""[..], b"hello", &good[..60], &good[..good.len() / 2]] {
        assert!(matches!(clip.preprocess(bad), Err(VisionError::Picture(_))), "{} bytes", bad.len());
    }
    // A header that promises 40,000 by 40,000 pixels is refused before memory is taken.
    let mut bomb = good.clone();
    bomb[16..20].copy_from_slice(&40_000u32.to_be_bytes());
    bomb[20..24].copy_from_slice(&40_000u32.to_be_bytes());
    let crc = crc32(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.to_be_bytes());
    match clip.preprocess(&bomb) {
        Err(VisionError::TooLarge { width, height, .. }) => assert_eq!((width, height), (40_000, 40_000)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_large_jpeg_is_decoded_smaller_and_looks_the_same() {
    let (width, height) = (900, 620);
    let value = |x: u32, y: u32| {
        let wave = |a: f32| (128.0 + 100.0 * a.sin()) as u8;
        image::Rgb([wave(x as f32 / 70.0), wave(y as f32 / 50.0), wave((x + y) as f32 / 90.0)])
    };
    let picture = image::RgbImage::from_fn(width, height, value);
    let mut file = std::io::Cursor::new(Vec::new());
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut file, 90).encode_image(&picture).unwrap();
    let file = file.into_inner();
    let small = decode_for(&file, EDGE).unwrap();
    assert_eq!(small.dimensions(), (113, 78));
    // Not smaller than twice what is needed; and whole where a half is too small.
    assert_eq!(decode_for(&file, 100).unwrap().dimensions(), (450, 310));
    assert_eq!(decode_for(&file, 200).unwrap().dimensions(), (width, height));
    let quick = open("clip");
    let whole = common::open_with("clip", Options { whole_pictures: true, ..Options::default() });
    let (a, b) = (quick.preprocess(&file).unwrap(), whole.preprocess(&file).unwrap());
    // The smaller transform averages blocks of eight pixels before the cubic sees them: a little softer, not elsewhere.
    let off = || a.rgb.iter().zip(&b.rgb).map(|(a, b)| u32::from(a.abs_diff(*b)));
    let mean = off().sum::<u32>() as f32 / a.rgb.len() as f32;
    assert!(off().all(|off| off <= 16) && mean <= 3.0, "off by {mean} and at most {:?}", off().max());
    assert_ne!(a, b);
}

#[test]
fn pictures_of_any_shape_fit() {
    let clip = open("clip");
    for (width, height) in [(1, 1), (1, 5000), (5000, 1), (3, 40), (28, 28), (27, 29)] {
        let picture = image::RgbImage::from_pixel(width, height, image::Rgb([200, 100, 50]));
        let pixels = clip.fit(&picture).unwrap();
        assert_eq!(pixels.rgb.len(), EDGE * EDGE * 3);
        assert!(pixels.rgb.chunks(3).all(|p| p == [200, 100, 50]), "{width} by {height}");
    }
    assert!(clip.fit(&image::RgbImage::new(0, 3)).is_err());
}

#[test]
fn pixels_of_another_model_are_refused() {
    let wrong = Pixels { size: 32, rgb: vec![0; 32 * 32 * 3] };
    let error = open("clip").embed_images(&[wrong]).unwrap_err();
    assert!(error.to_string().contains("32 × 32"), "{error}");
    assert!(open("clip").embed_images(&[Pixels { size: 28, rgb: vec![0; 5] }]).is_err());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}
