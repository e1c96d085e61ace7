//! What a picture's file says besides pixels: EXIF (CIPA DC-008), IPTC-IIM 4.2 and XMP (ISO 16684-1).
//!
//! Nothing here fails: what cannot be read is not there.

use std::io::Cursor;

use crayon_vision::{dimensions, is_heic};
use exif::{Exif, In, Tag, Value};
use image::{ImageDecoder, ImageReader};

use crate::Details;

/// The longest XMP packet that is read.
const LONGEST_XMP: usize = 4 << 20;
/// Keywords of one picture, and bytes of each, that are kept.
const MOST_KEYWORDS: usize = 256;
const LONGEST_KEYWORD: usize = 256;
/// Windows' own tag for keywords, in UTF-16.
const XP_KEYWORDS: Tag = Tag(exif::Context::Tiff, 0x9c9e);

/// Size, date, camera and keywords of a picture.
pub fn details(bytes: &[u8]) -> Details {
    let mut found = Details::default();
    if is_heic(bytes) {
        (found.width, found.height) = dimensions(bytes).unwrap_or_default();
        let mut reader = exif::Reader::new();
        reader.continue_on_error(true);
        if let Some(exif) = readable(reader.read_from_container(&mut Cursor::new(bytes))) {
            read_tags(&exif, &mut found);
        }
        return found;
    }
    let reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format();
    let Some(mut decoder) = reader.ok().and_then(|reader| reader.into_decoder().ok()) else { return found };
    let turned = decoder.orientation().is_ok_and(|orientation| orientation.to_exif() >= 5);
    let (width, height) = decoder.dimensions();
    (found.width, found.height) = if turned { (height, width) } else { (width, height) };
    let [exif, xmp, iptc] = [decoder.exif_metadata(), decoder.xmp_metadata(), decoder.iptc_metadata()]
        .map(|packet| packet.ok().flatten());
    // A TIFF file is itself what EXIF is made of.
    let raw = exif.or_else(|| is_tiff(bytes).then(|| bytes.to_vec()));
    if let Some(exif) = raw.and_then(read_exif) {
        read_tags(&exif, &mut found);
    }
    if let Some(iptc) = iptc {
        read_iptc(&iptc, &mut found);
    }
    if let Some(xmp) = xmp.filter(|xmp| xmp.len() <= LONGEST_XMP) {
        read_xmp(&String::from_utf8_lossy(&xmp), &mut found);
    }
    found
}

/// Date, camera and keywords of EXIF.
fn read_tags(exif: &Exif, found: &mut Details) {
    found.taken = [Tag::DateTimeOriginal, Tag::DateTimeDigitized, Tag::DateTime]
        .into_iter()
        .find_map(|tag| date(&text(exif, tag)?));
    found.camera = camera(text(exif, Tag::Make), text(exif, Tag::Model));
    if let Some(field) = exif.get_field(XP_KEYWORDS, In::PRIMARY)
        && let Value::Byte(bytes) = &field.value
    {
        let units: Vec<u16> = bytes.as_chunks::<2>().0.iter().map(|two| u16::from_le_bytes(*two)).collect();
        let keywords = String::from_utf16_lossy(&units);
        keywords.trim_end_matches('\0').split(';').for_each(|keyword| keep(found, keyword));
    }
}

fn is_tiff(bytes: &[u8]) -> bool {
    bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*")
}

fn read_exif(raw: Vec<u8>) -> Option<Exif> {
    readable(exif::Reader::new().continue_on_error(true).read_raw(raw))
}

/// What could be read, be it a part.
fn readable(read: Result<Exif, exif::Error>) -> Option<Exif> {
    match read {
        Ok(exif) => Some(exif),
        Err(exif::Error::PartialResult(partial)) => Some(partial.into_inner().0),
        Err(_) => None,
    }
}

