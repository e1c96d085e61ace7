//! What a request asks for. Fields and their ranges follow OpenAI's reference; those of sampling beyond it, of the memory
//! (`pot`, `policy`, `keep`, `novelty`, `smooth`, `sinks`, `recent`, `catalyst`), `documents`, `pinned`, `cache`, `adapter`,
//! `examples`, `pool`, `force` and `route` are extensions.

use crayon_answer::{Catalyst, Input, MemoryRequest, MemorySize, Request, policy_names};
use crayon_engine::adapters::Example;
use crayon_engine::{Message, Role, SamplingOverrides};
use crayon_hybrid::Route;
use serde_json::{Value, json};

use crate::fields::{Fields, wrong};
use crate::refusal::Refusal;

/// Stop strings a request may have, as OpenAI's.
const MOST_STOPS: usize = 4;
/// Fields that change nothing about an answer made here.
const IGNORED: [&str; 9] = [
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "metadata",
    "store",
    "service_tier",
    "parallel_tool_calls",
    "verbosity",
    "prediction",
];

/// A request as it comes over HTTP, read and within its ranges.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiRequest {
    /// What is to be answered, and how.
    pub(crate) request: Request,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Whether a stream ends with the numbers of tokens.
    pub(crate) usage: bool,
    /// Offered adapters to answer through, each with its weight.
    pub(crate) adapter: Vec<(String, f32)>,
    /// Examples of what is wanted; empty for none.
    pub(crate) examples: Vec<Example>,
    /// Whether it is blended even where the examples fit nothing, and answers even what it was not made for.
    pub(crate) force: bool,
    /// The pool it is blended from.
    pub(crate) pool: Option<String>,
    /// Who answers.
    pub(crate) route: Option<Route>,
    /// Whoever asks through one address, told apart by this name.
    pub(crate) user: String,
}

