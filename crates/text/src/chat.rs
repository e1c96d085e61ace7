//! Chat templates: a conversation as the text a model was trained on.
//!
//! Templates are Jinja2 programs, written for Hugging Face's `apply_chat_template`; they run here in an engine
//! without access to files or network, and with a bound on the work they may do.

use std::time::{SystemTime, UNIX_EPOCH};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::Serialize;

use crate::error::{Result, TextError};
use crate::functions::{FunctionCall, described, in_plain_text, with_texts};
use crate::tokenizer::{Special, Tokenizer};
use crate::{percent, python};

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// A function that the model called.
    Tool,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// Functions that the model calls, behind what it says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<FunctionCall>,
    /// Of a function's result, the call's [`id`](FunctionCall::id).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message { role, content: content.into(), calls: Vec::new(), answers: None }
    }
}

/// `messages` with `documents` in front of the last question, blank lines between.
pub fn with_documents(documents: &[&str], messages: &[Message]) -> Vec<Message> {
    let mut messages = messages.to_vec();
    if let Some(message) = messages.iter_mut().rfind(|message| message.role == Role::User) {
        let parts = documents.iter().copied().chain([message.content.as_str()]);
        message.content = parts.collect::<Vec<_>>().join("\n\n");
    }
    messages
}

/// A model's chat template, compiled.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Special tokens by the names templates know them by (`bos_token`).
    tokens: Vec<(String, String)>,
    flags: Vec<(String, bool)>,
}

/// Steps of the template engine that one conversation may take.
const FUEL: u64 = 5_000_000;
const NAME: &str = "chat";

