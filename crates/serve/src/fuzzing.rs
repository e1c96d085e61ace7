//! What the targets in `fuzz` and a test of their own feed with anything.

use crate::customizing;
use crate::request::ApiRequest;

/// Reads `body` as every path would; it is read or refused.
pub fn body(body: &[u8]) {
    for read in [ApiRequest::chat, ApiRequest::completion, ApiRequest::response] {
        match read(body) {
            Ok(asked) => (0..asked.answers()).for_each(|number| drop(asked.one(number))),
            Err(refusal) => assert!(refusal.status.is_client_error() && !refusal.message.is_empty()),
        }
    }
    customizing::read(body);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    /// Fields that some path reads, with values that some of them takes.
    fn fields() -> impl Strategy<Value = Value> {
        let names = [
            "model",
            "messages",
            "prompt",
            "input",
            "n",
            "stop",
            "stream",
            "seed",
            "pot",
            "examples",
            "weights",
            "tools",
            "tool_choice",
            "response_format",
            "grammar",
            "logprobs",
            "top_logprobs",
            "max_tokens",
            "adapter",
            "text",
            "temperature",
            "instructions",
            "effort",
            "budget",
            "name",
            "documents",
            "user",
            "store",
        ];
        let value = prop_oneof![
            Just(json!(null)),
            Just(json!("m")),
            Just(json!(true)),
            Just(json!(-1)),
            Just(json!(1e300)),
            Just(json!([])),
            Just(json!({})),
            Just(json!(["a", {"prompt": "b", "answer": "c"}])),
            Just(
                json!([{"role": "user", "content": "hi"}, {"role": "assistant", "content": null, "tool_calls": []}])
            ),
            Just(json!({"type": "json_schema", "json_schema": {"schema": {}}})),
            Just(json!([{"type": "function", "function": {"name": "f", "parameters": {}}}])),
            any::<u32>().prop_map(|number| json!(number)),
            "[ -~\u{e9}\u{1f98a}]{0,12}".prop_map(|text| json!(text)),
        ];
        prop::collection::vec((prop::sample::select(names.to_vec()), value), 0..8).prop_map(|pairs| {
            let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
            Value::Object(pairs.collect::<Map<String, Value>>())
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { rng_seed: prop::test_runner::RngSeed::Fixed(7), cases: 400, ..ProptestConfig::default() })]

        #[test]
        fn every_body_is_read_or_refused(value in fields(), cut in 0usize..400) {
            let text = value.to_string();
            super::body(text.as_bytes());
            super::body(&text.as_bytes()[..cut.min(text.len())]);
        }
    }
}
