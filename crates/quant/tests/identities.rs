//! What must hold whatever is learned: folding changes nothing, scales of 1 are round-to-nearest, gradients reach what learns and
//! nothing else, integers mean what the rounded floats do.

#[path = "../../model/tests/common/mod.rs"]
mod common;
mod support;

use std::collections::BTreeMap;

use common::{cases, named, relative_difference};
use crayon_adapters::Lora;
use crayon_formats::spec::Spec;
use crayon_formats::{Checkpoint, Tensor};
use crayon_kernels::Mode;
use crayon_model::{LowRankPair, Place, Projection, Site};
use crayon_quant::{
    Activations, Form, Groups, Method, Places, QuantError, RangeKind, Recipe, Scheme, Start, WeightKind,
    fold, prepared, quantise,
};
use crayon_train::quantised::{
    BlockRounding, BlockSetup, GridKind, Groups as Who, InputRounding, Learns, QuantisedBlock,
    QuantisedDecoder, WeightRounding,
};
use crayon_train::{Trainable, Variable};
use support::{calibration, logits, numbers, places};

/// One case of each family.
const FAMILIES: [&str; 7] = ["gpt2", "llama", "qwen2", "qwen3", "phi3", "gemma2", "gemma3"];

#[test]
fn folding_changes_nothing() {
    for case in cases() {
        let source = prepared(&case.checkpoint).unwrap();
        let spec = &source.spec;
        let mut tensors = Vec::new();
        for layer in 0..spec.layers {
            let mut parameters = fold::parameters(&source, layer).unwrap();
            for place in places(spec) {
                let logs = numbers(place.scales(spec), layer + place as usize);
                fold::fold(spec, layer, place, &logs, &mut parameters).unwrap();
            }
            tensors.extend(parameters.into_values());
        }
        let folded = source.clone().with_tensors(tensors).unwrap();
        let found = logits(&folded, &case.tokens, Mode::Exact);
        let difference = relative_difference(&found, &logits(&case.checkpoint, &case.tokens, Mode::Exact));
        assert!(difference < 2e-5, "{}: {difference}", case.name);
    }
}

/// A LoRA of rank 2 on every linear layer.
fn adapter(spec: &Spec) -> Lora {
    let mut lora = Lora::default();
    for layer in 0..spec.layers {
        for projection in Projection::ALL.into_iter().filter(|projection| projection.exists(spec)) {
            let (input, output) = projection.size(spec);
            let seed = layer * 10 + projection as usize;
            let pair = LowRankPair {
                a: numbers(2 * input, seed),
                b: numbers(output * 2, seed + 3),
                rank: 2,
                scale: 0.02,
            };
            lora.pairs.insert(Site { layer, projection }, pair);
        }
    }
    lora
}

#[test]
fn an_adapter_folds_with_its_base() {
    for family in FAMILIES {
        let case = named(family);
        let source = prepared(&case.checkpoint).unwrap();
        let spec = &source.spec;
        // What `from` is, folded by other scales for every seed.
        let folded = |from: &Checkpoint, seed: usize| {
            let source = prepared(from).unwrap();
            let (mut tensors, mut setups) = (Vec::new(), Vec::new());
            for layer in 0..spec.layers {
                let mut parameters = fold::parameters(&source, layer).unwrap();
                let mut setup = BlockSetup::new(layer, BlockRounding::EXACT, spec);
                for place in places(spec) {
                    let logs = numbers(place.scales(spec), seed + layer + place as usize);
                    fold::fold(spec, layer, place, &logs, &mut parameters).unwrap();
                    setup.scales.insert(place, Variable::new(logs));
                }
                tensors.extend(parameters.into_values());
                setups.push(setup);
            }
            let origin = fold::origin(from, &setups).unwrap();
            source.with_tensors(tensors).unwrap().with_origin(origin)
        };
        let once = folded(&case.checkpoint, 0);
        let lora = adapter(spec);
        let wanted = logits(&lora.merge(&case.checkpoint).unwrap(), &case.tokens, Mode::Exact);
        // Scales of a second folding come on top of the first one's.
        for (times, folded) in [(1, &once), (2, &folded(&once, 5))] {
            let unlike = logits(&lora.merge(folded).unwrap(), &case.tokens, Mode::Exact);
            assert!(relative_difference(&unlike, &wanted) > 1e-3, "{family}, {times}");
            let mut lora = lora.clone();
            lora.fit("adapter", folded, family).unwrap();
            let found = logits(&lora.merge(folded).unwrap(), &case.tokens, Mode::Exact);
            let difference = relative_difference(&found, &wanted);
            assert!(difference < 5e-5 * times as f32, "{family}, {times}: {difference}");
        }
    }
}