impl ApiRequest {
    /// The field that holds the prompt.
    pub(crate) fn prompt_field(&self) -> &'static str {
        match self.request.input {
            Input::Chat(_) => "messages",
            Input::Text(_) => "prompt",
        }
    }

    /// The body of `/v1/chat/completions`.
    pub(crate) fn chat(body: &[u8]) -> Result<ApiRequest, Refusal> {
        let mut fields = Fields::parse(body)?;
        let messages = fields.value("messages").ok_or_else(|| wrong("messages", "given"))?;
        let input = Input::Chat(read_messages(messages)?);
        let longest = fields.count("max_completion_tokens", 1)?;
        let max_tokens = fields.count("max_tokens", 1)?;
        let (tools, plain) = (json!([]), json!({"type": "text"}));
        let no_tools = "this server calls no tools";
        fields.only("tools", std::slice::from_ref(&tools), no_tools)?;
        fields.only("functions", &[tools], no_tools)?;
        fields.only("tool_choice", &[json!("none"), json!("auto")], no_tools)?;
        fields.only("function_call", &[json!("none"), json!("auto")], no_tools)?;
        fields.only("response_format", &[plain], "answers are plain text")?;
        fields.only("modalities", &[json!(["text"])], "answers are plain text")?;
        fields.only("logprobs", &[json!(false)], "log-probabilities are not told")?;
        fields.only("top_logprobs", &[json!(0)], "log-probabilities are not told")?;
        ApiRequest::rest(fields, input, longest.or(max_tokens))
    }

    /// The body of `/v1/completions`.
    pub(crate) fn completion(body: &[u8]) -> Result<ApiRequest, Refusal> {
        let mut fields = Fields::parse(body)?;
        let prompt = fields.value("prompt").ok_or_else(|| wrong("prompt", "given"))?;
        let text = match prompt {
            Value::String(text) => text,
            Value::Array(texts) => match texts.as_slice() {
                [Value::String(text)] => text.clone(),
                _ => return Err(wrong("prompt", "a string, or a list of one string")),
            },
            _ => return Err(wrong("prompt", "a string, or a list of one string")),
        };
        // OpenAI's own default.
        let max_tokens = fields.count("max_tokens", 1)?.unwrap_or(16);
        fields.only("echo", &[json!(false)], "the prompt is not repeated")?;
        fields.only("suffix", &[json!("")], "nothing can be put after the answer")?;
        fields.only("best_of", &[json!(1)], "one answer is made")?;
        fields.only("logprobs", &[], "log-probabilities are not told")?;
        ApiRequest::rest(fields, Input::Text(text), Some(max_tokens))
    }

    /// What both have in common.
    fn rest(mut fields: Fields, input: Input, max_tokens: Option<usize>) -> Result<ApiRequest, Refusal> {
        let model = fields.text("model")?.ok_or_else(|| wrong("model", "given"))?;
        fields.only("n", &[json!(1)], "one answer is made")?;
        fields.only("logit_bias", &[json!({})], "single tokens cannot be weighted")?;
        fields.only("frequency_penalty", &[json!(0), json!(0.0)], "take presence_penalty instead")?;
        let stop = match fields.value("stop") {
            None => Vec::new(),
            Some(Value::String(text)) => vec![text],
            Some(value) => {
                serde_json::from_value(value).map_err(|_| wrong("stop", "a string or a list of strings"))?
            }
        };
        if stop.len() > MOST_STOPS || stop.iter().any(String::is_empty) {
            return Err(wrong("stop", &format!("at most {MOST_STOPS} strings, none of them empty")));
        }
        let stream = fields.flag("stream")?;
        let usage = match fields.value("stream_options") {
            None => false,
            Some(_) if !stream => return Err(wrong("stream_options", "left out without stream")),
            Some(options) => match options.get("include_usage") {
                None | Some(Value::Null) => false,
                Some(Value::Bool(usage)) => *usage,
                Some(_) => return Err(wrong("stream_options.include_usage", "true or false")),
            },
        };
        // Negative seeds are as good as others.
        let seed = match fields.value("seed") {
            None => None,
            Some(value) => Some(
                value
                    .as_u64()
                    .or(value.as_i64().map(i64::cast_unsigned))
                    .ok_or_else(|| wrong("seed", "a whole number"))?,
            ),
        };
        let most = f64::from(f32::MAX);
        let sampling = SamplingOverrides {
            temperature: fields.number("temperature", 0.0, 2.0)?,
            top_p: fields.number("top_p", f64::from(f32::MIN_POSITIVE), 1.0)?,
            top_k: fields.count("top_k", 0)?,
            min_p: fields.number("min_p", 0.0, 1.0)?,
            repetition_penalty: fields.number("repetition_penalty", f64::from(f32::MIN_POSITIVE), most)?,
            presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?,
        };
        let request = Request {
            pinned: fields.texts("pinned")?,
            documents: fields.texts("documents")?,
            sampling,
            seed,
            max_tokens,
            stop,
            memory: read_memory(&mut fields)?,
            cache: fields.flag("cache")?,
            ..Request::new(input)
        };
        let asked = ApiRequest {
            request,
            model,
            stream,
            usage,
            adapter: read_adapter(fields.value("adapter"))?,
            examples: read_examples(fields.value("examples"))?,
            force: fields.flag("force")?,
            pool: fields.text("pool")?,
            route: read_route(fields.text("route")?)?,
            user: fields.text("user")?.unwrap_or_default(),
        };
        for name in IGNORED {
            fields.value(name);
        }
        fields.finish()?;
        if !asked.adapter.is_empty() && !asked.examples.is_empty() {
            return Err(wrong("examples", "left out where adapter is given"));
        }
        if asked.pool.is_some() && asked.examples.is_empty() {
            return Err(wrong("pool", "left out without examples"));
        }
        Ok(asked)
    }
}

/// What is asked of the memory.
fn read_memory(fields: &mut Fields) -> Result<MemoryRequest, Refusal> {
    let policy = fields.text("policy")?;
    if policy.as_deref().is_some_and(|name| !policy_names().contains(&name)) {
        return Err(wrong("policy", &format!("one of {}", policy_names().join(", "))));
    }
    Ok(MemoryRequest {
        size: read_size(fields)?,
        policy,
        keep: fields.count("keep", 1)?,
        novelty: fields.number("novelty", 0.0, 1.0)?,
        smooth: fields.count("smooth", 1)?,
        sinks: fields.count("sinks", 0)?,
        recent: fields.count("recent", 0)?,
        catalyst: fields.text("catalyst")?.as_deref().map_or(Catalyst::Usual, Catalyst::from),
    })
}

/// Entries, or memory in words such as `64MiB`.
fn read_size(fields: &mut Fields) -> Result<Option<MemorySize>, Refusal> {
    match fields.value("pot") {
        None => Ok(None),
        Some(Value::String(text)) => {
            let size = text.parse().map_err(|_| wrong("pot", "entries (4096) or memory (\"64MiB\")"))?;
            Ok(Some(size))
        }
        Some(value) => match value.as_u64().filter(|entries| *entries > 0) {
            Some(entries) => Ok(Some(MemorySize::Entries(usize::try_from(entries).unwrap_or(usize::MAX)))),
            None => Err(wrong("pot", "entries (4096) or memory (\"64MiB\")")),
        },
    }
}

