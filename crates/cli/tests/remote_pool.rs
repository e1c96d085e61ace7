//! A pool on a server: what leaves the device, and what it takes from servers that are wrong or lie.

#[path = "support/pools.rs"]
mod pools;
mod support;

use std::collections::BTreeMap;
use std::path::Path;

use crayon_engine::adapters::{Scope, peft};
use crayon_formats::safetensors;
use pools::{Page, Sent, Serving, Tap, description, engine, liar, lora, pool, write_pool};
use serde_json::Value;
use support::{Place, check_mistake, stderr};

/// Words that stand nowhere but in the examples.
const MARKERS: [&str; 4] = ["zanzibar", "quokka", "marzipan", "wednesday"];

fn examples(place: &Place) {
    let lines = [
        r#"{"prompt": "My quokka in zanzibar likes fish. What does it eat?", "answer": "marzipan", "task": "wednesday"}"#,
        r#"{"prompt": "A cat likes milk on a wednesday, does it like marzipan?", "answer": "zanzibar"}"#,
    ];
    place.write("quokka.jsonl", lines.join("\n"));
}

/// `customize --json` with a pool, and what it sent.
fn customize(place: &Place, tap: &Tap, file: &str, more: &[&str]) -> (Value, Vec<Sent>) {
    let made = place.json(&[&["customize", "--examples", file, "--pool", &tap.address], more].concat());
    (made, tap.take())
}

/// Every way a word may stand in bytes without being legible: raw, percent, UTF-16, hex, and base64 at each of its three places.
fn disguises(word: &[u8]) -> Vec<Vec<u8>> {
    let hex: String = word.iter().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = word.iter().map(|byte| format!("%{byte:02X}")).collect();
    let wide: Vec<u8> = word.iter().flat_map(|byte| [*byte, 0]).collect();
    let mut out =
        vec![word.to_vec(), wide, percent.into_bytes(), hex.to_uppercase().into_bytes(), hex.into_bytes()];
    for before in 0..3 {
        let padded = [&vec![0; before][..], word].concat();
        // Only the characters that the word alone decides.
        let (from, to) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
        for table in [b"+/", b"-_"] {
            out.push(base64(&padded, table)[from..to].to_vec());
        }
    }
    out
}

fn base64(bytes: &[u8], last: &[u8; 2]) -> Vec<u8> {
    let mut table: Vec<u8> = (b'A'..=b'Z').chain(b'a'..=b'z').chain(b'0'..=b'9').collect();
    table.extend(last);
    let mut out = Vec::new();
    for three in bytes.chunks(3) {
        let bits =
            three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        out.extend((0..4).map(|at| table[(bits >> (18 - 6 * at) & 63) as usize]));
    }
    out
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Whether one of the words stands in the bytes, in any case and disguise.
fn betrays(bytes: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| {
        let mut capital = word.as_bytes().to_vec();
        capital[0] = capital[0].to_ascii_uppercase();
        [word.as_bytes().to_vec(), capital, word.to_uppercase().into_bytes()]
            .iter()
            .any(|word| disguises(word).iter().any(|part| holds(bytes, part)))
    })
}

/// Whether numbers of an embedding stand in the bytes: as four bytes either way round, or in decimals.
fn betrays_numbers(bytes: &[u8], numbers: &[f32]) -> bool {
    numbers.iter().any(|number| {
        let decimals = format!("{:.5}", number.abs());
        [number.to_le_bytes(), number.to_be_bytes()].iter().any(|four| holds(bytes, four))
            || holds(bytes, decimals.as_bytes())
    })
}

/// Whether three token ids in a row stand in the bytes, as a list or as numbers of two or four bytes.
fn betrays_tokens(bytes: &[u8], tokens: &[u32]) -> bool {
    tokens.windows(3).any(|three| {
        let lists = [", ", ",", " "].map(|gap| {
            let texts: Vec<String> = three.iter().map(u32::to_string).collect();
            texts.join(gap).into_bytes()
        });
        let small: Vec<u8> = three.iter().flat_map(|id| (*id as u16).to_le_bytes()).collect();
        let large: Vec<u8> = three.iter().flat_map(|id| id.to_le_bytes()).collect();
        lists.iter().chain([&small, &large]).any(|part| holds(bytes, part))
    })
}