impl ChatTemplate {
    /// Compiles a model's own template, with all special tokens its tokenizer files name at hand (`pad_token`).
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn for_tokenizer(source: &str, tokenizer: &Tokenizer) -> Result<ChatTemplate> {
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.text(id));
        let (bos, eos) = (text(tokenizer.bos()), text(tokenizer.eos()));
        let mut template = ChatTemplate::new(source, bos.as_deref(), eos.as_deref())?;
        for (name, token) in tokenizer.named_tokens() {
            if !matches!(name.as_str(), "bos_token" | "eos_token") {
                template.tokens.push((name.clone(), token.clone()));
            }
        }
        Ok(template)
    }

    /// Compiles a template; `bos` and `eos` are the texts of the tokens that start and end a text.
    ///
    /// # Errors
    /// When the template does not parse; the error names the line.
    pub fn new(source: &str, bos: Option<&str>, eos: Option<&str>) -> Result<ChatTemplate> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64);
        ChatTemplate::at(source, bos, eos, now)
    }

    /// Like `new`, with the time (seconds after 1970, UTC) that `strftime_now` tells.
    ///
    /// # Errors
    /// As `new`.
    pub fn at(source: &str, bos: Option<&str>, eos: Option<&str>, now: i64) -> Result<ChatTemplate> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| template_error(&e))?);
        environment.set_fuel(Some(FUEL));
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_function("raise_exception", raise_exception);
        environment.add_function("strftime_now", move |format: String| python::strftime(&format, now));
        environment.add_filter("tojson", |value: Value, kwargs: Kwargs| python::tojson(&value, kwargs));
        // Jinja reads every end of a line as a line feed.
        let source = source.replace("\r\n", "\n").replace('\r', "\n");
        environment
            .add_template_owned(NAME, percent::as_filters(&without_generation_blocks(&source)))
            .map_err(|e| template_error(&e))?;
        let tokens = [("bos_token", bos), ("eos_token", eos)]
            .map(|(name, token)| (name.to_owned(), token.unwrap_or_default().to_owned()));
        Ok(ChatTemplate { environment, tokens: tokens.into(), flags: Vec::new() })
    }

    /// The template a tokenizer's own control tokens point to, for models that come without one, and its name.
    /// `None` when nothing points anywhere: then the model continues plain text.
    pub fn guess(tokenizer: &Tokenizer) -> Option<(ChatTemplate, &'static str)> {
        let special = |name: &str| tokenizer.id(name).is_some_and(|id| tokenizer.is_special(id));
        let (_, name, source) =
            KNOWN.iter().find(|(markers, ..)| markers.iter().all(|marker| special(marker)))?;
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.text(id));
        let (bos, eos) = (text(tokenizer.bos().filter(|_| tokenizer.add_bos())), text(tokenizer.eos()));
        let template = ChatTemplate::new(source, bos.as_deref(), eos.as_deref()).ok()?;
        Some((template, name))
    }

    /// Sets a variable that some templates ask for, such as `enable_thinking`.
    pub fn with_flag(mut self, name: &str, value: bool) -> Self {
        self.flags.push((name.to_owned(), value));
        self
    }

    /// The conversation as text; `add_generation_prompt` opens the model's turn at the end.
    ///
    /// Encode it with [`Special::Parse`], or better use [`ChatTemplate::encode`], which keeps the names of
    /// control tokens inside messages apart from the template's own.
    ///
    /// # Errors
    /// When the template refuses these messages or fails; the error names the line.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.render_with(messages, &[], add_generation_prompt)
    }

    /// The same where `functions` may be called, by a template that [knows](Self::knows_functions) them.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_with(
        &self,
        messages: &[Message],
        functions: &[serde_json::Value],
        add_generation_prompt: bool,
    ) -> Result<String> {
        let tokens = self.tokens.iter().map(|(name, token)| (name.as_str(), Value::from(token.as_str())));
        let flags = self.flags.iter().map(|(name, value)| (name.as_str(), Value::from(*value)));
        let named = Value::from_pairs(tokens.chain(flags));
        let variables = context! {
            messages => messages.iter().map(value).collect::<Vec<Value>>(),
            add_generation_prompt,
            // Templates ask whether these are none.
            tools => if functions.is_empty() { Value::from(()) } else { described(functions).iter().map(python::value).collect() },
            documents => (),
            ..named
        };
        let template = self.environment.get_template(NAME).map_err(|e| template_error(&e))?;
        template.render(variables).map_err(|e| template_error(&e))
    }

    /// The conversation as token ids. It starts with a start token where the template writes one and not otherwise,
    /// whatever the tokenizer puts in front of other texts: so templates are applied in training (transformers'
    /// `apply_chat_template`). Names of control tokens inside messages are ordinary text: no message can end its own
    /// turn.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`] and [`Tokenizer::encode`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>> {
        self.encode_begun(tokenizer, messages, &[], add_generation_prompt, "")
    }

    /// Whether the template has a way of its own to tell of functions.
    pub fn knows_functions(&self) -> bool {
        let template = self.environment.get_template(NAME);
        template.is_ok_and(|template| template.undeclared_variables(false).contains("tools"))
    }

    /// The same where `functions` may be called, and with `beginning` behind it, the first words of the model's answer. Functions, calls
    /// and results are told in the template's own way, and [in plain text](in_plain_text) where it has none or refuses them.
    ///
    /// # Errors
    /// As [`ChatTemplate::encode`].
    pub fn encode_begun(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        functions: &[serde_json::Value],
        add_generation_prompt: bool,
        beginning: &str,
    ) -> Result<Vec<u32>> {
        let called = |message: &Message| message.role == Role::Tool || !message.calls.is_empty();
        if functions.is_empty() && !messages.iter().any(called) {
            return self.encode_native(tokenizer, messages, functions, add_generation_prompt, beginning);
        }
        if self.knows_functions()
            && let Ok(ids) =
                self.encode_native(tokenizer, messages, functions, add_generation_prompt, beginning)
        {
            return Ok(ids);
        }
        let plain = in_plain_text(messages, functions);
        self.encode_native(tokenizer, &plain, &[], add_generation_prompt, beginning)
    }

    fn encode_native(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
        functions: &[serde_json::Value],
        add_generation_prompt: bool,
        beginning: &str,
    ) -> Result<Vec<u32>> {
        let said: Vec<String> = functions.iter().map(serde_json::Value::to_string).collect();
        let calls =
            || messages.iter().flat_map(|message| &message.calls).map(|call| call.arguments.to_string());
        let calls: Vec<String> = calls().collect();
        let others = || said.iter().chain(&calls).map(String::as_str);
        let texts =
            || messages.iter().map(|message| message.content.as_str()).chain([beginning]).chain(others());
        // Unicode reserves these 32 for a program's own use: they stand for no character.
        let unused = |c: &char| texts().all(|text| !text.contains(*c));
        let shield = ('\u{fdd0}'..='\u{fdef}').find(unused).ok_or_else(|| TextError::Encode {
            message: "the messages use every one of Unicode's noncharacters".to_owned(),
        })?;
        let hide = |text: &str| tokenizer.shield(text, shield);
        let hide_call = |call: &FunctionCall| FunctionCall {
            name: hide(&call.name),
            arguments: with_texts(&call.arguments, &hide),
            id: call.id.clone(),
        };
        let shielded: Vec<Message> = messages
            .iter()
            .map(|message| Message {
                content: tokenizer.shield(&message.content, shield),
                calls: message.calls.iter().map(&hide_call).collect(),
                ..message.clone()
            })
            .collect();
        let functions: Vec<serde_json::Value> =
            functions.iter().map(|function| with_texts(function, &hide)).collect();
        let text = self.render_with(&shielded, &functions, add_generation_prompt)?
            + &tokenizer.shield(beginning, shield);
        tokenizer.encode_shielded(&text, Special::Parse, Some(shield))
    }
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}