/// One name, or an object of names and weights.
fn read_adapter(value: Option<Value>) -> Result<Vec<(String, f32)>, Refusal> {
    let refusal = || wrong("adapter", "a name, or an object of names and weights");
    match value {
        None => Ok(Vec::new()),
        Some(Value::String(name)) => Ok(vec![(name, 1.0)]),
        Some(Value::Object(weights)) if !weights.is_empty() => weights
            .into_iter()
            .map(|(name, weight)| {
                let weight = weight.as_f64().map(|weight| weight as f32).filter(|weight| weight.is_finite());
                Ok((name, weight.ok_or_else(refusal)?))
            })
            .collect(),
        Some(_) => Err(refusal()),
    }
}

/// Texts, or objects as lines of a file of examples are.
fn read_examples(value: Option<Value>) -> Result<Vec<Example>, Refusal> {
    let list = match value {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if !list.is_empty() => list,
        Some(_) => {
            let expected = "a list of at least one {\"prompt\": text, \"answer\": text} or text";
            return Err(wrong("examples", expected));
        }
    };
    let read = |(at, example): (usize, Value)| {
        let example = match example {
            Value::String(prompt) => json!({"prompt": prompt}),
            example => example,
        };
        let name = format!("examples.{at}");
        Example::from_value(&example, at + 1)
            .map_err(|what| Refusal::invalid(format!("{name} {what}")).at(name))
    };
    list.into_iter().enumerate().map(read).collect()
}

fn read_route(name: Option<String>) -> Result<Option<Route>, Refusal> {
    let Some(name) = name else { return Ok(None) };
    Route::from_name(&name).map(Some).ok_or_else(|| wrong("route", "auto, device or server"))
}

fn read_messages(value: Value) -> Result<Vec<Message>, Refusal> {
    let Value::Array(list) = value else { return Err(wrong("messages", "a list")) };
    if list.is_empty() {
        return Err(wrong("messages", "a list of at least one message"));
    }
    list.iter().enumerate().map(|(at, message)| read_message(message, &format!("messages.{at}"))).collect()
}

fn read_message(message: &Value, name: &str) -> Result<Message, Refusal> {
    let role = match message.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        _ => return Err(wrong(&format!("{name}.role"), "system, developer, user or assistant")),
    };
    let name = format!("{name}.content");
    let text = match message.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let texts: Option<Vec<&str>> = parts.iter().map(text_of).collect();
            texts.ok_or_else(|| wrong(&name, "text; pictures and sounds are not read"))?.concat()
        }
        _ => return Err(wrong(&name, "a string or a list of text parts")),
    };
    Ok(Message::new(role, text))
}

