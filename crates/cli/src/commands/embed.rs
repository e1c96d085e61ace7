//! `crayon embed`: texts and pictures as vectors of length 1.

use std::path::Path;

use crayon_vision::{Clip, Piece, WeightedTokens};
use serde::Serialize;

use crate::args::{EmbedArgs, EmbedCommand, EmbedImageArgs, EmbedTextArgs};
use crate::failure::{Context, Result, mistake};
use crate::output::Output;
use crate::{clip, input};

/// Pictures decoded before they are embedded together.
const TOGETHER: usize = 64;

/// What `embed text --json` prints.
#[derive(Serialize)]
struct TextReport {
    embedding: Vec<f32>,
    tokens: Vec<Token>,
    dim: usize,
    model: String,
    fingerprint: String,
}

/// A piece of the text and how much it counts.
#[derive(Serialize)]
struct Token {
    text: String,
    id: u32,
    weight: f32,
}

/// What `embed image --json` prints.
#[derive(Serialize)]
struct ImageReport {
    embedding: Vec<f32>,
    /// Pieces of the picture that were read.
    tokens: usize,
    /// Every picture, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<Picture>,
    dim: usize,
    model: String,
    fingerprint: String,
}

#[derive(Clone, Serialize)]
struct Picture {
    path: String,
    embedding: Vec<f32>,
}

/// Runs the command.
pub(crate) fn run(args: &EmbedArgs, output: &Output) -> Result {
    match &args.command {
        EmbedCommand::Text(args) => text(args, output),
        EmbedCommand::Image(args) => image(args, output),
    }
}

fn text(args: &EmbedTextArgs, output: &Output) -> Result {
    let clip = clip::open(&args.model, output)?;
    let text = match args.text.as_str() {
        "-" => input::stdin("the text", output)?,
        text => text.to_owned(),
    };
    let text = text.trim();
    let pieces = clip.tokenize(text)?;
    let mut weights = vec![1.0; pieces.len()];
    for given in &args.weight {
        weigh(text, &pieces, given, &mut weights)?;
    }
    if args.first_layer > clip.text_layers() {
        return Err(mistake(
            format!("there is no layer {}, the model has {}", args.first_layer, clip.text_layers()),
            "--first-layer counts from 0",
        ));
    }
    let tokens = pieces.iter().map(|piece| piece.id).collect();
    let weighted = WeightedTokens { tokens, weights, first_layer: args.first_layer };
    let embedding = clip.embed_texts(std::slice::from_ref(&weighted))?.remove(0);
    if !output.json {
        return show(&embedding, None, output);
    }
    let tokens = pieces.iter().zip(&weighted.weights).map(|(piece, &weight)| Token {
        text: text[piece.range.clone()].trim().to_owned(),
        id: piece.id,
        weight,
    });
    Ok(output.object(&TextReport {
        tokens: tokens.collect(),
        dim: embedding.len(),
        embedding,
        model: clip.name().to_owned(),
        fingerprint: clip.fingerprint().to_owned(),
    })?)
}

/// Gives every piece of the words called `WORD` in `WORD=W` the weight W.
fn weigh(text: &str, pieces: &[Piece], given: &str, weights: &mut [f32]) -> Result {
    let hint = "--weight takes a word of the text and a number of 0 or more, such as red=2.5";
    let parsed =
        given.rsplit_once('=').and_then(|(word, weight)| Some((word.trim(), weight.trim().parse().ok()?)));
    let Some((word, weight)) =
        parsed.filter(|(_, weight): &(&str, f32)| weight.is_finite() && *weight >= 0.0)
    else {
        return Err(mistake(format!("{given:?} is not a weight of a word"), hint));
    };
    let mut found = false;
    for word_index in 0..=pieces.iter().map(|piece| piece.word).max().unwrap_or(0) {
        let of = |piece: &Piece| piece.word == word_index;
        let ranges = pieces.iter().filter(|piece| of(piece)).map(|piece| piece.range.clone());
        let Some(whole) = ranges.reduce(|first, next| first.start..next.end) else { continue };
        if text[whole].trim().to_lowercase() == word.to_lowercase() {
            found = true;
            let own = pieces.iter().zip(weights.iter_mut()).filter(|(piece, _)| of(piece));
            own.for_each(|(_, place)| *place = weight);
        }
    }
    match found {
        true => Ok(()),
        false => Err(mistake(format!("the text has no word {word:?}"), hint)),
    }
}

fn image(args: &EmbedImageArgs, output: &Output) -> Result {
    let clip = clip::open(&args.model, output)?;
    let mut results = Vec::with_capacity(args.files.len());
    for files in args.files.chunks(TOGETHER) {
        let pictures = files.iter().map(|path| read(&clip, path)).collect::<Result<Vec<_>>>()?;
        for (path, embedding) in files.iter().zip(clip.embed_images(&pictures)?) {
            results.push(Picture { path: path.display().to_string(), embedding });
        }
    }
    if !output.json {
        let several = results.len() > 1;
        return results
            .iter()
            .try_for_each(|found| show(&found.embedding, several.then_some(found.path.as_str()), output));
    }
    Ok(output.object(&ImageReport {
        embedding: results.first().map(|found| found.embedding.clone()).unwrap_or_default(),
        tokens: clip.spec().image.rows(),
        results: if results.len() > 1 { results } else { Vec::new() },
        dim: clip.dim(),
        model: clip.name().to_owned(),
        fingerprint: clip.fingerprint().to_owned(),
    })?)
}

fn read(clip: &Clip, path: &Path) -> Result<crayon_vision::Pixels> {
    let file = std::fs::read(path).context(path.display())?;
    clip.preprocess(&file).context(path.display())
}

/// A line of numbers, after the path where there are several.
fn show(embedding: &[f32], path: Option<&str>, output: &Output) -> Result {
    let numbers: Vec<String> = embedding.iter().map(f32::to_string).collect();
    let path = path.map(|path| format!("{path}\t")).unwrap_or_default();
    Ok(output.line(&format!("{path}{}", numbers.join(" ")))?)
}