#[test]
fn gptq_loses_less_than_rounding_alone_on_a_whole_model() {
    for family in ["gpt2", "llama", "gemma3"] {
        let case = named(family);
        let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
        let own = Recipe::new(Scheme::W4A8, Method::Rtn);
        for (groups, grid, form) in [
            (Groups::Channel, GridKind::Symmetric, Form::Floats),
            (Groups::Of(8), GridKind::Asymmetric, Form::Floats),
            (own.groups, own.grid, own.form),
        ] {
            let run = |method, weights| {
                let plain = Recipe::new(Scheme::W4A8, method);
                let recipe = Recipe { groups, grid, form, weights, steps: 6, ..plain };
                let go = &mut |_: crayon_quant::Progress| std::ops::ControlFlow::Continue(());
                let made = quantise(&case.checkpoint, &recipe, &calibration, None, go).unwrap();
                made.blocks.iter().map(|block| block.loss).sum::<f32>()
            };
            for method in [Method::Rtn, Method::SmoothQuant, Method::Quadapter] {
                let (nearest, made_up) = (run(method, WeightKind::Mse), run(method, WeightKind::Gptq));
                assert!(made_up < nearest, "{family} {groups:?} {method}: {made_up} {nearest}");
            }
        }
    }
}

#[test]
fn a_place_behind_an_activation_does_not_fold() {
    let case = named("gpt2");
    let spec = &case.checkpoint.spec;
    let mut parameters = fold::parameters(&case.checkpoint, 0).unwrap();
    let logs = vec![0.5; Place::Down.scales(spec)];
    let error = fold::fold(spec, 0, Place::Down, &logs, &mut parameters).unwrap_err();
    assert!(matches!(error, QuantError::DoesNotFold { place: Place::Down, .. }), "{error}");
    assert!(error.to_string().contains("Gpt2"));
}

#[test]
fn the_differentiable_form_folds_alike_and_is_exact_without_rounding() {
    for family in FAMILIES {
        let case = named(family);
        let source = prepared(&case.checkpoint).unwrap();
        let spec = &source.spec;
        let (rows, width) = (6, spec.hidden);
        let hidden = numbers(2 * rows * width, 1);
        let mut setup = BlockSetup::new(1, BlockRounding::EXACT, spec);
        for place in places(spec) {
            let logs = numbers(place.scales(spec), place as usize);
            setup.scales.insert(place, Variable::new(logs));
        }
        let block = QuantisedBlock::open(&source, setup).unwrap();
        let exact = block.exact(&hidden, rows, &mut |_, _| {}).unwrap();
        let scaled = block.rounded(&hidden, rows).unwrap();
        let difference = relative_difference(&scaled, &exact);
        assert!(difference < 2e-5, "{family}: {difference}");
    }
}

/// Every combination that runs on integers.
fn recipes() -> Vec<Recipe> {
    let mut out = Vec::new();
    for scheme in Scheme::ALL {
        for (activations, groups) in
            [(Activations::Token, Groups::Channel), (Activations::Static, Groups::Tensor)]
        {
            let plain = Recipe::new(scheme, Method::SmoothQuant);
            // Nibbles have groups of their own.
            let groups = if scheme.weight_bits() == 8 { groups } else { plain.groups };
            out.push(Recipe { activations, groups, ..plain });
        }
    }
    out
}

#[test]
fn integers_agree_with_the_rounded_floats() {
    for family in ["gpt2", "llama", "phi3", "gemma3"] {
        let case = named(family);
        let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
        for recipe in recipes() {
            let made = |form| {
                let recipe = Recipe { form, ..recipe.clone() };
                quantise(&case.checkpoint, &recipe, &calibration, None, &mut |_| {
                    std::ops::ControlFlow::Continue(())
                })
                .unwrap()
                .checkpoint
            };
            let floats = made(Form::Floats);
            let mut integers = made(Form::Rows);
            if recipe.scheme.input_bits().is_none() {
                // Weights alone: their inputs are not rounded in the exact mode.
                let found = logits(&integers, &case.tokens, Mode::Exact);
                let difference = relative_difference(&found, &logits(&floats, &case.tokens, Mode::Exact));
                assert!(difference < 1e-4, "{family} {recipe:?}: {difference}");
                continue;
            }
            // The embeddings are not part of it.
            let embeddings = ["token_embd.weight", "output.weight"].into_iter();
            let same = embeddings.filter(|name| floats.has(name)).map(|name| floats.tensor(name).unwrap());
            integers = integers.with_tensors(same.collect()).unwrap();
            let found = logits(&integers, &case.tokens, Mode::Fast);
            let wanted = logits(&floats, &case.tokens, Mode::Fast);
            let difference = relative_difference(&found, &wanted);
            // A value between two codes may fall to either.
            assert!(
                difference < 0.02,
                "{family} {} {:?} {:?}: {difference}",
                recipe.scheme,
                recipe.activations,
                recipe.groups
            );
        }
    }
}

