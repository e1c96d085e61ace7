//! Linear layers, their weights left where the file has them.

use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::ops::Act;
use crayon_kernels::{Activations, Matrix, Mode, Product, Rounding, Threads, dequantize, matmul, ops};

use crate::ModelError;
use crate::adapter::Site;

/// Values of one task in elementwise work: large enough that a single row stays on one thread.
pub(crate) const ELEMENTS: usize = 16 * 1024;

/// The same in whole rows of `width` values.
pub(crate) fn some_rows(width: usize) -> usize {
    (ELEMENTS / width).max(1) * width
}

/// `y = x Wᵀ + b`.
pub struct Linear {
    weight: Tensor,
    bias: Option<Vec<f32>>,
    /// How its input is rounded where products run on integers, if the model says so.
    rounding: Option<Rounding>,
    /// The bias beside integers: it takes away what a zero point adds to every sum.
    shifted: Option<Vec<f32>>,
    /// Where adapters know it; `None` for a layer that takes none.
    site: Option<Site>,
}

impl Linear {
    /// A layer of `weight` `[out, in]` in any format, with `bias` `[out]`.
    ///
    /// # Errors
    /// When the weight is not a matrix, its bytes do not fit its shape, or the bias has another size.
    pub fn new(weight: Tensor, bias: Option<Vec<f32>>) -> Result<Linear, ModelError> {
        let weight = matrix(weight)?;
        match &bias {
            Some(bias) if bias.len() != weight.shape[0] => Err(ModelError::Weight {
                reason: format!("a bias of {} values for {} rows", bias.len(), weight.shape[0]),
                name: weight.name,
            }),
            _ => Ok(Linear { weight, bias, rounding: None, shifted: None, site: None }),
        }
    }

    /// The layer of a decoder at `site`, where adapters may attach.
    pub(crate) fn open(checkpoint: &Checkpoint, site: Site) -> Result<Linear, ModelError> {
        let weight = checkpoint.tensor(&format!("{site}.weight"))?;
        let bias = site.projection.has_bias(&checkpoint.spec);
        let bias = bias.then(|| checkpoint.tensor(&format!("{site}.bias"))).transpose()?;
        let mut linear = Linear::new(weight, bias.map(|bias| bias.to_f32()))?;
        linear.site = Some(site);
        match checkpoint.rounding(&site.to_string()) {
            Some(rounding) => linear.rounded(rounding),
            None => Ok(linear),
        }
    }

    /// The same layer with its input rounded so in [`Mode::Fast`].
    ///
    /// # Errors
    /// When the weight is in blocks, which have a rounding of their own.
    pub fn rounded(mut self, rounding: Rounding) -> Result<Linear, ModelError> {
        let format = self.weight.format;
        if !rounding.is_valid() || !(format.is_per_channel() || format.is_float()) {
            let reason = format!("{format} weights take no inputs rounded by {rounding:?}");
            return Err(ModelError::Weight { name: self.weight.name, reason });
        }
        self.shifted = match rounding {
            Rounding::Fixed { scale, zero, .. } if format.is_per_channel() && zero != 0 => {
                let matrix = self.matrix();
                let mut row = vec![0.0; matrix.cols];
                let shift = (0..matrix.rows).map(|r| {
                    dequantize(matrix.format, matrix.row(r), &mut row);
                    let sum: f64 = row.iter().map(|value| f64::from(*value)).sum();
                    let bias = self.bias.as_ref().map_or(0.0, |bias| bias[r]);
                    (f64::from(bias) - f64::from(scale) * f64::from(zero) * sum) as f32
                });
                Some(shift.collect())
            }
            _ => None,
        };
        self.rounding = Some(rounding);
        Ok(self)
    }

    /// How its input is rounded in [`Mode::Fast`], if the model says so.
    pub fn rounding(&self) -> Option<Rounding> {
        self.rounding
    }

    /// The weight `[out, in]` as kernels see it.
    pub fn matrix(&self) -> Matrix<'_> {
        view(&self.weight)
    }

    /// Where adapters know it.
    pub fn site(&self) -> Option<Site> {
        self.site
    }
}

/// Told the [`Site`], the input `x` `[rows, in]` and the output `[rows, out]` of a layer; adds to the output what adapters say.
pub type Adapt<'a> = dyn Fn(Site, &[f32], &mut [f32]) + 'a;

/// How linear layers of one pass are multiplied.
pub struct Projector<'a> {
    /// The threads.
    pub threads: &'a Threads,
    /// Whether activations stay f32.
    pub mode: Mode,
    /// Buffers of the products' inputs.
    pub activations: &'a mut Activations,
    /// Called for every layer that has a site.
    pub adapt: &'a Adapt<'a>,
}

