//! Adapters and a pool that nobody trained.

use crayon_engine::Engine;
use crayon_engine::adapters::{Keys, Lora, Member, Pool};
use crayon_model::{LowRankPair, Projection, Site};

/// Made-up numbers between -1 and 1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// A made-up adapter of q and v, strong enough to be heard.
pub(crate) fn lora(engine: &Engine, seed: u64) -> Lora {
    let spec = engine.spec();
    let mut lora = Lora { base: Some(engine.checkpoint().fingerprint()), ..Lora::default() };
    for layer in 0..spec.layers {
        for projection in [Projection::Q, Projection::V] {
            let (input, output) = projection.size(spec);
            let own = seed * 1000 + (layer * 10) as u64 + projection as u64;
            let (a, b) = (numbers(2 * input, own), numbers(output * 2, own + 500));
            lora.pairs.insert(Site { layer, projection }, LowRankPair { a, b, rank: 2, scale: 2.0 });
        }
    }
    lora
}

/// A pool of two made-up adapters whose keys are the queries of two texts.
pub(crate) fn pool(engine: &Engine) -> Pool {
    let mean = engine.query("The day was long and the people were here.").unwrap();
    let mut keys = Keys { mean, floor: 0.6, ..Keys::default() };
    for text in ["cats like fish and milk", "seven plus nine is sixteen"] {
        let key = keys.centre(&engine.query(text).unwrap().into());
        keys.keys.push(key.prompt);
    }
    let member = |name: &str, seed| Member { name: name.to_owned(), examples: 3, lora: lora(engine, seed) };
    Pool {
        members: vec![member("animals", 1), member("sums", 2)],
        keys,
        temperature: 0.1,
        base: engine.checkpoint().fingerprint(),
        base_name: "mini".to_owned(),
    }
}
