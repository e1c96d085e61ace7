//! Rotations that fold: what a network computes stays, and what stands out is spread.

#[path = "../../model/tests/common/mod.rs"]
mod common;
mod support;

use common::{cases, named, relative_difference};
use crayon_adapters::Lora;
use crayon_formats::Checkpoint;
use crayon_formats::export::write_huggingface;
use crayon_formats::spec::Norm;
use crayon_kernels::{Format, Mode};
use crayon_quant::{
    Activations, Method, Places, QuantError, Recipe, Scheme, fold, prepared, quantise, rotate,
};
use support::{calibration, logits};

#[test]
fn rotations_change_nothing() {
    let mut whole = 0;
    for case in cases() {
        let source = prepared(&case.checkpoint).unwrap();
        let wanted = logits(&case.checkpoint, &case.tokens, Mode::Exact);
        let check = |places| {
            let rotated = rotate::rotated(&source, places, 3)?;
            let difference = relative_difference(&logits(&rotated, &case.tokens, Mode::Exact), &wanted);
            assert!(difference < 5e-5, "{} {places}: {difference}", case.name);
            let name = "blk.0.attn_output.weight";
            assert_ne!(rotated.tensor(name).unwrap().to_f32(), source.tensor(name).unwrap().to_f32());
            Ok::<(), QuantError>(())
        };
        // The values of heads lie before no norm, so they rotate in every family.
        check(Places::Output).unwrap();
        let folds = matches!(source.spec.norm, Norm::Rms { .. }) && !source.spec.post_norms;
        match (folds, check(Places::All)) {
            (true, Ok(())) => whole += 1,
            (false, Err(error @ QuantError::DoesNotRotate { .. })) => {
                assert!(error.to_string().contains(&format!("{:?}", source.spec.family)), "{error}");
            }
            (_, result) => panic!("{}: {result:?}", case.name),
        }
    }
    assert!(whole > 5, "{whole}");
}

#[test]
fn what_stands_out_is_spread_by_a_rotation() {
    let case = named("llama");
    let planted = fold::planted(&case.checkpoint, 60.0).unwrap();
    let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
    let run = |method| {
        let recipe = Recipe { activations: Activations::Static, ..Recipe::new(Scheme::W8A8, method) };
        let go = &mut |_: crayon_quant::Progress| std::ops::ControlFlow::Continue(());
        quantise(&planted, &recipe, &calibration, None, go).unwrap()
    };
    let sum = |made: &crayon_quant::Quantised| made.blocks.iter().map(|block| block.loss).sum::<f32>();
    let (rtn, rotated) = (run(Method::Rtn), run(Method::Hadamard));
    assert!(sum(&rotated) < 0.3 * sum(&rtn), "{} {}", sum(&rotated), sum(&rtn));
    // What is written opens again, with an output layer of its own.
    let folder = tempfile::tempdir().unwrap();
    let made = rotated.checkpoint;
    write_huggingface(&made, folder.path(), Scheme::W8A8.rows(), None, &mut |_| {}).unwrap();
    let read = Checkpoint::open(folder.path()).unwrap();
    assert!(!read.spec.tied && read.has("output.weight"));
}

#[test]
fn an_adapter_of_unknown_origin_does_not_fit_what_was_rotated() {
    let case = named("llama");
    let calibration = calibration(&case.tokens, case.checkpoint.spec.vocab);
    let recipe = Recipe::new(Scheme::W8A8, Method::Hadamard);
    let go = &mut |_: crayon_quant::Progress| std::ops::ControlFlow::Continue(());
    let made = quantise(&case.checkpoint, &recipe, &calibration, None, go).unwrap().checkpoint;
    let folder = tempfile::tempdir().unwrap();
    let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
    write_huggingface(&made, &first, Scheme::W8A8.rows(), None, &mut |_| {}).unwrap();
    let first = Checkpoint::open(&first).unwrap();
    write_huggingface(&first, &second, Format::F32, None, &mut |_| {}).unwrap();
    let second = Checkpoint::open(&second).unwrap();
    let mut nobodys = Lora::default();
    for (model, name) in [(&first, "first"), (&second, "second")] {
        let error = nobodys.fit("the adapter", model, name).unwrap_err();
        assert!(error.to_string().contains("were mixed") && error.to_string().contains(name), "{error}");
    }
    // What was made beside the rotated model fits it and its other forms, and nothing from before does.
    let beside = |checkpoint: &Checkpoint| Lora { base: Some(checkpoint.fingerprint()), ..Lora::default() };
    for model in [&first, &second] {
        beside(&first).fit("the adapter", model, "model").unwrap();
        assert!(beside(&case.checkpoint).fit("the adapter", model, "model").is_err());
    }
}
