//! A checkpoint in the order of rows that everything here works in.

use crayon_formats::spec::{Positions, RopeLayout};
use crayon_formats::{Checkpoint, Tensor};
use crayon_train::plain::half_order;

use crate::QuantError;

/// `checkpoint` with rotary pairs as halves, whatever the file has: the differentiable network has them so, and scales of weights'
/// rows belong to rows. Refuses a model that is quantised by this project already.
///
/// # Errors
/// When it is, or a tensor cannot be read.
pub fn prepared(checkpoint: &Checkpoint) -> Result<Checkpoint, QuantError> {
    let model = &checkpoint.source.name;
    let mut turned = Vec::new();
    for (name, shape) in checkpoint.spec.tensors() {
        let tensor = checkpoint.tensor(&name)?;
        if tensor.format.is_per_channel() && name.starts_with("blk.") {
            let (model, format) = (model.clone(), tensor.format);
            return Err(QuantError::AlreadyQuantised { model, tensor: name, format });
        }
        if let Some(order) = half_order(&checkpoint.spec, &name, shape[0]) {
            let each = tensor.data.len() / shape[0];
            let rows = order.iter().flat_map(|row| tensor.data[row * each..(row + 1) * each].iter().copied());
            turned.push(Tensor { data: rows.collect::<Vec<u8>>().into(), ..tensor });
        }
    }
    let mut other = checkpoint.clone().with_tensors(turned)?;
    if let Positions::Rope(rope) = &mut other.spec.positions {
        rope.layout = RopeLayout::Half;
    }
    Ok(other)
}