#[test]
fn the_search_for_leaks_finds_leaks() {
    let text = b"a quokka!";
    assert!(betrays(text, &["quokka"]) && betrays(b"QUOKKA", &["quokka"]) && !betrays(b"quokk", &["quokka"]));
    for shift in 0..3 {
        let shifted = [&vec![b'x'; shift][..], text].concat();
        assert!(betrays(&base64(&shifted, b"+/"), &["quokka"]), "{shift}");
    }
    assert_eq!(base64(b"Man", b"+/"), b"TWFu");
    assert!(betrays(b"71756f6b6b61", &["quokka"]));
    let wide: Vec<u8> = "quokka".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(betrays(&wide, &["quokka"]));
    assert!(betrays_tokens(b"[17,254,9,3]", &[254, 9, 3]) && !betrays_tokens(b"[17,25,9,3]", &[254, 9, 3]));
    assert!(betrays_numbers(b"[0.12345,1]", &[-0.123_451]) && betrays_numbers(&0.7f32.to_le_bytes(), &[0.7]));
    assert!(!betrays_numbers(b"[0.12346]", &[0.123_451]));
}

#[test]
fn what_leaves_a_device_is_scores_and_nothing_else() {
    let (place, model) = (Place::online(), engine("mini"));
    write_pool(&place, "pool", &model);
    let server = Serving::start(&place, &["--pool", "pool"]);
    let tap = Tap::on(&server.address);
    examples(&place);
    // By force: the pool is of no use to these examples, and would not be taken.
    let (made, sent) = customize(&place, &tap, "quokka.jsonl", &["-o", "out", "--force"]);

    // Three requests, of which one has a body: the scores.
    let lines: Vec<&str> = sent.iter().map(|request| request.head.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        ["GET /v1/pools HTTP/1.1", "GET /v1/pools/pool/keys HTTP/1.1", "POST /v1/pools/pool/blend HTTP/1.1"]
    );
    assert!(sent[0].body.is_empty() && sent[1].body.is_empty());
    let body: Value = serde_json::from_str(&sent[2].body).unwrap();
    assert_eq!(support::keys(&body), ["scores", "form"]);
    let scores: Vec<f64> = body["scores"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).collect();
    assert_eq!((scores.len(), &body["form"]), (3, &"exact".into()));
    assert!(scores.iter().all(|score| score.is_finite() && score.abs() <= 1.0), "{scores:?}");
    for (sent, score) in scores.iter().zip(made["scores"].as_array().unwrap()) {
        assert!((sent - score.as_f64().unwrap()).abs() < 1e-6, "{made}");
    }
    assert_eq!(made["bytes_sent"].as_u64().unwrap(), sent[2].body.len() as u64);
    assert!(made["bytes_received"].as_u64().unwrap() > 10_000, "{made}");
    // Headers say the same whatever the examples are: names that are known, and nothing of this device.
    for request in &sent {
        for line in request.head.lines().skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            let known = ["host", "user-agent", "accept", "accept-encoding", "content-type", "content-length"];
            assert!(known.contains(&name.to_ascii_lowercase().as_str()), "{line}");
            assert!(value.len() < 40, "{line}");
        }
    }

    // Neither the texts nor what the model makes of them stand in any of it.
    let all: Vec<u8> =
        sent.iter().flat_map(|request| [request.head.as_bytes(), request.body.as_bytes()].concat()).collect();
    let file = std::fs::read(place.path("quokka.jsonl")).unwrap();
    assert!(betrays(&file, &MARKERS), "the words stand in the examples");
    assert!(!betrays(&all, &MARKERS), "{}", String::from_utf8_lossy(&all));
    let scope = Scope::read(&place.path("out"), model.checkpoint()).unwrap().unwrap();
    let single = model.query("My quokka in zanzibar likes fish. What does it eat?").unwrap();
    for embedding in scope.examples.iter().chain([&single]) {
        assert_eq!(embedding.len(), model.spec().heads * model.spec().head_dim);
        assert!(!betrays_numbers(&all, embedding));
    }
    let tokens = model.query_tokens("My quokka in zanzibar likes fish. What does it eat?").unwrap();
    assert!(!betrays_tokens(&all, &tokens));

    // The same once more: the keys are here already, and the bytes are the same.
    let (_, again) = customize(&place, &tap, "quokka.jsonl", &[]);
    assert_eq!(again, [sent[0].clone(), sent[2].clone()]);
    // Other texts of the same scores (words in another order, other answers, fifty times) make the same bytes.
    let other =
        r#"{"prompt": "My fish in zanzibar likes quokka. What does it eat?", "answer": "nothing at all"}"#;
    let same = r#"{"prompt": "A cat likes marzipan on a wednesday, does it like milk?"}"#;
    place.write("other.jsonl", format!("{other}\n{same}\n").repeat(50));
    let (_, others) = customize(&place, &tap, "other.jsonl", &[]);
    assert_eq!(others, again);
    // Any number of examples of any length makes a body as long.
    let long =
        format!("{{\"prompt\": \"{}\"}}\n", "The train to the city was late again. ".repeat(40)).repeat(300);
    place.write("long.jsonl", long);
    let (_, long) = customize(&place, &tap, "long.jsonl", &[]);
    assert_eq!((long.len(), long[1].body.len()), (2, again[1].body.len()));
    assert_ne!(long[1].body, again[1].body);
    assert_eq!(long[1].head, again[1].head);

    // Noise changes what leaves, by its seed; without one by chance.
    let noisy = |more: &[&str]| {
        let (made, sent) = customize(&place, &tap, "quokka.jsonl", &[&["--noise", "0.05"], more].concat());
        assert_eq!(made["bytes_sent"].as_u64().unwrap(), again[1].body.len() as u64);
        assert!(made["scores"] != made["sent"]);
        sent[1].body.clone()
    };
    let (one, same, two) = (noisy(&["--seed", "1"]), noisy(&["--seed", "1"]), noisy(&["--seed", "2"]));
    assert!(one == same && one != two && one != again[1].body);
    assert_ne!(noisy(&[]), noisy(&[]));

    // `ask` sends no more than that either, and the question stays here.
    let question = ["--max-tokens", "8", "What does a quokka like?"];
    let ask = |pool: &[&str]| place.json(&[&["ask"], pool, &question].concat());
    let remote = ask(&["--examples", "quokka.jsonl", "--pool", &tap.address, "--force"]);
    assert_eq!(tap.take(), again);
    // The adapter that came is the one a pool here gives.
    let here = ask(&["--examples", "quokka.jsonl", "--pool", "pool", "--force"]);
    let file = ask(&["-a", "out"]);
    assert_eq!((&remote["text"], &file["text"]), (&here["text"], &here["text"]));
    assert!(remote["text"] != ask(&[])["text"], "the adapter changes nothing: {remote}");
    assert_eq!(remote["scope"], here["scope"]);
    assert!(tap.take().is_empty());
}

