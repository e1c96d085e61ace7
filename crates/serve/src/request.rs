//! What a request asks for. Fields and their ranges follow OpenAI's reference; those of sampling beyond it, of the memory
//! (`pot`, `policy`, `keep`, `novelty`, `novelty_exact`, `smooth`, `sinks`, `recent`, `catalyst`), `documents`, `pinned`, `cache`, `adapter`,
//! `examples`, `pool`, `force` and `route` are extensions.

use crayon_answer::{Input, Request};
use crayon_engine::adapters::Example;
use crayon_engine::{Message, Role, SamplingOverrides};
use crayon_hybrid::Route;
use serde_json::{Value, json};

use crayon_guided::Form;

use crate::extensions::{read_adapter, read_examples, read_memory, read_route};
use crate::fields::{Fields, wrong};
use crate::form::{constrained, read_form, read_format};
use crate::hosted::Hosted;
use crate::messages::{read_items, read_messages};
use crate::refusal::Refusal;
use crate::tools::{Tools, read_tools};

/// Stop strings a request may have, as OpenAI's.
const MOST_STOPS: usize = 4;
/// Answers one request may ask for.
const MOST_ANSWERS: usize = 16;
/// Likeliest tokens that may be asked for at each place, as OpenAI's.
const MOST_LIKELIEST: usize = 20;
/// Fields that change nothing about an answer made here.
const IGNORED: [&str; 14] = [
    "cache_prompt",
    "id_slot",
    "keep_alive",
    "metadata",
    "parallel_tool_calls",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_retention",
    "return_progress",
    "safety_identifier",
    "service_tier",
    "store",
    "timings_per_token",
    "verbosity",
];

/// A request as it comes over HTTP, read and within its ranges.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ApiRequest {
    /// What is to be answered, and how.
    pub(crate) request: Request,
    /// What else is to be answered in the same way.
    more: Vec<Input>,
    /// How many answers each of them gets.
    pub(crate) n: usize,
    pub(crate) model: String,
    pub(crate) stream: bool,
    /// Whether a stream ends with the numbers of tokens.
    pub(crate) usage: bool,
    /// Whether the tokens of the answer are told, with their log-probabilities.
    pub(crate) logprobs: bool,
    /// The form an answer shall have, and the field that says so.
    form: Option<(&'static str, Form)>,
    /// Functions that may be called.
    pub(crate) tools: Option<Tools>,
    /// Whether an answer begins with its prompt.
    pub(crate) echo: bool,
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
    /// Fields that were there and change nothing.
    pub(crate) ignored: Vec<&'static str>,
}