fn text_of(part: &Value) -> Option<&str> {
    (part.get("type")?.as_str()? == "text").then(|| part.get("text")?.as_str())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(extra: &str) -> Result<ApiRequest, Refusal> {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{extra}}}"#);
        ApiRequest::chat(body.as_bytes())
    }

    fn blamed(extra: &str) -> String {
        let refusal = chat(extra).unwrap_err();
        assert_eq!(refusal.status, 400, "{extra}");
        refusal.param.unwrap_or_default()
    }

    #[test]
    fn fields_are_read() {
        let asked = chat(
            r#","temperature":0.5,"top_p":0.9,"max_tokens":5,"max_completion_tokens":7,"stop":"x","seed":-1,
               "stream":true,"stream_options":{"include_usage":true},"presence_penalty":1,"n":1,"pot":64,"user":"u",
               "tools":null,"logprobs":false,"metadata":{"a":"b"}"#,
        )
        .unwrap();
        let (request, sampling) = (&asked.request, &asked.request.sampling);
        assert_eq!((sampling.temperature, sampling.top_p), (Some(0.5), Some(0.9)));
        assert_eq!((request.max_tokens, request.seed), (Some(7), Some(u64::MAX)));
        assert_eq!(request.memory.size, Some(MemorySize::Entries(64)));
        assert_eq!((&request.stop, asked.stream, asked.usage), (&vec!["x".to_owned()], true, true));
        assert_eq!((sampling.presence_penalty, asked.user.as_str()), (Some(1.0), "u"));
        let asked = chat(
            r#","documents":["a","b"],"pinned":["c"],"policy":"snapkv","keep":9,"novelty":0.25,"smooth":3,"sinks":0,
               "recent":2,"catalyst":"question","cache":true"#,
        )
        .unwrap();
        assert_eq!((asked.request.documents.len(), asked.request.pinned.len()), (2, 1));
        let memory = MemoryRequest {
            size: None,
            policy: Some("snapkv".to_owned()),
            keep: Some(9),
            novelty: Some(0.25),
            smooth: Some(3),
            sinks: Some(0),
            recent: Some(2),
            catalyst: Catalyst::Question,
        };
        assert!(asked.request.memory == memory && asked.request.cache);
        let asked = chat(r#","adapter":{"a":0.5,"b":-1},"route":"device""#).unwrap();
        assert_eq!(asked.adapter, [("a".to_owned(), 0.5), ("b".to_owned(), -1.0)]);
        assert_eq!(asked.route, Some(Route::Device));
        let asked = chat(r#","examples":["x",{"prompt":"y","answer":"z"}],"pool":"p""#).unwrap();
        let texts = |example: &Example| (example.prompt.clone(), example.answer.clone());
        let examples: Vec<(String, Option<String>)> = asked.examples.iter().map(texts).collect();
        assert_eq!(examples, [("x".to_owned(), None), ("y".to_owned(), Some("z".to_owned()))]);
        assert_eq!(asked.pool.as_deref(), Some("p"));
    }

    #[test]
    fn contents_may_come_in_parts() {
        let body = r#"{"model":"m","messages":[{"role":"developer","content":"a"},
            {"role":"user","content":[{"type":"text","text":"b"},{"type":"text","text":"c"}]}]}"#;
        let messages = vec![Message::new(Role::System, "a"), Message::new(Role::User, "bc")];
        assert_eq!(ApiRequest::chat(body.as_bytes()).unwrap().request.input, Input::Chat(messages));
        let picture =
            r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]}"#;
        assert_eq!(ApiRequest::chat(picture.as_bytes()).unwrap_err().param.unwrap(), "messages.0.content");
    }

    #[test]
    fn what_cannot_be_done_is_refused_with_the_field_to_blame() {
        for (extra, param) in [
            (r#","n":2"#, "n"),
            (r#","temperature":3"#, "temperature"),
            (r#","temperature":"warm""#, "temperature"),
            (r#","top_p":0"#, "top_p"),
            (r#","max_tokens":0"#, "max_tokens"),
            (r#","max_tokens":1.5"#, "max_tokens"),
            (r#","seed":0.5"#, "seed"),
            (r#","stop":["a","b","c","d","e"]"#, "stop"),
            (r#","stop":"""#, "stop"),
            (r#","stop":[1]"#, "stop"),
            (r#","stream":"yes""#, "stream"),
            (r#","stream_options":{"include_usage":true}"#, "stream_options"),
            (r#","tools":[{"type":"function"}]"#, "tools"),
            (r#","logprobs":true"#, "logprobs"),
            (r#","frequency_penalty":0.1"#, "frequency_penalty"),
            (r#","response_format":{"type":"json_object"}"#, "response_format"),
            (r#","tempreature":1"#, "tempreature"),
            (r#","adapter":1"#, "adapter"),
            (r#","adapter":{}"#, "adapter"),
            (r#","adapter":{"a":"b"}"#, "adapter"),
            (r#","examples":[]"#, "examples"),
            (r#","examples":"a""#, "examples"),
            (r#","examples":["a"," "]"#, "examples.1"),
            (r#","examples":[{"text":"a"}]"#, "examples.0"),
            (r#","examples":["a"],"adapter":"b""#, "examples"),
            (r#","pool":"a""#, "pool"),
            (r#","route":"elsewhere""#, "route"),
            (r#","policy":"forget""#, "policy"),
            (r#","pot":0"#, "pot"),
            (r#","pot":"5 apples""#, "pot"),
            (r#","smooth":0"#, "smooth"),
            (r#","novelty":2"#, "novelty"),
            (r#","documents":"a""#, "documents"),
            (r#","pinned":[1]"#, "pinned"),
        ] {
            assert_eq!(blamed(extra), param, "{extra}");
        }
        assert!(
            ApiRequest::chat(b"[]").is_err()
                && ApiRequest::chat(b"{").is_err()
                && ApiRequest::chat(b"\xff").is_err()
        );
        assert_eq!(ApiRequest::chat(b"{}").unwrap_err().param.unwrap(), "messages");
        let tokens = br#"{"model":"m","prompt":[1,2]}"#;
        assert_eq!(ApiRequest::completion(tokens).unwrap_err().param.unwrap(), "prompt");
    }

    #[test]
    fn a_completion_has_openais_default_length() {
        let asked = ApiRequest::completion(br#"{"model":"m","prompt":["a"]}"#).unwrap();
        let request = asked.request;
        assert_eq!((request.input, request.max_tokens), (Input::Text("a".to_owned()), Some(16)));
    }
}