fn value(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    };
    if message.calls.is_empty() {
        return match &message.answers {
            Some(id) => context! { role, content => &message.content, tool_call_id => id },
            None => context! { role, content => &message.content },
        };
    }
    let call = |call: &FunctionCall| {
        let function = context! { name => &call.name, arguments => python::value(&call.arguments) };
        match &call.id {
            Some(id) => context! { id, type => "function", function },
            None => context! { type => "function", function },
        }
    };
    let calls: Vec<Value> = message.calls.iter().map(call).collect();
    context! { role, content => &message.content, tool_calls => calls }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

fn template_error(error: &Error) -> TextError {
    let message = match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    };
    let lower = message.to_lowercase();
    let hint = match error.kind() {
        ErrorKind::OutOfFuel => Some("the template loops without end; use another one"),
        ErrorKind::InvalidOperation if lower.contains("system") => {
            Some("this model takes no system message; put its text in front of the first user message")
        }
        ErrorKind::InvalidOperation if lower.contains("alternate") => {
            Some("this model takes turns: user and assistant messages must alternate, a user message first")
        }
        _ => None,
    };
    TextError::Template { line: error.line(), message, hint: hint.map(str::to_owned) }
}

/// `{% generation %} ... {% endgeneration %}` marks the model's part for training and prints what it encloses:
/// the same as an `if` that is always true. Lines keep their numbers.
fn without_generation_blocks(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(open) = rest.find("{%") {
        let Some(len) = rest[open + 2..].find("%}") else { break };
        let (tag, after) = rest[open..].split_at(len + 4);
        let word = tag[2..tag.len() - 2].trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        out.push_str(&rest[..open]);
        match word {
            "generation" => out.push_str(&tag.replacen("generation", "if true", 1)),
            "endgeneration" => out.push_str(&tag.replacen("endgeneration", "endif", 1)),
            _ => out.push_str(tag),
        }
        rest = after;
    }
    out + rest
}

/// Control tokens, the name of the format they belong to, and a template for it.
const KNOWN: &[(&[&str], &str, &str)] = &[
    (
        &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
        "llama3",
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n\
         {{ m.content | trim }}<|eot_id|>{% endfor %}\
         {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ),
    (
        &["<|im_start|>", "<|im_end|>"],
        "chatml",
        "{{ bos_token }}{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    ),
    (
        &["<start_of_turn>", "<end_of_turn>"],
        "gemma",
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}\
         {{ raise_exception('System role not supported') }}{% endif %}\
         {{ '<start_of_turn>' + ('model' if m.role == 'assistant' else 'user') + '\n' + (m.content | trim) \
         + '<end_of_turn>\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ),
    (
        &["<|user|>", "<|assistant|>", "<|end|>"],
        "phi3",
        "{{ bos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}\
         {% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    ),
    (
        &["[INST]", "[/INST]"],
        "mistral",
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}\
         {{ raise_exception('System role not supported') }}{% elif m.role == 'user' %}\
         {{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}",
    ),
];