/// The text of a field, without padding.
fn text(exif: &Exif, tag: Tag) -> Option<String> {
    let Value::Ascii(parts) = &exif.get_field(tag, In::PRIMARY)?.value else { return None };
    let text = String::from_utf8_lossy(parts.first()?);
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// Maker and model; many models name their maker themselves.
fn camera(make: Option<String>, model: Option<String>) -> Option<String> {
    match (make, model) {
        (Some(make), Some(model)) => {
            let first = make.split_whitespace().next().unwrap_or_default().to_lowercase();
            Some(if model.to_lowercase().starts_with(&first) { model } else { format!("{make} {model}") })
        }
        (make, model) => model.or(make),
    }
}

/// `2024:05:01 12:30:00`, `2024-05-01T12:30:00+02:00`, `20240501`: as `2024-05-01T12:30:00`, without what is behind the seconds.
fn date(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(char::is_ascii_digit).take(14).collect();
    let number = |from: usize, len: usize| digits.get(from..from + len)?.parse::<u32>().ok();
    let (year, month, day) = (number(0, 4)?, number(4, 2)?, number(6, 2)?);
    if !(1800..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let time = (number(8, 2).unwrap_or(0), number(10, 2).unwrap_or(0), number(12, 2).unwrap_or(0));
    let (hour, minute, second) = if time.0 < 24 && time.1 < 60 && time.2 < 61 { time } else { (0, 0, 0) };
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"))
}

fn keep(found: &mut Details, keyword: &str) {
    let keyword = keyword.trim();
    let fits =
        !keyword.is_empty() && keyword.len() <= LONGEST_KEYWORD && found.keywords.len() < MOST_KEYWORDS;
    if fits && !found.keywords.iter().any(|known| known == keyword) {
        found.keywords.push(keyword.to_owned());
    }
}

/// Photoshop's image resources, `8BIM`, of which number 0x0404 holds datasets of IPTC; or the datasets themselves.
fn read_iptc(bytes: &[u8], found: &mut Details) {
    let mut rest = bytes;
    let mut any = false;
    while let Some(block) = rest.strip_prefix(b"8BIM") {
        any = true;
        let Some((id, behind)) = block.split_first_chunk::<2>() else { return };
        // A name with its length in front, padded to an even number of bytes.
        let Some(name) = behind.first() else { return };
        let Some(behind) = behind.get((usize::from(*name) + 2) / 2 * 2..) else { return };
        let Some((size, behind)) = behind.split_first_chunk::<4>() else { return };
        let size = u32::from_be_bytes(*size) as usize;
        let Some(data) = behind.get(..size) else { return };
        if u16::from_be_bytes(*id) == 0x0404 {
            datasets(data, found);
        }
        rest = behind.get(size.next_multiple_of(2)..).unwrap_or_default();
    }
    if !any {
        datasets(bytes, found);
    }
}

/// IPTC's datasets: 0x1c, record, number, length, data. Record 2 has keywords (25) and the date of creation (55, 60).
fn datasets(mut bytes: &[u8], found: &mut Details) {
    let mut day = None;
    let mut time = None;
    while let [0x1c, record, number, high, low, rest @ ..] = bytes {
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(data) = rest.get(..size) else { break };
        let text = decoded(data);
        match (record, number) {
            (2, 25) => keep(found, &text),
            (2, 55) => day = Some(text),
            (2, 60) => time = Some(text),
            _ => {}
        }
        bytes = &rest[size..];
    }
    if found.taken.is_none() {
        found.taken = day.and_then(|day| date(&format!("{day}{}", time.unwrap_or_default())));
    }
}

/// UTF-8 where it is, else Latin 1, as old programs wrote.
fn decoded(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) => text.to_owned(),
        Err(_) => data.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// `dc:subject`, and dates where EXIF had none.
fn read_xmp(packet: &str, found: &mut Details) {
    const DC: &str = "http://purl.org/dc/elements/1.1/";
    const EXIF: &str = "http://ns.adobe.com/exif/1.0/";
    const XMP: &str = "http://ns.adobe.com/xap/1.0/";
    const PHOTOSHOP: &str = "http://ns.adobe.com/photoshop/1.0/";
    let packet = packet.trim_matches(|c: char| c == '\0' || c == '\u{feff}' || c.is_whitespace());
    let Ok(document) = roxmltree::Document::parse(packet) else { return };
    let mut dates = [None, None, None];
    for node in document.descendants().filter(roxmltree::Node::is_element) {
        if node.tag_name().namespace() == Some(DC) && node.tag_name().name() == "subject" {
            let items = node.descendants().filter(|item| item.tag_name().name() == "li");
            items.filter_map(|item| item.text()).for_each(|keyword| keep(found, keyword));
        }
        // A property is an attribute of the description or an element in it.
        let named = [(EXIF, "DateTimeOriginal"), (PHOTOSHOP, "DateCreated"), (XMP, "CreateDate")];
        for ((space, name), slot) in named.into_iter().zip(&mut dates) {
            let own = (node.tag_name().namespace() == Some(space) && node.tag_name().name() == name)
                .then(|| node.text())
                .flatten();
            let text = node.attribute((space, name)).or(own);
            *slot = slot.take().or_else(|| text.and_then(date));
        }
    }
    if found.taken.is_none() {
        found.taken = dates.into_iter().flatten().next();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const XMP_PACKET: &str = r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmp:CreateDate="2019-07-04T10:00:00+02:00">
<dc:subject><rdf:Bag><rdf:li>beach</rdf:li><rdf:li> Zoë </rdf:li><rdf:li>beach</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"#;

    fn iptc() -> Vec<u8> {
        let mut data = Vec::new();
        for (number, text) in
            [(25u8, &b"harbour"[..]), (25, b"caf\xe9"), (55, b"20200102"), (60, b"030405+0000")]
        {
            data.extend([0x1c, 2, number, 0, text.len() as u8]);
            data.extend(text);
        }
        let mut block = b"8BIM\x04\x04\0\0".to_vec();
        block.extend((data.len() as u32).to_be_bytes());
        block.extend(&data);
        block
    }

    #[test]
    fn keywords_and_dates_are_found() {
        let mut found = Details::default();
        read_xmp(XMP_PACKET, &mut found);
        assert_eq!(found.keywords, ["beach", "Zoë"]);
        assert_eq!(found.taken.as_deref(), Some("2019-07-04T10:00:00"));
        let mut found = Details::default();
        read_iptc(&iptc(), &mut found);
        assert_eq!(found.keywords, ["harbour", "café"]);
        assert_eq!(found.taken.as_deref(), Some("2020-01-02T03:04:05"));
    }

    #[test]
    fn a_jpeg_with_all_three_is_read() {
        let mut plain = Cursor::new(Vec::new());
        image::RgbImage::new(4, 4).write_to(&mut plain, image::ImageFormat::Jpeg).unwrap();
        // EXIF: little-endian, one directory with maker, model and date.
        let mut tiff = b"II*\0\x08\0\0\0\x03\0".to_vec();
        let texts =
            [(0x010fu16, &b"Canon\0"[..]), (0x0110, b"Canon EOS 5D\0"), (0x0132, b"2021:03:04 05:06:07\0")];
        let mut behind = 8 + 2 + 3 * 12 + 4;
        for (tag, text) in texts {
            tiff.extend(tag.to_le_bytes());
            tiff.extend([2, 0]);
            tiff.extend((text.len() as u32).to_le_bytes());
            tiff.extend((behind as u32).to_le_bytes());
            behind += text.len();
        }
        tiff.extend([0; 4]);
        texts.iter().for_each(|(_, text)| tiff.extend(*text));
        let mut segments = Vec::new();
        let xmp = [b"http://ns.adobe.com/xap/1.0/\0", XMP_PACKET.as_bytes()].concat();
        for (marker, data) in [
            (0xe1, [b"Exif\0\0", &tiff[..]].concat()),
            (0xe1, xmp),
            (0xed, [b"Photoshop 3.0\0", &iptc()[..]].concat()),
        ] {
            segments.extend([0xff, marker]);
            segments.extend((data.len() as u16 + 2).to_be_bytes());
            segments.extend(data);
        }
        let plain = plain.into_inner();
        let file = [&plain[..2], &segments, &plain[2..]].concat();
        let found = details(&file);
        assert_eq!(found.taken.as_deref(), Some("2021-03-04T05:06:07"));
        assert_eq!(found.camera.as_deref(), Some("Canon EOS 5D"));
        assert_eq!(found.keywords, ["harbour", "café", "beach", "Zoë"]);
        assert_eq!(details(b"no picture"), Details::default());
    }

    #[test]
    fn dates_that_are_none_are_left() {
        for text in ["0000:00:00 00:00:00", "", "2020:13:01", "    :  :  "] {
            assert_eq!(date(text), None, "{text}");
        }
        assert_eq!(date("2020:12:01 99:99:99").as_deref(), Some("2020-12-01T00:00:00"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0usize..400) {
            let mut found = Details::default();
            read_iptc(&bytes, &mut found);
            read_xmp(&String::from_utf8_lossy(&bytes), &mut found);
            let _ = read_exif(bytes.clone());
            let mut whole = iptc();
            whole.truncate(cut);
            bytes.truncate(whole.len());
            for (to, from) in whole.iter_mut().zip(&bytes).skip(8) {
                *to ^= from & 3;
            }
            read_iptc(&whole, &mut found);
        }
    }
}
