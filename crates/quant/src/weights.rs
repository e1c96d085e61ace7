//! Weights as they are kept.

use crayon_formats::{Format, Tensor};
use crayon_kernels::{NibbleGrid, quantize_bytes, quantize_nibbles, quantize_rows};
use crayon_train::quantised::{Grid, WeightRounding};

use crate::Form;

/// The weight `[out, in]` as it is kept: f32 `tensor` rounded to the grids of its groups.
pub fn finished(
    tensor: &Tensor,
    rounding: WeightRounding,
    grids: &[Grid],
    form: Form,
    blocks: Format,
) -> Tensor {
    let [rows, cols] = tensor.shape[..] else { return tensor.clone() };
    let mut values = tensor.to_f32();
    let mut data = Vec::new();
    let format = match form {
        Form::Floats => {
            let groups = rounding.cut(rows, cols).groups_mut(&mut values);
            groups.zip(grids).for_each(|(group, grid)| grid.apply(group));
            return Tensor::from_f32(&tensor.name, tensor.shape.clone(), &values);
        }
        Form::Blocks if blocks.row_bytes(cols).is_some() => {
            quantize_rows(blocks, cols, &values, &mut data);
            blocks
        }
        Form::Blocks => return tensor.clone(),
        Form::Rows if rounding.bits == 4 => {
            let units: Vec<f32> = grids.chunks_exact(grids.len() / rows).map(|row| row[0].unit).collect();
            let grids: Vec<NibbleGrid> = grids
                .iter()
                .map(|grid| NibbleGrid { step: grid.step as u8, zero: grid.zero as u8 })
                .collect();
            quantize_nibbles(cols, &values, &units, &grids, &mut data);
            Format::W4A8
        }
        Form::Rows => {
            // One for all rows, or one for each.
            let scales: Vec<f32> = (0..rows).map(|row| grids[row * grids.len() / rows].scale()).collect();
            quantize_bytes(cols, &values, &scales, &mut data);
            Format::W8A8
        }
    };
    Tensor { name: tensor.name.clone(), format, shape: tensor.shape.clone(), data: data.into() }
}