impl Projector<'_> {
    /// Several layers of one input, which is prepared once for all: `x` is `[rows, in]`, each output becomes `[rows, out]`.
    /// Allocates nothing once the outputs have grown.
    ///
    /// # Panics
    /// When `x` has another size, or the layers take inputs of different widths. Their input is rounded as the first of them says.
    pub fn run<const N: usize>(&mut self, x: &[f32], rows: usize, mut layers: [(&Linear, &mut Vec<f32>); N]) {
        self.multiply(x, rows, &mut layers);
        for (layer, out) in layers {
            self.finish(layer, x, out, None);
        }
    }

    /// One layer and an activation after it.
    ///
    /// # Panics
    /// As [`run`](Self::run).
    pub fn run_act(&mut self, x: &[f32], rows: usize, layer: &Linear, act: Act, out: &mut Vec<f32>) {
        self.multiply(x, rows, &mut [(layer, &mut *out)]);
        self.finish(layer, x, out, Some(act));
    }

    /// One layer whose output is added to `onto` `[rows, out]`, through a buffer that grows to the same size.
    ///
    /// # Panics
    /// As [`run`](Self::run), and when `onto` has another size.
    pub fn run_onto(
        &mut self,
        x: &[f32],
        rows: usize,
        layer: &Linear,
        buffer: &mut Vec<f32>,
        onto: &mut [f32],
    ) {
        self.multiply(x, rows, &mut [(layer, &mut *buffer)]);
        assert_eq!(onto.len(), buffer.len(), "what a layer's output is added to");
        let width = layer.matrix().rows;
        let (bias, adapted) = (self.bias(layer), layer.site.is_some());
        if adapted {
            self.finish(layer, x, buffer, None);
        }
        let (each, buffer) = (some_rows(width), &*buffer);
        self.threads.for_each_chunk(onto, each, |i, onto| {
            let delta = &buffer[i * each..][..onto.len()];
            match bias.filter(|_| !adapted) {
                None => ops::add(onto, delta),
                Some(bias) => {
                    for (onto, delta) in onto.chunks_exact_mut(width).zip(delta.chunks_exact(width)) {
                        for ((onto, delta), bias) in onto.iter_mut().zip(delta).zip(bias) {
                            *onto += delta + bias;
                        }
                    }
                }
            }
        });
    }

    /// A layer's bias, with what a zero point of its input adds where inputs are rounded.
    fn bias<'l>(&self, layer: &'l Linear) -> Option<&'l [f32]> {
        let shifted = layer.shifted.as_deref().filter(|_| self.mode == Mode::Fast);
        shifted.or(layer.bias.as_deref())
    }

    /// What a layer's output has beyond the product, then `act`, on rows while they are in the cache.
    fn finish(&self, layer: &Linear, x: &[f32], out: &mut [f32], act: Option<Act>) {
        let each = some_rows(layer.matrix().rows);
        let pass = |out: &mut [f32], bias: Option<&[f32]>, act: Option<Act>| {
            if bias.is_none() && act.is_none() {
                return;
            }
            self.threads.for_each_chunk(out, each, |_, out| {
                if let Some(bias) = bias {
                    ops::add_bias(out, bias);
                }
                if let Some(act) = act {
                    act.apply(out);
                }
            });
        };
        match layer.site {
            None => pass(out, self.bias(layer), act),
            Some(site) => {
                pass(&mut *out, self.bias(layer), None);
                (self.adapt)(site, x, &mut *out);
                pass(out, None, act);
            }
        }
    }

    /// The products alone.
    fn multiply<const N: usize>(
        &mut self,
        x: &[f32],
        rows: usize,
        layers: &mut [(&Linear, &mut Vec<f32>); N],
    ) {
        let Some((first, _)) = layers.first() else { return };
        self.activations.set_with(self.threads, x, rows, first.matrix().cols);
        if let Some(rounding) = first.rounding {
            self.activations.round(rounding);
        }
        let formats = layers.iter().map(|(layer, _)| layer.matrix().format);
        self.activations.prepare(self.threads, formats, self.mode);
        let mut products = layers.each_mut().map(|(layer, out)| {
            let weight = layer.matrix();
            out.resize(rows * weight.rows, 0.0);
            Product { weight, out: &mut out[..] }
        });
        matmul(self.threads, self.activations, &mut products, self.mode);
    }
}

/// A tensor of two dimensions whose bytes were checked against its shape, so that [`view`] cannot fail.
pub(crate) fn matrix(tensor: Tensor) -> Result<Tensor, ModelError> {
    let fail = |reason: String| ModelError::Weight { name: tensor.name.clone(), reason };
    let [rows, cols] = tensor.shape[..] else {
        return Err(fail(format!("expected two dimensions, found {:?}", tensor.shape)));
    };
    Matrix::new(tensor.format, rows, cols, &tensor.data).map_err(|error| fail(error.to_string()))?;
    Ok(tensor)
}

/// The kernels' view of a tensor that [`matrix`] accepted.
pub(crate) fn view(tensor: &Tensor) -> Matrix<'_> {
    Matrix { format: tensor.format, rows: tensor.shape[0], cols: tensor.shape[1], data: &tensor.data }
}