impl ApiRequest {
    /// The field that holds the prompt.
    pub(crate) fn prompt_field(&self) -> &'static str {
        match self.request.input {
            Input::Chat(_) => "messages",
            Input::Text(_) => "prompt",
        }
    }

    /// How many answers are wanted in all.
    pub(crate) fn answers(&self) -> usize {
        self.n * (1 + self.more.len())
    }

    /// The request for one of them. Those after the first draw other tokens, also where the seed is given.
    pub(crate) fn one(&self, number: usize) -> Request {
        let mut request = self.request.clone();
        if let Some(input) = (number / self.n).checked_sub(1).and_then(|at| self.more.get(at)) {
            request.input = input.clone();
        }
        request.seed = request.seed.map(|seed| seed.wrapping_add((number % self.n) as u64));
        request
    }

    /// What an answer begins with.
    pub(crate) fn echoed(&self, number: usize) -> String {
        match self.one(number).input {
            Input::Text(text) if self.echo => text,
            _ => String::new(),
        }
    }

    /// Whether it asks for something that only the device has.
    pub(crate) fn needs_device(&self) -> bool {
        self.logprobs || self.n > 1 || self.request.is_begun() || self.form.is_some() || self.tools.is_some()
    }

    /// The body of `/v1/chat/completions`.
    pub(crate) fn chat(body: &[u8]) -> Result<ApiRequest, Refusal> {
        let mut fields = Fields::parse(body)?;
        let messages = fields.value("messages").ok_or_else(|| wrong("messages", "given"))?;
        let messages = read_messages(messages)?;
        let longest = read_length(&mut fields, "max_completion_tokens")?;
        let max_tokens = read_length(&mut fields, "max_tokens")?;
        let newer = "tools and tool_choice are read instead";
        fields.only("functions", &[json!([])], newer)?;
        fields.only("function_call", &[json!("none"), json!("auto")], newer)?;
        let tools = read_tools(&mut fields)?;
        let form = form_beside(read_form(&mut fields)?, tools.as_ref(), "response_format")?;
        fields.only("modalities", &[json!(["text"])], "answers are plain text")?;
        let logprobs = fields.flag("logprobs")?;
        let likeliest = read_likeliest(&mut fields, "top_logprobs")?;
        if likeliest.is_some_and(|count| count > 0) && !logprobs {
            return Err(wrong("top_logprobs", "left out without logprobs"));
        }
        let length = longest.or(max_tokens).flatten();
        let mut asked = ApiRequest::rest(fields, vec![Input::Chat(messages)], length)?;
        asked.request.functions = tools.as_ref().map_or_else(Vec::new, |tools| tools.functions().to_vec());
        (asked.form, asked.tools) = (form, tools);
        asked.logprobs = logprobs;
        asked.request.likeliest = likeliest.unwrap_or(0);
        Ok(asked)
    }

    /// The body of `/v1/completions`.
    pub(crate) fn completion(body: &[u8]) -> Result<ApiRequest, Refusal> {
        let mut fields = Fields::parse(body)?;
        let prompt = fields.value("prompt").ok_or_else(|| wrong("prompt", "given"))?;
        let texts: Option<Vec<String>> = match prompt {
            Value::String(text) => Some(vec![text]),
            prompt => serde_json::from_value(prompt).ok(),
        };
        let texts = texts.filter(|texts| !texts.is_empty());
        let texts = texts.ok_or_else(|| wrong("prompt", "a string, or a list of strings"))?;
        // OpenAI's own default.
        let max_tokens = read_length(&mut fields, "max_tokens")?.unwrap_or(Some(16));
        let echo = fields.flag("echo")?;
        fields.only("suffix", &[json!("")], "nothing can be put after the answer")?;
        fields.only("best_of", &[json!(1)], "all answers are given that are made; ask for n")?;
        let likeliest = read_likeliest(&mut fields, "logprobs")?;
        if echo && likeliest.is_some() {
            return Err(wrong("logprobs", "left out with echo: those of the prompt are not told"));
        }
        let form = read_form(&mut fields)?;
        let inputs = texts.into_iter().map(Input::Text).collect();
        let mut asked = ApiRequest::rest(fields, inputs, max_tokens)?;
        asked.form = form;
        asked.logprobs = likeliest.is_some();
        asked.request.likeliest = likeliest.unwrap_or(0);
        asked.echo = echo;
        Ok(asked)
    }

    /// The body of `/v1/responses`.
    pub(crate) fn response(body: &[u8]) -> Result<ApiRequest, Refusal> {
        let mut fields = Fields::parse(body)?;
        let input = fields.value("input").ok_or_else(|| wrong("input", "given"))?;
        let mut messages = match fields.text("instructions")? {
            Some(text) => vec![Message::new(Role::System, text)],
            None => Vec::new(),
        };
        messages.extend(read_items(input)?);
        let nothing_kept = "nothing is kept here; send the whole conversation";
        fields.only("previous_response_id", &[], nothing_kept)?;
        fields.only("conversation", &[], nothing_kept)?;
        fields.only("background", &[json!(false)], "answers are made while they are waited for")?;
        fields.only("truncation", &[json!("disabled")], "nothing is cut silently; a pot reads any length")?;
        fields.only("include", &[json!([])], "nothing more is told")?;
        fields.only("top_logprobs", &[json!(0)], "they are told by /v1/chat/completions")?;
        let format = fields.value("text").and_then(|text| text.get("format").cloned());
        let form = match format {
            None => None,
            Some(format) => read_format(&format, "text.format")?.map(|form| ("text.format", form)),
        };
        let length = read_length(&mut fields, "max_output_tokens")?.flatten();
        let tools = read_tools(&mut fields)?;
        let form = form_beside(form, tools.as_ref(), "text.format")?;
        fields.only("n", &[json!(1)], "one answer is made")?;
        let mut asked = ApiRequest::rest(fields, vec![Input::Chat(messages)], length)?;
        asked.request.functions = tools.as_ref().map_or_else(Vec::new, |tools| tools.functions().to_vec());
        (asked.form, asked.tools) = (form, tools);
        Ok(asked)
    }

    /// Gives the answers their form, for the model that is asked.
    pub(crate) fn constrain(&mut self, hosted: &Hosted) -> Result<(), Refusal> {
        if let Some((field, form)) = &self.form {
            self.request.grammar = Some(constrained(hosted, field, form)?);
        }
        Ok(())
    }

    /// What both have in common.
    fn rest(
        mut fields: Fields,
        mut inputs: Vec<Input>,
        max_tokens: Option<usize>,
    ) -> Result<ApiRequest, Refusal> {
        let model = fields.text("model")?.ok_or_else(|| wrong("model", "given"))?;
        let n = fields.count("n", 1)?.unwrap_or(1);
        if n.saturating_mul(inputs.len()) > MOST_ANSWERS {
            let name = if n > 1 { "n" } else { "prompt" };
            return Err(wrong(
                name,
                &format!("so small that one request has at most {MOST_ANSWERS} answers"),
            ));
        }
        neutral(&mut fields)?;
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
            frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?,
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
            ..Request::new(inputs.remove(0))
        };
        let mut asked = ApiRequest {
            request,
            more: inputs,
            n,
            model,
            stream,
            usage,
            logprobs: false,
            form: None,
            tools: None,
            echo: false,
            adapter: read_adapter(fields.value("adapter"))?,
            examples: read_examples(fields.value("examples"))?,
            force: fields.flag("force")?,
            pool: fields.text("pool")?,
            route: read_route(fields.text("route")?)?,
            user: fields.text("user")?.unwrap_or_default(),
            ignored: Vec::new(),
        };
        IGNORED.into_iter().for_each(|name| fields.ignore(name));
        asked.ignored.append(&mut fields.ignored);
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

