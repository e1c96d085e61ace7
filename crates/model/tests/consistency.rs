//! What must not change an answer: how a text is cut into passes, what else is in the batch, the number of threads.

mod common;

use common::{cases, named, relative_difference};
use crayon_kernels::{Mode, Threads};
use crayon_model::{
    Decoder, KvMemory, LowRank, LowRankPair, ModelError, Projection, Scratch, Site, Step, Want,
};
use crayon_pot::{KvStorage, Slab};

fn run(decoder: &Decoder, pool: &Threads, chunks: &[&[u32]], capacity: usize, kv: KvStorage) -> Vec<f32> {
    let mut memory = Slab::plain(decoder.spec(), capacity, kv);
    let mut scratch = Scratch::new();
    let mut all = Vec::new();
    for chunk in chunks {
        let mut steps = [Step::new(chunk, &mut memory).wanting(Want::All)];
        all.extend_from_slice(decoder.forward(pool, &mut steps, &mut scratch).unwrap());
    }
    all
}

#[test]
fn stepping_equals_a_full_prefill() {
    for case in cases() {
        for mode in [Mode::Exact, Mode::Fast] {
            let decoder = Decoder::open(&case.checkpoint, mode).unwrap();
            let (pool, tokens) = (Threads::new(1), &case.tokens[..]);
            let whole = run(&decoder, &pool, &[tokens], tokens.len(), KvStorage::F32);
            let single: Vec<&[u32]> = tokens.chunks(1).collect();
            let stepped = run(&decoder, &pool, &single, tokens.len(), KvStorage::F32);
            assert!(relative_difference(&stepped, &whole) < 1e-5, "{}", case.name);
            let uneven = run(
                &decoder,
                &pool,
                &[&tokens[..7], &tokens[7..8], &tokens[8..]],
                tokens.len(),
                KvStorage::F32,
            );
            assert!(relative_difference(&uneven, &whole) < 1e-5, "{}", case.name);
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for case in cases() {
        let decoder = Decoder::open(&case.checkpoint, Mode::Fast).unwrap();
        let tokens = &case.tokens[..];
        let one = run(&decoder, &Threads::new(1), &[tokens], tokens.len(), KvStorage::F16);
        for threads in [2, 3] {
            assert_eq!(
                one,
                run(&decoder, &Threads::new(threads), &[tokens], tokens.len(), KvStorage::F16),
                "{}",
                case.name
            );
        }
    }
}

#[test]
fn a_sequence_is_the_same_alone_and_in_a_batch() {
    for case in cases() {
        let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
        let (pool, tokens) = (Threads::new(2), &case.tokens[..]);
        let capacity = tokens.len();
        let alone = run(&decoder, &pool, &[tokens], capacity, KvStorage::F32);
        let reversed: Vec<u32> = tokens.iter().rev().take(11).copied().collect();
        let other = run(&decoder, &pool, &[&reversed], capacity, KvStorage::F32);

        let mut memories = [(); 2].map(|()| Slab::plain(decoder.spec(), capacity, KvStorage::F32));
        let [first, second] = &mut memories;
        let mut steps =
            [Step::new(tokens, first), Step::new(&reversed, second)].map(|step| step.wanting(Want::All));
        let mut scratch = Scratch::new();
        let together = decoder.forward(&pool, &mut steps, &mut scratch).unwrap().to_vec();
        let (a, b) = together.split_at(alone.len());
        assert!(relative_difference(a, &alone) < 1e-5, "{}", case.name);
        assert!(relative_difference(b, &other) < 1e-5, "{}", case.name);

        // Last rows only.
        let mut memories = [(); 2].map(|()| Slab::plain(decoder.spec(), capacity, KvStorage::F32));
        let [first, second] = &mut memories;
        let mut steps = [Step::new(tokens, first), Step::new(&reversed, second)];
        let last = decoder.forward(&pool, &mut steps, &mut scratch).unwrap();
        let vocab = decoder.spec().vocab;
        assert!(relative_difference(&last[..vocab], &alone[alone.len() - vocab..]) < 1e-5, "{}", case.name);
        assert!(relative_difference(&last[vocab..], &other[other.len() - vocab..]) < 1e-5, "{}", case.name);

        // Each its own.
        let mut memories = [(); 2].map(|()| Slab::plain(decoder.spec(), capacity, KvStorage::F32));
        let [first, second] = &mut memories;
        let mut steps = [Step::new(tokens, first).wanting(Want::Nothing), Step::new(&reversed, second)];
        let own = decoder.forward(&pool, &mut steps, &mut scratch).unwrap();
        assert!(own.len() == vocab && relative_difference(own, &other[other.len() - vocab..]) < 1e-5);
    }
}

#[test]
fn half_precision_memory_stays_close() {
    for name in ["llama", "qwen3", "gemma3"] {
        let case = named(name);
        let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
        let tokens = &case.tokens[..];
        let exact = run(&decoder, &Threads::new(1), &[tokens], tokens.len(), KvStorage::F32);
        let half = run(&decoder, &Threads::new(1), &[tokens], tokens.len(), KvStorage::F16);
        let difference = relative_difference(&half, &exact);
        assert!(difference > 0.0 && difference < 1e-2, "{name}: {difference}");
    }
}

#[test]
fn rewinding_forgets_what_came_after() {
    let case = named("qwen2");
    let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
    let (pool, tokens) = (Threads::new(1), &case.tokens[..]);
    let mut memory = Slab::plain(decoder.spec(), tokens.len(), KvStorage::F32);
    let mut scratch = Scratch::new();
    let first = decoder.forward(&pool, &mut [Step::new(tokens, &mut memory)], &mut scratch);
    let first = first.unwrap().to_vec();
    memory.pop(tokens.len() - 5);
    assert_eq!((memory.len(0), memory.position()), (5, 5));
    let again = decoder.forward(&pool, &mut [Step::new(&tokens[5..], &mut memory)], &mut scratch);
    assert!(relative_difference(again.unwrap(), &first) < 1e-5);
}

#[test]
fn what_does_not_fit_is_refused_before_anything_changes() {
    let case = named("gpt2");
    let decoder = Decoder::open(&case.checkpoint, Mode::Exact).unwrap();
    let (pool, mut scratch) = (Threads::new(1), Scratch::new());
    let mut memory = Slab::plain(decoder.spec(), 4, KvStorage::F32);
    let full = decoder.forward(&pool, &mut [Step::new(&[1, 2, 3, 4, 5], &mut memory)], &mut scratch);
    assert!(matches!(full, Err(ModelError::MemoryFull { needed: 5, capacity: 4 })));
    let vocab = decoder.spec().vocab;
    let unknown = decoder.forward(&pool, &mut [Step::new(&[vocab as u32], &mut memory)], &mut scratch);
    assert!(matches!(unknown, Err(ModelError::Token { .. })));
    let context = decoder.spec().context;
    let mut memory = Slab::plain(decoder.spec(), context + 1, KvStorage::F32);
    let long = vec![1; context + 1];
    let beyond = decoder.forward(&pool, &mut [Step::new(&long, &mut memory)], &mut scratch);
    assert!(matches!(beyond, Err(ModelError::Position { .. })));
    assert!(memory.is_empty() && memory.len(0) == 0);
}

#[test]
fn an_adapter_of_the_wrong_shape_is_refused() {
    let case = named("llama");
    let mut adapter = LowRank::default();
    let site = Site { layer: 0, projection: Projection::Q };
    let pair = LowRankPair { a: vec![0.0; 3], b: vec![0.0; 3], rank: 1, scale: 1.0 };
    let error = adapter.insert(&case.checkpoint.spec, site, pair.clone()).unwrap_err().to_string();
    assert!(error.contains("blk.0.attn_q") && error.contains("expected"), "{error}");
    let beyond = Site { layer: 99, projection: Projection::Q };
    assert!(adapter.insert(&case.checkpoint.spec, beyond, pair).is_err());
}
