//! A pool in one file: keys, description and all adapters, these in half precision.
//!
//! Tensors of adapter `n` are `n.PLACE.a` `[rank, in]` and `n.PLACE.b` `[out, rank]`, the scale within B.

use std::path::Path;

use crayon_formats::safetensors::{self, SafeTensors};
use crayon_formats::spec::Spec;
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::{Format, quantize};
use crayon_model::{LowRankPair, Projection, Site};

use crate::catalogue::{Catalogue, DAMAGED};
use crate::{AdapterError, Lora, Member, Pool};

pub(crate) fn write(pool: &Pool, path: &Path) -> Result<(), AdapterError> {
    let (mut tensors, metadata) = pool.catalogue().parts()?;
    for (number, member) in pool.members.iter().enumerate() {
        for (site, pair) in &member.lora.pairs {
            let (input, output) = (pair.a.len() / pair.rank, pair.b.len() / pair.rank);
            let b: Vec<f32> = pair.b.iter().map(|value| value * pair.scale).collect();
            let name = |part: &str| format!("{number}.{site}.{part}");
            tensors.push(half(&name("a"), vec![pair.rank, input], &pair.a));
            tensors.push(half(&name("b"), vec![output, pair.rank], &b));
        }
    }
    Ok(safetensors::write(path, &tensors, &metadata)?)
}

fn half(name: &str, shape: Vec<usize>, values: &[f32]) -> Tensor {
    let mut data = Vec::with_capacity(2 * values.len());
    quantize(Format::F16, values, &mut data);
    Tensor { name: name.to_owned(), format: Format::F16, shape, data: data.into() }
}

pub(crate) fn read(file: &SafeTensors, checkpoint: &Checkpoint, name: &str) -> Result<Pool, AdapterError> {
    let spec = &checkpoint.spec;
    let Catalogue { members: listed, keys, temperature, base, base_name } =
        Catalogue::parse(file, &file.file, checkpoint, name)?;
    let mut members = Vec::with_capacity(listed.len());
    for (number, entry) in listed.into_iter().enumerate() {
        let mut lora =
            Lora { base: Some(base.clone()), base_name: Some(base_name.clone()), ..Lora::default() };
        for layer in 0..spec.layers {
            for projection in Projection::ALL {
                let site = Site { layer, projection };
                lora.pairs.extend(pair(file, number, site, spec)?.map(|pair| (site, pair)));
            }
        }
        if lora.pairs.is_empty() {
            return Err(AdapterError::tensor(&file.file, &format!("{number}.*"), "is missing", DAMAGED));
        }
        members.push(Member { name: entry.name, examples: entry.examples, lora });
    }
    Pool { members, keys, temperature, base, base_name }.fit(&file.file, checkpoint, name)
}

/// Adapter `number` at a place, where it has one.
fn pair(
    file: &SafeTensors,
    number: usize,
    site: Site,
    spec: &Spec,
) -> Result<Option<LowRankPair>, AdapterError> {
    let (a, b) = (format!("{number}.{site}.a"), format!("{number}.{site}.b"));
    let wrong = |tensor: &str, what: &str| AdapterError::tensor(&file.file, tensor, what, DAMAGED);
    let (a, b) = match (file.tensor(&a)?, file.tensor(&b)?) {
        (Some(a), Some(b)) => (a, b),
        (None, None) => return Ok(None),
        (None, _) => return Err(wrong(&a, "is missing")),
        (_, None) => return Err(wrong(&b, "is missing")),
    };
    let (input, output) = site.projection.size(spec);
    let rank = a.shape.first().copied().unwrap_or(0);
    if rank == 0 || a.shape != [rank, input] || b.shape != [output, rank] {
        return Err(wrong(&a.name, "does not fit the network"));
    }
    if let Some(bad) = [&a, &b].into_iter().find(|part| part.first_non_finite().is_some()) {
        return Err(wrong(&bad.name, "holds NaN or infinity"));
    }
    Ok(Some(LowRankPair { a: a.to_f32(), b: b.to_f32(), rank, scale: 1.0 }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{AnswerKeys, Keys, Member, TEMPERATURE};

    #[test]
    fn a_packed_pool_comes_back_and_a_damaged_one_does_not() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/llama");
        let checkpoint = Checkpoint::open(&model).unwrap();
        let spec = &checkpoint.spec;
        let site = Site { layer: 0, projection: Projection::V };
        let (input, output) = site.projection.size(spec);
        let pair = LowRankPair { a: vec![0.5; 2 * input], b: vec![0.25; 2 * output], rank: 2, scale: 2.0 };
        let lora = Lora { pairs: BTreeMap::from([(site, pair)]), ..Lora::default() };
        let mut pool = Pool {
            members: vec![Member { name: "one".to_owned(), examples: 3, lora }],
            keys: Keys {
                keys: vec![vec![1.0; input]],
                mean: vec![0.5; input],
                answers: Some(AnswerKeys { keys: vec![vec![2.0; input]], mean: vec![0.25; input] }),
                floor: 0.1,
                rest: Some(0.4),
            },
            temperature: TEMPERATURE,
            base: checkpoint.fingerprint(),
            base_name: "llama".to_owned(),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool.safetensors");
        pool.pack(&path).unwrap();
        let found = Pool::open(&path, &checkpoint, "llama").unwrap();
        assert_eq!((found.keys, found.members[0].name.as_str()), (pool.keys.clone(), "one"));
        let pair = &found.members[0].lora.pairs[&site];
        assert_eq!((pair.a[0], pair.b[0], pair.scale), (0.5, 0.5, 1.0));

        pool.members[0].lora.pairs.get_mut(&site).unwrap().b[3] = f32::NAN;
        pool.pack(&path).unwrap();
        let error = Pool::open(&path, &checkpoint, "llama").unwrap_err().to_string();
        assert!(error.contains("0.blk.0.attn_v.b") && error.contains("NaN"), "{error}");
        pool.members[0].lora.pairs.clear();
        pool.pack(&path).unwrap();
        assert!(Pool::open(&path, &checkpoint, "llama").unwrap_err().to_string().contains("is missing"));
        pool.base = "another".to_owned();
        pool.pack(&path).unwrap();
        assert!(matches!(Pool::open(&path, &checkpoint, "llama"), Err(AdapterError::OtherBase { .. })));
    }
}
