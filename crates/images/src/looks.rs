//! What a picture looks like in 36 pixels: copies that were resized or compressed anew look the same.

use crayon_vision::Pixels;

/// Edge of the small picture.
const EDGE: usize = 6;
/// Mean difference of a channel, of 255, up to which two pictures look the same.
const SAME: f64 = 6.0;

/// The small picture, in hexadecimal.
pub(crate) fn look(picture: &Pixels) -> String {
    let size = picture.size;
    let mut bytes = Vec::with_capacity(EDGE * EDGE * 3);
    for row in 0..EDGE {
        for column in 0..EDGE {
            let part =
                |at: usize| at * size / EDGE..((at + 1) * size / EDGE).max(at * size / EDGE + 1).min(size);
            let (rows, columns) = (part(row), part(column));
            let count = (rows.len() * columns.len()).max(1);
            let mut sums = [0usize; 3];
            for y in rows {
                for pixel in
                    picture.rgb[(y * size + columns.start) * 3..(y * size + columns.end) * 3].chunks_exact(3)
                {
                    sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += usize::from(*value));
                }
            }
            bytes.extend(sums.map(|sum| (sum / count) as u8));
        }
    }
    hex::encode(bytes)
}

/// The small picture's bytes; none where there is none.
pub(crate) fn decoded(look: &str) -> Vec<u8> {
    hex::decode(look).ok().filter(|bytes| bytes.len() == EDGE * EDGE * 3).unwrap_or_default()
}

/// Whether two pictures look the same. What has no look is like nothing else.
pub(crate) fn alike(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b)));
    !a.is_empty() && a.len() == b.len() && f64::from(differences.sum::<u32>()) <= SAME * a.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(size: usize, shift: u8) -> Pixels {
        let rgb = (0..size * size)
            .flat_map(|at| [(at % size * 200 / size) as u8, (at / size * 200 / size) as u8, shift])
            .collect();
        Pixels { size, rgb }
    }

    #[test]
    fn size_changes_no_look_and_colour_does() {
        let bytes = |picture: &Pixels| decoded(&look(picture));
        let small = bytes(&gradient(20, 30));
        assert!(alike(&small, &bytes(&gradient(64, 33))));
        assert!(!alike(&small, &bytes(&gradient(64, 90))));
        for bad in ["", "zz", "00"] {
            assert!(!alike(&decoded(bad), &decoded(bad)), "{bad}");
        }
    }
}