#[test]
fn scales_of_one_are_round_to_nearest() {
    let case = named("llama");
    let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
    let run = |recipe: Recipe| {
        let made = quantise(&case.checkpoint, &recipe, &calibration, None, &mut |_| {
            std::ops::ControlFlow::Continue(())
        });
        logits(&made.unwrap().checkpoint, &case.tokens, Mode::Fast)
    };
    let base = Recipe { activations: Activations::Static, ..Recipe::new(Scheme::W8A8, Method::Rtn) };
    let one = Recipe { method: Method::Quadapter, start: Start::One, by_block: false, ..base.clone() };
    assert_eq!(run(one), run(base));
}

fn learning(source: &Checkpoint, layer: usize, learns: Learns) -> BlockSetup {
    let weights = WeightRounding { bits: 8, kind: GridKind::Symmetric, groups: Who::Channel };
    let rounding = BlockRounding { weights: Some(weights), inputs: InputRounding::Fixed { bits: 8 } };
    let spec = &source.spec;
    let mut setup = BlockSetup::new(layer, rounding, spec);
    for place in places(spec) {
        setup.scales.insert(place, Variable::new(numbers(place.scales(spec), 3)));
    }
    let block = QuantisedBlock::open(source, setup.clone()).unwrap();
    let mut seen: BTreeMap<Place, crayon_quant::ranges::Seen> = BTreeMap::new();
    let hidden = numbers(2 * 6 * spec.hidden, 1);
    block
        .exact(&hidden, 6, &mut |place, x| seen.entry(place).or_default().values.extend_from_slice(x))
        .unwrap();
    for (place, seen) in seen {
        setup.extremes.insert(place, seen.extremes(place.width(spec)));
    }
    // Some clipping, so that ranges have something to learn from.
    for shares in setup.ranges.values_mut().chain(setup.shares.values_mut()) {
        shares.values.fill(0.8);
    }
    setup.learns = learns;
    setup
}

#[test]
fn gradients_reach_what_learns_and_nothing_else() {
    for family in FAMILIES {
        let case = named(family);
        let source = prepared(&case.checkpoint).unwrap();
        let only = |scales, ranges, shares| Learns { scales, ranges, shares, weights: false };
        for learns in [
            only(true, false, false),
            only(false, true, false),
            only(false, false, true),
            only(true, true, true),
        ] {
            let setup = learning(&source, 0, learns);
            let hidden = numbers(2 * 6 * source.spec.hidden, 1);
            let mut block = QuantisedBlock::open(&source, setup.clone()).unwrap();
            let target = block.exact(&hidden, 6, &mut |_, _| {}).unwrap();
            let loss = block.loss(&hidden, &target, 6, true).unwrap();
            assert!(loss > 0.0, "{family}");
            let counted = block.setup.variables().len();
            let chosen = [
                (learns.scales, setup.scales.len()),
                (learns.ranges, 4),
                (learns.shares, setup.shares.len()),
            ];
            assert_eq!(counted, chosen.iter().filter(|(on, _)| *on).map(|(_, count)| count).sum::<usize>());
            for variable in block.setup.variables() {
                assert!(variable.gradient.iter().any(|g| *g != 0.0), "{family} {learns:?}");
            }
            let silent = [(learns.scales, &block.setup.scales)];
            for (on, variables) in silent {
                assert!(on || variables.values().all(|variable| variable.gradient.iter().all(|g| *g == 0.0)));
            }
        }
    }
}

#[test]
fn all_blocks_learn_together() {
    let case = named("llama");
    let source = prepared(&case.checkpoint).unwrap();
    let setups = (0..source.spec.layers).map(|layer| {
        learning(&source, layer, Learns { scales: true, ranges: true, shares: false, weights: false })
    });
    let mut decoder = QuantisedDecoder::open(&source, setups.collect()).unwrap();
    let loss = decoder.loss(&case.tokens, case.tokens.len(), true).unwrap();
    assert!(loss.is_finite());
    assert!(decoder.variables().iter().all(|variable| variable.gradient.iter().any(|g| *g != 0.0)));
    decoder.learn_weights().unwrap();
    decoder.loss(&case.tokens, case.tokens.len(), true).unwrap();
    assert!(decoder.variables().iter().all(|variable| variable.gradient.iter().any(|g| *g != 0.0)));
}

