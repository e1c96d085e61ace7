//! SentencePiece models, as far as a vocabulary needs them: pieces, scores, kinds and a few flags. The files are
//! protocol buffers (`sentencepiece_model.proto`).

/// What of a SentencePiece model goes into other formats.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SentencePiece {
    /// Piece, score and kind (1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte), by id.
    pub(crate) pieces: Vec<(String, f32, i32)>,
    /// 1 for unigram, 2 for BPE.
    pub(crate) model_type: u64,
    /// Whether a space is put in front of texts.
    pub(crate) add_dummy_prefix: bool,
    /// Whether runs of spaces become one.
    pub(crate) remove_extra_whitespaces: bool,
    /// Whether characters are replaced by a table, or the space in front goes behind.
    pub(crate) has_other_rules: bool,
}

/// Reads a model; `None` when it is cut short or not such a file.
pub(crate) fn read(bytes: &[u8]) -> Option<SentencePiece> {
    let mut model = SentencePiece {
        model_type: 1,
        add_dummy_prefix: true,
        remove_extra_whitespaces: true,
        ..Default::default()
    };
    let mut fields = Fields(bytes);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, Value::Bytes(inner)) => model.pieces.push(read_piece(inner)?),
            (2, Value::Bytes(inner)) => {
                let mut trainer = Fields(inner);
                while let Some((number, value)) = trainer.next_field()? {
                    match (number, value) {
                        (3, Value::Number(kind)) => model.model_type = kind,
                        (24, Value::Number(suffix)) => model.has_other_rules |= suffix != 0,
                        _ => {}
                    }
                }
            }
            (3, Value::Bytes(inner)) => {
                let mut normalizer = Fields(inner);
                while let Some((number, value)) = normalizer.next_field()? {
                    match (number, value) {
                        (2, Value::Bytes(table)) => model.has_other_rules |= !table.is_empty(),
                        (3, Value::Number(flag)) => model.add_dummy_prefix = flag != 0,
                        (4, Value::Number(flag)) => model.remove_extra_whitespaces = flag != 0,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(model)
}

fn read_piece(bytes: &[u8]) -> Option<(String, f32, i32)> {
    let (mut text, mut score, mut kind) = (String::new(), 0.0, 1);
    let mut fields = Fields(bytes);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => text = std::str::from_utf8(bytes).ok()?.to_owned(),
            (2, Value::Fixed(bits)) => score = f32::from_bits(bits),
            (3, Value::Number(number @ 1..=6)) => kind = number as i32,
            _ => {}
        }
    }
    Some((text, score, kind))
}

enum Value<'a> {
    Number(u64),
    Fixed(u32),
    Bytes(&'a [u8]),
    Long,
}

/// Fields of a message one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field's number and value; `Some(None)` at the end, `None` when the message is cut short.
    #[allow(clippy::option_option)]
    fn next_field(&mut self) -> Option<Option<(u64, Value<'a>)>> {
        if self.0.is_empty() {
            return Some(None);
        }
        let tag = self.varint()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Long
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            _ => return None,
        };
        Some(Some((tag >> 3, value)))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::read;

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(model) = read(&bytes) {
                prop_assert!(model.pieces.len() <= bytes.len());
            }
            let nested = [&[0x0a, bytes.len().min(127) as u8], bytes.as_slice()].concat();
            let _ = read(&nested);
        }
    }
}
