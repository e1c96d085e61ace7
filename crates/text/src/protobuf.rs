//! The little of Protocol Buffers' wire format that SentencePiece files need.

use crate::error::{Result, TextError};

/// One field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Field<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    pub(crate) fn bytes(self) -> Option<&'a [u8]> {
        if let Field::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(crate) fn text(self) -> Option<&'a str> {
        self.bytes().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    pub(crate) fn float(self) -> Option<f32> {
        if let Field::Fixed32(bytes) = self { Some(f32::from_le_bytes(bytes)) } else { None }
    }

    pub(crate) fn int(self) -> Option<i64> {
        // Negative 32-bit numbers are written as 64-bit ones.
        if let Field::Varint(value) = self { Some(value as i64) } else { None }
    }

    pub(crate) fn bool(self) -> Option<bool> {
        self.int().map(|value| value != 0)
    }
}

/// Numbers and values of a message's fields, in file order.
pub(crate) struct Fields<'a> {
    format: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(format: &'static str, message: &'a [u8]) -> Self {
        Fields { format, rest: message }
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Varint(self.varint()?),
            1 => self.take(8).map(|_| Field::Fixed64)?,
            2 => {
                let len = self.varint()?.try_into().ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => Field::Fixed32(self.take(4)?.try_into().ok()?),
            _ => return None,
        };
        Some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len();
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or_else(|| {
            TextError::malformed(self.format, format!("a field {left} bytes from the end cannot be read"))
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_every_kind() {
        let message =
            [0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 0, 0, 0x80, 0x3f, 0x21, 0, 0, 0, 0, 0, 0, 0, 0];
        let fields: Vec<_> = Fields::new("test", &message).map(|field| field.unwrap()).collect();
        assert_eq!(fields.len(), 4);
        assert_eq!((fields[0].0, fields[0].1.int()), (1, Some(150)));
        assert_eq!((fields[1].0, fields[1].1.text()), (2, Some("hi")));
        assert_eq!((fields[2].0, fields[2].1.float()), (3, Some(1.0)));
        assert_eq!(fields[3], (4, Field::Fixed64));
        let minus_one = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Fields::new("test", &minus_one).next().unwrap().unwrap().1.int(), Some(-1));
    }

    #[test]
    fn damage_is_an_error_once() {
        for message in [&[0x08][..], &[0x12, 200, 1], &[0x0b], &[0xff; 12], &[0x1d, 0, 0]] {
            let fields: Vec<_> = Fields::new("test", message).collect();
            assert_eq!(fields.len(), 1, "{message:?}");
            assert!(fields[0].is_err());
        }
    }
}
