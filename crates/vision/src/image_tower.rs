//! The tower of pictures.

use crayon_formats::clip::{ImageSpec, Preprocess};
use crayon_kernels::ops;
use crayon_model::{Linear, ModelError, RowNorm, Sight};

use crate::encoder::{Batch, Buffers, Encoder, Run};
use crate::head::Head;
use crate::pixels::Pixels;
use crate::weights::Weights;

/// The layers, in the order they run.
pub(crate) struct ImageTower {
    spec: ImageSpec,
    /// What each value of a colour becomes.
    colours: [[f32; 256]; 3],
    patches: Linear,
    /// `[rows, hidden]`, with the class token, if there is one, added to its own.
    positions: Vec<f32>,
    input_norm: Option<RowNorm>,
    encoder: Encoder,
    norm: RowNorm,
    end: End,
}

/// How the rows of a picture become one embedding.
enum End {
    /// The class token's row, through a last layer.
    Class(Linear),
    /// Attention with a learned query.
    Head(Box<Head>),
}

impl ImageTower {
    pub(crate) fn open(weights: &Weights<'_>) -> Result<ImageTower, ModelError> {
        let spec = weights.checkpoint.spec.image.clone();
        let (pooling, tower) = (spec.pooling_head, &spec.tower);
        let mut positions = weights.values("image.position_embd.weight")?;
        if !pooling {
            ops::add(&mut positions[..tower.hidden], &weights.values("image.class_embd")?);
        }
        Ok(ImageTower {
            colours: colours(&weights.checkpoint.preprocess),
            patches: weights.linear("image.patch_embd", pooling)?,
            positions,
            input_norm: (!pooling).then(|| weights.norm("image.input_norm", tower.eps)).transpose()?,
            encoder: Encoder::open(weights, "image", tower, Sight::All)?,
            norm: weights.norm("image.output_norm", tower.eps)?,
            end: match pooling {
                true => End::Head(Box::new(Head::open(weights, tower)?)),
                false => End::Class(weights.linear("image.projection", false)?),
            },
            spec,
        })
    }

    /// Embeds pictures of the tower's size, `[pictures, dim]`, before they are brought to length 1.
    pub(crate) fn forward(
        &self,
        run: Run<'_>,
        pictures: &[Pixels],
        buffers: &mut Buffers,
        out: &mut Vec<f32>,
    ) {
        let (width, rows) = (self.spec.tower.hidden, self.spec.rows());
        self.embed(run, pictures, buffers);
        let spans: Vec<_> = (0..pictures.len()).map(|i| i * rows..(i + 1) * rows).collect();
        let classes: Vec<usize> = spans.iter().map(|span| span.start).collect();
        let pooled = matches!(self.end, End::Class(_)).then_some(&classes[..]);
        self.encoder.forward(run, &Batch { spans: &spans, bias: &[], pooled }, buffers);

        buffers.normed.resize(buffers.hidden.len(), 0.0);
        self.norm.apply_to_rows(run.threads, &buffers.hidden, &mut buffers.normed);
        match &self.end {
            End::Class(projection) => {
                let Buffers { activations, normed, .. } = buffers;
                run.project(activations, normed, pictures.len(), [(projection, out)]);
            }
            End::Head(head) => {
                std::mem::swap(&mut buffers.hidden, &mut buffers.normed);
                head.pool(run, &spans, buffers);
                out.clear();
                out.extend_from_slice(&buffers.hidden[..pictures.len() * width]);
            }
        }
    }

    /// The rows that enter the first block: patches with their positions, and the class token before them.
    fn embed(&self, run: Run<'_>, pictures: &[Pixels], buffers: &mut Buffers) {
        let (width, rows, patches) = (self.spec.tower.hidden, self.spec.rows(), self.spec.patches());
        let values = self.spec.patch_values();
        let Buffers { activations, hidden, normed, delta, inner: [unfolded, _], .. } = buffers;
        unfolded.resize(pictures.len() * patches * values, 0.0);
        run.threads.for_each_chunk(unfolded, patches * values, |i, out| self.unfold(&pictures[i], out));
        run.project(activations, unfolded, pictures.len() * patches, [(&self.patches, &mut *delta)]);
        let (delta, classes) = (&*delta, rows - patches);
        let embed = |i: usize, out: &mut [f32]| {
            out.copy_from_slice(&self.positions);
            ops::add(&mut out[classes * width..], &delta[i * patches * width..][..patches * width]);
        };
        hidden.resize(pictures.len() * rows * width, 0.0);
        run.threads.for_each_chunk(hidden, rows * width, embed);
        if let Some(norm) = &self.input_norm {
            normed.resize(hidden.len(), 0.0);
            norm.apply_to_rows(run.threads, hidden, normed);
            std::mem::swap(hidden, normed);
        }
    }

    /// The patches of a picture, `[patches, 3 * patch * patch]`: colour by colour, row by row.
    fn unfold(&self, picture: &Pixels, out: &mut [f32]) {
        let (size, patch) = (self.spec.size, self.spec.patch);
        let side = size / patch;
        for (i, out) in out.chunks_exact_mut(self.spec.patch_values()).enumerate() {
            let (top, left) = (i / side * patch, i % side * patch);
            for y in 0..patch {
                let pixels = &picture.rgb[((top + y) * size + left) * 3..][..patch * 3];
                for (x, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
                    for (colour, value) in pixel.iter().enumerate() {
                        out[(colour * patch + y) * patch + x] = self.colours[colour][usize::from(*value)];
                    }
                }
            }
        }
    }
}

/// What each value of a colour becomes: brought to 0 … 1, less the mean, over the deviation.
fn colours(preprocess: &Preprocess) -> [[f32; 256]; 3] {
    std::array::from_fn(|colour| {
        let (mean, std) = (preprocess.mean[colour], preprocess.std[colour]);
        std::array::from_fn(|value| (value as f32 / 255.0 - mean) / std)
    })
}