#[test]
fn nothing_is_sent_where_nothing_may_be_or_it_would_be_of_no_use() {
    let (place, model) = (Place::online(), engine("mini"));
    let mut narrow = pool(&model);
    narrow.keys.floor = 0.999;
    std::fs::create_dir_all(place.path("narrow")).unwrap();
    narrow.save(&place.path("narrow"), model.spec(), 0).unwrap();
    let server = Serving::start(&place, &["--pool", "some=narrow"]);
    let tap = Tap::on(&server.address);
    examples(&place);
    let base = ["ask", "--max-tokens", "4", "--examples", "quokka.jsonl", "--pool", &tap.address];
    place.mistake(&[&base[..], &["--route", "device", "hi"]].concat(), "opens no socket", "customize --pool");
    place.mistake(&[&base[..], &["--private", "hi"]].concat(), "nothing leave", "customize --pool");
    let output = place.crayon(&[&base[..], &["hi"]].concat()).env("CRAYON_OFFLINE", "1").output().unwrap();
    check_mistake(&output, "CRAYON_OFFLINE forbids the network", "folder");
    assert!(tap.take().is_empty());
    // Examples that fit nothing are not scored for the server.
    let (made, sent) = customize(&place, &tap, "quokka.jsonl", &["-o", "out"]);
    assert_eq!((&made["fits"], &made["bytes_sent"], &made["rank"]), (&false.into(), &0.into(), &Value::Null));
    assert!(sent.iter().all(|request| request.head.starts_with("GET")) && !place.path("out").exists());
    let (made, sent) = customize(&place, &tap, "quokka.jsonl", &["-o", "out", "--force"]);
    assert!(
        made["bytes_sent"].as_u64().unwrap() > 0 && sent[1].head.starts_with("POST /v1/pools/some/blend")
    );
    assert!(place.path("out/adapter_config.json").is_file());
}