/// The longest answer: `None` where it is not said, and within it where as much is wanted as fits (-1).
fn read_length(fields: &mut Fields, name: &str) -> Result<Option<Option<usize>>, Refusal> {
    match fields.value(name) {
        None => Ok(None),
        Some(value) if value.as_i64() == Some(-1) => Ok(Some(None)),
        Some(value) => match value.as_u64().filter(|count| *count > 0) {
            Some(count) => Ok(Some(Some(usize::try_from(count).unwrap_or(usize::MAX)))),
            None => Err(wrong(name, "a whole number, 1 or more, or -1 for as many as fit")),
        },
    }
}

/// The form of an answer, or of the call that it has to be.
fn form_beside(
    form: Option<(&'static str, Form)>,
    tools: Option<&Tools>,
    field: &str,
) -> Result<Option<(&'static str, Form)>, Refusal> {
    match (form, tools) {
        (Some(_), Some(_)) => Err(wrong(field, "left out with tools")),
        (form, None) => Ok(form),
        (None, Some(tools)) => Ok(tools.form().map(|form| ("tool_choice", form))),
    }
}

/// How many of the likeliest tokens are told at each place.
fn read_likeliest(fields: &mut Fields, name: &str) -> Result<Option<usize>, Refusal> {
    match fields.count(name, 0)? {
        Some(count) if count > MOST_LIKELIEST => {
            Err(wrong(name, &format!("a whole number from 0 to {MOST_LIKELIEST}")))
        }
        count => Ok(count),
    }
}

/// Ways to draw tokens that there are elsewhere and not here, which may be sent where they do nothing.
fn neutral(fields: &mut Fields) -> Result<(), Refusal> {
    let not_here = "tokens are not drawn so here";
    fields.only("logit_bias", &[json!({}), json!([])], "single tokens cannot be weighted")?;
    for (name, value) in [
        ("dry_multiplier", 0.0),
        ("dynatemp_range", 0.0),
        ("mirostat", 0.0),
        ("n_probs", 0.0),
        ("tfs_z", 1.0),
        ("top_a", 0.0),
        ("typical_p", 1.0),
        ("xtc_probability", 0.0),
    ] {
        fields.only(name, &[json!(value), json!(value as i64)], not_here)?;
    }
    fields.only("ignore_eos", &[json!(false)], "an answer ends where the model ends it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crayon_answer::{Catalyst, MemoryRequest, MemorySize};

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
               "tools":null,"logprobs":false,"metadata":{"a":"b"},"store":true,"mirostat":0,"frequency_penalty":0.5"#,
        )
        .unwrap();
        assert_eq!(asked.ignored, ["metadata", "store"]);
        assert_eq!(asked.request.sampling.frequency_penalty, Some(0.5));
        let (request, sampling) = (&asked.request, &asked.request.sampling);
        assert_eq!((sampling.temperature, sampling.top_p), (Some(0.5), Some(0.9)));
        assert_eq!((request.max_tokens, request.seed), (Some(7), Some(u64::MAX)));
        assert_eq!(request.memory.size, Some(MemorySize::Entries(64)));
        assert_eq!((&request.stop, asked.stream, asked.usage), (&vec!["x".to_owned()], true, true));
        assert_eq!((sampling.presence_penalty, asked.user.as_str()), (Some(1.0), "u"));
        let asked = chat(
            r#","documents":["a","b"],"pinned":["c"],"policy":"snapkv","keep":9,"novelty":0.25,"novelty_exact":true,"smooth":3,"sinks":0,
               "recent":2,"catalyst":"question","passes":3,"cache":true"#,
        )
        .unwrap();
        assert_eq!((asked.request.documents.len(), asked.request.pinned.len()), (2, 1));
        let memory = MemoryRequest {
            size: None,
            policy: Some("snapkv".to_owned()),
            keep: Some(9),
            novelty: Some(0.25),
            exact_novelty: true,
            smooth: Some(3),
            sinks: Some(0),
            recent: Some(2),
            catalyst: Catalyst::Question,
            passes: Some(3),
        };
        assert_eq!(blamed(r#","passes":5"#), "passes");
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
            (r#","n":0"#, "n"),
            (r#","n":17"#, "n"),
            (r#","max_tokens":-2"#, "max_tokens"),
            (r#","mirostat":2"#, "mirostat"),
            (r#","logit_bias":{"5":-100}"#, "logit_bias"),
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
            (r#","tools":[{"type":"function"}]"#, "tools.0"),
            (r#","tool_choice":"required""#, "tool_choice"),
            (r#","functions":[{"name":"f"}]"#, "functions"),
            (r#","logprobs":3"#, "logprobs"),
            (r#","top_logprobs":3"#, "top_logprobs"),
            (r#","logprobs":true,"top_logprobs":21"#, "top_logprobs"),
            (r#","frequency_penalty":2.1"#, "frequency_penalty"),
            (r#","response_format":{"type":"xml"}"#, "response_format"),
            (r#","response_format":{"type":"json_schema"}"#, "response_format"),
            (r#","grammar":1"#, "grammar"),
            (r#","grammar":"start: \"a\"","response_format":{"type":"json_object"}"#, "grammar"),
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
    fn several_answers_differ_in_prompt_and_seed() {
        let body = br#"{"model":"m","prompt":["a","b"],"n":2,"seed":5,"echo":true,"max_tokens":-1}"#;
        let asked = ApiRequest::completion(body).unwrap();
        let one = |number: usize| (asked.one(number).seed, asked.echoed(number));
        let expected = [(5, "a"), (6, "a"), (5, "b"), (6, "b")];
        let expected = expected.map(|(seed, text)| (Some(seed), text.to_owned()));
        assert_eq!([0, 1, 2, 3].map(one), expected);
        assert_eq!((asked.answers(), asked.request.max_tokens), (4, None));
        let both = br#"{"model":"m","prompt":"a","echo":true,"logprobs":1}"#;
        assert_eq!(ApiRequest::completion(both).unwrap_err().param.unwrap(), "logprobs");
        let many = format!(r#"{{"model":"m","prompt":{:?}}}"#, vec!["a"; 17]);
        assert_eq!(ApiRequest::completion(many.as_bytes()).unwrap_err().param.unwrap(), "prompt");
    }

    #[test]
    fn a_completion_has_openais_default_length() {
        let asked = ApiRequest::completion(br#"{"model":"m","prompt":["a"]}"#).unwrap();
        let request = asked.request;
        assert_eq!((request.input, request.max_tokens), (Input::Text("a".to_owned()), Some(16)));
    }
}