#[test]
fn learning_lessens_the_loss_of_a_block_with_outliers_and_is_deterministic() {
    let case = named("llama");
    let planted = fold::planted(&case.checkpoint, 60.0).unwrap();
    let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
    let run = |method, start| {
        let plain = Recipe::new(Scheme::W8A8, method);
        let recipe =
            Recipe { activations: Activations::Static, start, steps: 30, places: Places::Paper, ..plain };
        quantise(&planted, &recipe, &calibration, None, &mut |_| std::ops::ControlFlow::Continue(())).unwrap()
    };
    let sum = |made: &crayon_quant::Quantised| made.blocks.iter().map(|block| block.loss).sum::<f32>();
    let (rtn, smooth) = (run(Method::Rtn, Start::Smooth), run(Method::SmoothQuant, Start::Smooth));
    let (learned, again) = (run(Method::Quadapter, Start::Smooth), run(Method::Quadapter, Start::Smooth));
    assert!(sum(&smooth) < 0.2 * sum(&rtn), "{} {}", sum(&smooth), sum(&rtn));
    assert!(sum(&learned) <= sum(&smooth), "{} {}", sum(&learned), sum(&smooth));
    assert_eq!(learned.blocks, again.blocks);
    // Outliers are there before the scales and gone behind them.
    let place = &rtn.blocks[0].places[0];
    assert!(place.outliers[0] > 10.0 && learned.blocks[0].places[0].outliers[1] < 0.5 * place.outliers[0]);
}

#[test]
fn a_run_that_was_stopped_goes_on() {
    let case = named("gemma3");
    let folder = tempfile::tempdir().unwrap();
    let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
    let plain = Recipe::new(Scheme::W4A8, Method::Quadapter);
    let recipe = Recipe { activations: Activations::Static, range: RangeKind::Learned, steps: 4, ..plain };
    for recipe in [
        recipe.clone(),
        Recipe { weights: WeightKind::Gptq, ..recipe.clone() },
        Recipe { end_to_end: true, final_steps: 12, ..recipe },
    ] {
        let run = |stop: usize, folder: Option<&std::path::Path>| {
            quantise(&case.checkpoint, &recipe, &calibration, folder, &mut |progress| match progress.done
                >= stop
            {
                true => std::ops::ControlFlow::Break(()),
                false => std::ops::ControlFlow::Continue(()),
            })
        };
        let whole = run(usize::MAX, None).unwrap();
        let total = std::cell::Cell::new(0);
        let _ = quantise(&case.checkpoint, &recipe, &calibration, None, &mut |progress| {
            total.set(progress.total);
            std::ops::ControlFlow::Break(())
        });
        let stopped = run(total.get() * 3 / 4, Some(folder.path()));
        assert!(matches!(stopped, Err(QuantError::Stopped)));
        let on = run(usize::MAX, Some(folder.path())).unwrap();
        assert!(on.resumed > 0);
        let tokens = &case.tokens;
        assert_eq!(logits(&on.checkpoint, tokens, Mode::Fast), logits(&whole.checkpoint, tokens, Mode::Fast));
        crayon_quant::forget(folder.path());
    }
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let case = named("llama");
    let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
    let go = &mut |_: crayon_quant::Progress| std::ops::ControlFlow::Continue(());
    let recipe = Recipe::new(Scheme::W8A8, Method::Rtn);
    let once = quantise(&case.checkpoint, &recipe, &calibration, None, go).unwrap().checkpoint;
    let twice = quantise(&once, &recipe, &calibration, None, go).err().unwrap();
    assert!(matches!(twice, QuantError::AlreadyQuantised { .. }), "{twice}");

    let name = "blk.1.ffn_up.weight";
    let mut tensor = case.checkpoint.tensor(name).unwrap();
    tensor = Tensor::from_f32(name, tensor.shape.clone(), &vec![f32::NAN; tensor.elements()]);
    let broken = case.checkpoint.clone().with_tensors(vec![tensor]).unwrap();
    let learned = Recipe { steps: 2, ..Recipe::new(Scheme::W8A8, Method::Quadapter) };
    let error = quantise(&broken, &learned, &calibration, None, go).err().unwrap();
    assert!(matches!(&error, QuantError::NotFinite { part, .. } if part == "block 1"), "{error}");
}

#[test]
fn files_keep_how_activations_are_rounded() {
    for family in ["gpt2", "llama", "gemma3"] {
        let case = named(family);
        let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
        let recipe =
            Recipe { activations: Activations::Static, ..Recipe::new(Scheme::W8A6, Method::SmoothQuant) };
        let go = &mut |_: crayon_quant::Progress| std::ops::ControlFlow::Continue(());
        let made = quantise(&case.checkpoint, &recipe, &calibration, None, go).unwrap().checkpoint;
        let folder = tempfile::tempdir().unwrap();
        crayon_formats::export::write_huggingface(
            &made,
            folder.path(),
            recipe.scheme.rows(),
            None,
            &mut |_| {},
        )
        .unwrap();
        let read = Checkpoint::open(folder.path()).unwrap();
        assert_eq!(read.roundings(), made.roundings());
        assert!(!read.roundings().is_empty());
        let again = crayon_quant::prepared(&read).err().unwrap();
        assert!(matches!(again, QuantError::AlreadyQuantised { .. }));
    }
}