#[test]
fn keys_names_and_other_models_are_told_apart() {
    let (place, model) = (Place::online(), engine("mini"));
    write_pool(&place, "one", &model);
    write_pool(&place, "two", &model);
    examples(&place);
    place.write("keys.txt", "right-key\n");
    place.write("wrong.txt", "wrong-key\n");
    let server = Serving::start(&place, &["--pool", "one", "--pool", "two", "--api-key-file", "keys.txt"]);
    let url = format!("{}/v1/pools/one", server.address);
    let with = |pool: &str, more: &[&str]| -> Vec<String> {
        let base = ["customize", "--examples", "quokka.jsonl", "--pool", pool];
        base.iter().chain(more).map(|part| (*part).to_owned()).collect()
    };
    let refs = |all: &[String]| all.iter().map(String::clone).collect::<Vec<_>>();
    let mistake = |arguments: Vec<String>, message: &str, hint: &str| {
        let arguments = refs(&arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let error = place.mistake(&arguments, message, hint);
        assert!(!error.contains("wrong-key"), "{error}");
    };
    mistake(with(&url, &[]), "status 401", "CRAYON_POOL_KEY");
    mistake(with(&url, &["--pool-key-file", "wrong.txt"]), "status 401", "--pool-key-file");
    let key = ["--pool-key-file", "keys.txt"];
    mistake(with(&server.address, &key), "several pools: one, two", "/v1/pools/NAME");
    mistake(with(&format!("{}/v1/pools/three", server.address), &key), "no pool \"three\"", "serve --pool");
    mistake(with("http://u:p@a", &[]), "holds a name, a password", "--pool");
    mistake(with(&url, &[&key[..], &["-m", "mini-gpt2"]].concat()), "made for another model", "-m");
    let mut command = place.crayon(&["customize", "--json", "--examples", "quokka.jsonl", "--pool", &url]);
    let output = command.env("CRAYON_POOL_KEY", "right-key").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    // The key of a server that answers is another one, and goes nowhere else.
    let mut command = place.crayon(&["customize", "--examples", "quokka.jsonl", "--pool", &url]);
    let output = command.env("CRAYON_SERVER_KEY", "right-key").output().unwrap();
    check_mistake(&output, "status 401", "CRAYON_POOL_KEY");
}

/// The bytes of an adapter, changed by hand: other metadata, or another number in it.
fn changed(bytes: &[u8], change: &dyn Fn(&mut BTreeMap<String, String>), nan: bool) -> Vec<u8> {
    let file = safetensors::SafeTensors::from_bytes("adapter", bytes.to_vec().into()).unwrap();
    let mut metadata = file.metadata.clone();
    change(&mut metadata);
    let tensors: Vec<_> = file
        .entries()
        .iter()
        .enumerate()
        .map(|(at, entry)| {
            let tensor = file.tensor(&entry.name).unwrap().unwrap();
            let mut values = tensor.to_f32();
            if nan && at == 1 {
                values[3] = f32::NAN;
            }
            crayon_formats::Tensor::from_f32(&entry.name, tensor.shape.clone(), &values)
        })
        .collect();
    safetensors::to_bytes("adapter", &tensors, &metadata).unwrap()
}

#[test]
fn servers_that_lie_are_not_believed() {
    let (place, model, gpt2) = (Place::online(), engine("mini"), engine("mini-gpt2"));
    examples(&place);
    let pool = pool(&model);
    let keys = pool.catalogue().to_bytes().unwrap();
    let adapter = peft::to_bytes(&lora(&model, 9), model.spec()).unwrap();
    let foreign = {
        let mut lora = lora(&gpt2, 9);
        lora.base = Some(model.checkpoint().fingerprint());
        peft::to_bytes(&lora, gpt2.spec()).unwrap()
    };
    let offer = description("pool", &keys);
    let check = |pages: [Page; 3], code: i32, message: &str, hint: &str| {
        let [offer, keys, adapter] = pages;
        let url = liar(move |path| match path {
            "/v1/pools/pool" => offer.clone(),
            "/v1/pools/pool/keys" => keys.clone(),
            _ => adapter.clone(),
        });
        let pool = format!("{url}/v1/pools/pool");
        let output = place
            .crayon(&[
                "customize",
                "--examples",
                "quokka.jsonl",
                "--pool",
                &pool,
                "--pool-timeout",
                "2",
                "-o",
                "out",
            ])
            .output()
            .unwrap();
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{message}: {said}");
        assert!(said.contains(message) && said.contains(hint), "{message}: {said}");
        assert!(!said.contains('\u{1b}') && !place.path("out").exists(), "{message}: {said}");
        // What cannot be used is not kept either.
        let _ = std::fs::remove_dir_all(place.path("home/pools"));
    };
    let good = || [Page::good(offer.clone()), Page::good(keys.clone()), Page::good(adapter.clone())];
    let [first, second, _] = good();
    let third = |body: Vec<u8>| [first.clone(), second.clone(), Page::good(body)];

    check(third(adapter[..adapter.len() / 2].to_vec()), 1, "no usable answer", "nothing of it is used");
    check(third(Vec::new()), 1, "no usable answer", "damaged");
    let cut = Page { cut: Some(1000), ..Page::good(adapter.clone()) };
    check([first.clone(), second.clone(), cut], 1, "gave no answer after", "--pool-timeout");
    check(third(changed(&adapter, &|_| {}, true)), 1, "NaN", "nothing of it is used");
    let unnamed = |metadata: &mut BTreeMap<String, String>| drop(metadata.remove("crayon.base"));
    check(third(changed(&adapter, &unnamed, false)), 1, "which model it is for", "damaged");
    let unset = |metadata: &mut BTreeMap<String, String>| drop(metadata.remove("adapter_config"));
    check(third(changed(&adapter, &unset, false)), 1, "adapter_config.json", "damaged");
    let other = |metadata: &mut BTreeMap<String, String>| {
        metadata.insert("crayon.base".to_owned(), "0123456789abcdef".to_owned());
    };
    check(third(changed(&adapter, &other, false)), 2, "made for another model", "-m");
    check(third(foreign), 2, "this model has", "another model");
    check(third(vec![0; 100 << 20]), 1, "more than", "nothing of it is used");
    check(third(b"<html>hello</html>".to_vec()), 1, "no usable answer", "damaged");

    let page = |status: u16, body: &str| Page { status, ..Page::good(body) };
    let error = "{\"error\": {\"message\": \"no \\u001b[31m red\"}}";
    check([page(400, error), second.clone(), first.clone()], 2, "status 400: no", "try again");
    check([page(302, ""), second.clone(), first.clone()], 1, "leads to another address", "");
    check([page(503, error), second.clone(), first.clone()], 1, "gave no answer after", "--pool-timeout");
    check([Page::good("hello"), second.clone(), first.clone()], 1, "no description of a pool", "damaged");
    check(
        [Page::good("{\"id\":\"pool\",\"digest\":\"../../x\"}"), second.clone(), first.clone()],
        1,
        "digest",
        "",
    );
    let others = description("pool", b"other keys");
    check([Page::good(others), second.clone(), first.clone()], 1, "not those it described", "damaged");
    let short = keys[..keys.len() - 8].to_vec();
    let offered = Page::good(description("pool", &short));
    check([offered, Page::good(short), first.clone()], 1, "no usable answer", "damaged");

    // A server that says nothing at all is given up.
    let silent = liar(|_| {
        std::thread::sleep(std::time::Duration::from_secs(20));
        Page::good("")
    });
    let began = std::time::Instant::now();
    let arguments = ["customize", "--examples", "quokka.jsonl", "--pool", &silent, "--pool-timeout", "1"];
    let output = place.crayon(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--pool-timeout"), "{}", stderr(&output));
    assert!(began.elapsed() < std::time::Duration::from_secs(10), "{:?}", began.elapsed());

    // Names are shown without what a terminal would obey, and an honest adapter still works.
    let mut named = pool.clone();
    named.members[0].name = "red\u{1b}[31m".to_owned();
    let keys = named.catalogue().to_bytes().unwrap();
    let (offer, keys) = (Page::good(description("pool", &keys)), Page::good(keys));
    let changed_keys = pool.catalogue().to_bytes().unwrap();
    let url = liar(move |path| match path {
        "/v1/pools/pool" => offer.clone(),
        "/v1/pools/pool/keys" => keys.clone(),
        _ => Page::good(adapter.clone()),
    });
    let shown = customize_text(&place, &format!("{url}/v1/pools/pool"));
    assert!(shown.contains("red[31m") && !shown.contains('\u{1b}'), "{shown}");
    // Other keys than last time ask something else about the examples: this is told.
    remember(&place.path("home/pools"), &changed_keys);
    let output = place
        .crayon(&["customize", "--examples", "quokka.jsonl", "--pool", &format!("{url}/v1/pools/pool")])
        .output()
        .unwrap();
    assert!(stderr(&output).contains("have changed since"), "{}", stderr(&output));
}

fn customize_text(place: &Place, pool: &str) -> String {
    place.text(&["customize", "--examples", "quokka.jsonl", "--pool", pool, "-o", "fine"])
}

/// Makes the device believe that it saw other keys before.
fn remember(folder: &Path, keys: &[u8]) {
    let digest: Value = serde_json::from_str(&description("pool", keys)).unwrap();
    let known: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| {
            Some(entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "digest"))
        })
        .collect();
    assert_eq!(known.len(), 1, "{known:?}");
    std::fs::write(&known[0], digest["digest"].as_str().unwrap()).unwrap();
}
