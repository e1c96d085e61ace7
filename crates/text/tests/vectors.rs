//! Published test vectors of real vocabularies, where they are at hand.

mod common;

use common::{data, gguf};
use crayon_text::{Special, Tokenizer};

/// Inputs and ids of a llama.cpp vector file.
fn vectors(name: &str) -> Option<Vec<(String, Vec<u32>)>> {
    let inputs = String::from_utf8(data(&format!("gguf_vocab/{name}.inp"))?).unwrap();
    let outputs = String::from_utf8(data(&format!("gguf_vocab/{name}.out"))?).unwrap();
    let inputs = inputs.strip_suffix("\n__ggml_vocab_test__\n").unwrap();
    let inputs: Vec<&str> = inputs.split("\n__ggml_vocab_test__\n").collect();
    let outputs: Vec<Vec<u32>> =
        outputs.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
    assert_eq!(inputs.len(), 46, "{name}");
    assert_eq!(outputs.len(), 46, "{name}");
    Some(inputs.into_iter().map(str::to_owned).zip(outputs).collect())
}

fn check(tokenizer: &Tokenizer, name: &str) {
    let Some(vectors) = vectors(name) else { return };
    for (text, ids) in vectors {
        for special in [Special::Plain, Special::Parse] {
            assert_eq!(tokenizer.encode(&text, special).unwrap(), ids, "{name}: {text:?}");
        }
        assert_eq!(tokenizer.decode(&ids), text, "{name}");
    }
}

#[test]
fn gguf_vocabularies() {
    for name in ["ggml-vocab-gpt-2.gguf", "ggml-vocab-llama-spm.gguf", "ggml-vocab-phi-3.gguf"] {
        let Some(metadata) = gguf(&format!("gguf_vocab/{name}")) else { return };
        check(&Tokenizer::from_gguf(&metadata).unwrap(), name);
    }
}

#[test]
fn gpt2_files() {
    let (Some(vocab), Some(merges)) = (data("tok_gpt2/vocab.json"), data("tok_gpt2/merges.txt")) else {
        return;
    };
    let tokenizer = Tokenizer::from_gpt2(&vocab, &merges).unwrap();
    check(&tokenizer, "ggml-vocab-gpt-2.gguf");
    assert_eq!(tokenizer.len(), 50257);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()), (Some(50256), Some(50256), false));
    assert_eq!(tokenizer.encode("a<|endoftext|>", Special::Parse).unwrap(), [64, 50256]);
    assert!(!tokenizer.encode("a<|endoftext|>", Special::Plain).unwrap().contains(&50256));
}

#[test]
fn phi3_control_tokens() {
    let Some(metadata) = gguf("gguf_vocab/ggml-vocab-phi-3.gguf") else { return };
    let tokenizer = Tokenizer::from_gguf(&metadata).unwrap();
    let ids = tokenizer.encode("<|user|>\nHi<|end|>\n<|assistant|>\n", Special::Parse).unwrap();
    let names: Vec<String> = ids.iter().map(|&id| tokenizer.text(id).unwrap()).collect();
    assert_eq!(names, ["<|user|>", "▁Hi", "<|end|>", "<|assistant|>"]);
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()), (Some(1), Some(32000), true));
    assert!(tokenizer.end_tokens().contains(&tokenizer.id("<|end|>").unwrap()));
}

#[test]
fn llama2c_tokenizer() {
    let Some(file) = data("stories260K/tok512.bin") else { return };
    let tokenizer = Tokenizer::from_llama2c(&file).unwrap();
    assert_eq!(tokenizer.len(), 512);
    assert_eq!(tokenizer.encode("Zoo", Special::Plain).unwrap(), [410, 469, 347]);
    assert_eq!(tokenizer.decode(&[1, 410, 469, 347]), "Zoo");
    assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.add_bos()), (Some(1), Some(2), true));
    for text in ["Once upon a time, there was\n\n a 🦙.", "  two", ""] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, Special::Plain).unwrap()), text);
    }
}

#[test]
fn tinystories_json() {
    let Some(json) = data("tinystories656k/tokenizer.json") else { return };
    let mut tokenizer = Tokenizer::from_json(&json).unwrap();
    tokenizer
        .configure(&serde_json::from_slice(&data("tinystories656k/tokenizer_config.json").unwrap()).unwrap())
        .unwrap();
    assert_eq!(tokenizer.len(), 2048);
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (Some(1), Some(2)));
    assert!(tokenizer.add_bos());
    let text = "Once upon a time, there was a girl named Zoe.";
    assert_eq!(tokenizer.decode(&tokenizer.encode(text, Special::Plain).unwrap()), text);
    let marked = "<|start_story|>Once <|end_story|>";
    let ids = tokenizer.encode(marked, Special::Parse).unwrap();
    assert!(ids.contains(&1) && ids.contains(&2));
    let ids = tokenizer.encode(marked, Special::Plain).unwrap();
    assert!(!ids.contains(&1) && !ids.contains(&2));
    assert_eq!(tokenizer.decode(&ids), marked);
}
