//! The rows of a Parquet file of metadata: what belongs to the vectors beside it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;

use crate::ImageError;
use crate::caught::caught;

/// What is known of one vector.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Where the picture lay, or its name in an archive.
    pub(super) path: Option<String>,
    pub(super) url: Option<String>,
    pub(super) caption: Option<String>,
    pub(super) width: Option<u32>,
    pub(super) height: Option<u32>,
}

/// Columns that are read, and where their values go.
const COLUMNS: [&str; 7] =
    ["image_path", "url", "caption", "original_width", "original_height", "width", "height"];

/// A file of metadata.
pub(super) struct Table {
    path: std::path::PathBuf,
    reader: SerializedFileReader<File>,
    /// How many rows it has.
    pub(super) rows: usize,
}

impl Table {
    /// Opens a file and reads its end, where its description is.
    ///
    /// # Errors
    /// If it is not a Parquet file, or damaged.
    pub(super) fn open(path: &Path) -> Result<Table, ImageError> {
        let file = File::open(path).map_err(|error| ImageError::io(path, error))?;
        let reader = caught(|| SerializedFileReader::new(file));
        let reader = reader.ok_or_else(|| damaged(path, "its description"))?;
        let reader = reader.map_err(|error| damaged(path, &error.to_string()))?;
        let rows = usize::try_from(reader.metadata().file_metadata().num_rows());
        let rows = rows.map_err(|_| damaged(path, "how many rows it has"))?;
        Ok(Table { path: path.to_owned(), reader, rows })
    }

    /// Calls `each` for every row in order, until it fails.
    ///
    /// # Errors
    /// If the file is damaged, has neither paths nor addresses, or `each` fails.
    pub(super) fn each(
        self,
        mut each: impl FnMut(Record) -> Result<(), ImageError>,
    ) -> Result<(), ImageError> {
        let path = self.path;
        let schema = self.reader.metadata().file_metadata().schema_descr().root_schema_ptr();
        let fields: Vec<Arc<Type>> =
            schema.get_fields().iter().filter(|field| COLUMNS.contains(&field.name())).cloned().collect();
        if !fields.iter().any(|field| ["image_path", "url"].contains(&field.name())) {
            return Err(ImageError::import(&path, "it has no column image_path or url"));
        }
        let wanted = Type::group_type_builder(schema.name()).with_fields(fields).build();
        let wanted = wanted.map_err(|error| damaged(&path, &error.to_string()))?;
        let rows = caught(|| self.reader.into_iter().project(Some(wanted)));
        let rows = rows.ok_or_else(|| damaged(&path, "its columns"))?;
        let mut rows = rows.map_err(|error| damaged(&path, &error.to_string()))?;
        loop {
            // The crate panics at some damages.
            let row = caught(|| rows.next()).ok_or_else(|| damaged(&path, "a page"))?;
            match row {
                None => return Ok(()),
                Some(row) => each(record(row.map_err(|error| damaged(&path, &error.to_string()))?))?,
            }
        }
    }
}

fn damaged(path: &Path, what: &str) -> ImageError {
    ImageError::import(path, format!("it is not a Parquet file, or a damaged one ({what})"))
}

fn record(row: Row) -> Record {
    let mut record = Record::default();
    for (name, field) in row.into_columns() {
        match name.as_str() {
            "image_path" => record.path = text(field),
            "url" => record.url = text(field),
            "caption" => record.caption = text(field),
            // The size of the picture itself counts, where that in the archive differs.
            "original_width" => record.width = number(&field).or(record.width),
            "original_height" => record.height = number(&field).or(record.height),
            "width" => record.width = record.width.or(number(&field)),
            "height" => record.height = record.height.or(number(&field)),
            _ => {}
        }
    }
    record
}

fn text(field: Field) -> Option<String> {
    let text = match field {
        Field::Str(text) => text,
        // Writers that do not say that a column is text.
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).ok()?,
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

fn number(field: &Field) -> Option<u32> {
    let number = match field {
        Field::Int(number) => i64::from(*number),
        Field::Long(number) => *number,
        Field::UInt(number) => i64::from(*number),
        Field::ULong(number) => i64::try_from(*number).ok()?,
        // pandas makes floats of a column in which a number is missing.
        Field::Double(number) if number.fract() == 0.0 => *number as i64,
        Field::Float(number) if number.fract() == 0.0 => *number as i64,
        _ => return None,
    };
    u32::try_from(number).ok().filter(|number| *number > 0)
}
