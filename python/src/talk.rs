//! An answer in the making: a pass of the network at a time, whenever Python asks for more of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crayon_answer::{
    AnswerError, Customization, DeviceEvent, Kept, Limits, Memory, Plan, Request, Writing, Written, plan,
    plan_turn,
};
use crayon_engine::{Engine, Session};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use self_cell::self_cell;

use crate::error::{Failure, Result, spell};
use crate::interrupt::Interrupt;

/// A session, and what is being written in it.
pub(crate) struct Seated<'e> {
    pub(crate) session: Session<'e>,
    writing: Option<(Writing<'e>, Plan)>,
}

impl<'e> From<Session<'e>> for Seated<'e> {
    fn from(session: Session<'e>) -> Seated<'e> {
        Seated { session, writing: None }
    }
}

self_cell!(
    /// A session with the engine it belongs to.
    pub(crate) struct Seat {
        owner: Arc<Engine>,
        #[not_covariant]
        dependent: Seated,
    }
);

/// A session that answers one question after another.
pub(crate) struct Talk {
    seat: Seat,
    /// Counts questions, so that a stream knows whether the session has gone on without it.
    turn: u64,
    /// Text of the answer so far.
    text: String,
    notes: Vec<String>,
}

impl Talk {
    pub(crate) fn new(
        engine: &Arc<Engine>,
        open: impl for<'e> FnOnce(&'e Engine) -> std::result::Result<Session<'e>, AnswerError>,
    ) -> Result<Talk> {
        let seat = Seat::try_new(engine.clone(), |engine| open(engine).map(Seated::from))?;
        Ok(Talk { seat, turn: 0, text: String::new(), notes: Vec::new() })
    }

    /// Begins an answer that stands for itself.
    pub(crate) fn once(engine: &Arc<Engine>, custom: &Customization, request: &Request) -> Result<Talk> {
        let limits = Limits::default();
        let (plan, _) = custom.plan(engine, request, |request| plan(engine, request, &limits))?;
        let mut talk = Talk::new(engine, |engine| plan.session(engine))?;
        talk.write(plan)?;
        Ok(talk)
    }

    /// Begins the next answer of a conversation.
    pub(crate) fn begin(&mut self, custom: &Customization, request: &Request) -> Result<()> {
        let plan = self.plan(custom, request)?;
        self.write(plan)
    }

    /// Reads what two requests begin with alike. What matters for `about` stays where a pot distils.
    pub(crate) fn read(
        &mut self,
        custom: &Customization,
        requests: [&Request; 2],
        about: Option<&str>,
        interrupt: &mut Interrupt,
    ) -> Result<()> {
        let (one, other) = (self.plan(custom, requests[0])?, self.plan(custom, requests[1])?);
        let shared = one.prompt.iter().zip(&other.prompt).take_while(|(a, b)| a == b).count();
        self.seat.with_dependent_mut(|engine, Seated { session, .. }| {
            if let Some(about) = about {
                session.set_catalyst(engine.catalyst(about)?)?;
            }
            session.set_adapter(other.adapter);
            if let Memory::Same(Some(pins)) = other.memory {
                session.pin(pins)?;
            }
            session.set_text(&other.prompt[..shared], &mut |_| interrupt.flow())?;
            Ok(())
        })
    }

    /// Plans the next turn, in a pot where it outgrows the session.
    fn plan(&mut self, custom: &Customization, request: &Request) -> Result<Plan> {
        let limits = Limits::default();
        self.seat.with_dependent_mut(|engine, seated| {
            let plan_turn = |request: &Request| plan_turn(engine, request, &limits, &seated.session);
            let (plan, _) = custom.plan(engine, request, plan_turn)?;
            if let Memory::Pot(..) = plan.memory {
                // Never both memories at once.
                seated.session = engine.session(0)?;
                seated.session = plan.session(engine)?;
            }
            Ok(plan)
        })
    }

    fn write(&mut self, plan: Plan) -> Result<()> {
        self.notes = plan.notes.iter().map(|note| spell(&note.phrase())).collect();
        self.seat.with_dependent_mut(|_, Seated { session, writing }| {
            *writing = Some((Writing::begin(&plan, session, Kept::default())?, plan));
            Ok::<_, AnswerError>(())
        })?;
        self.turn += 1;
        Ok(())
    }

    /// More text of the answer, and the answer itself where it has ended; neither where none is being written.
    fn next(&mut self) -> Result<(String, Option<Answer>)> {
        let (mut text, mut interrupt) = (String::new(), Interrupt::new());
        let Talk { seat, notes, .. } = self;
        let ended = seat.with_dependent_mut(|_, Seated { session, writing }| {
            let Some((going, plan)) = writing else { return Ok(None) };
            let ended = loop {
                let step = going.go_on(plan, session, Kept::default(), &mut |event| {
                    match event {
                        DeviceEvent::Text(piece) => text.push_str(&piece),
                        DeviceEvent::Note(note) => notes.push(spell(&note.phrase())),
                        _ => {}
                    }
                    interrupt.flow()
                });
                match step {
                    Ok(Some(written)) => break Ok(Some(Answer::new(plan, written, std::mem::take(notes)))),
                    Ok(None) if text.is_empty() => {}
                    Ok(None) => return Ok(None),
                    Err(error) => break Err(error),
                }
                if let Err(error) = session.pass() {
                    break Err(error.into());
                }
            };
            *writing = None;
            ended
        });
        self.text.push_str(&text);
        Ok((text, interrupt.result(ended)?))
    }

    /// Gives up what is being written.
    pub(crate) fn leave(&mut self) {
        self.turn += 1;
        self.seat.with_dependent_mut(|_, Seated { session, writing }| {
            *writing = None;
            session.leave();
        });
    }

    /// Whether an answer is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.seat.with_dependent(|_, seated| seated.writing.is_some())
    }

    /// Text of the last answer, as far as it came, which is forgotten here.
    pub(crate) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Does something with the session.
    pub(crate) fn with<T>(&mut self, work: impl FnOnce(&mut Session<'_>) -> T) -> T {
        self.seat.with_dependent_mut(|_, seated| work(&mut seated.session))
    }
}

/// What `mutex` guards. A panic is Python's exception, and leaves nothing half written that is looked at again.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An answer: `str(answer)` is its text.
#[pyclass(frozen, get_all, module = "crayon")]
#[derive(Clone)]
pub(crate) struct Answer {
    /// Its text.
    text: String,
    /// Why it ended: "end", "stop", "length" or "full".
    finish: &'static str,
    /// How sure the model is of it, 0 to 1; None for an empty answer.
    confidence: Option<f32>,
    /// Tokens of the prompt.
    read: usize,
    /// Tokens of the answer.
    written: usize,
    /// Tokens of the prompt that a pot distilled away.
    distilled: usize,
    /// Whether the question lay outside what the model was customized for, so that it answered as it is.
    outside: bool,
    /// The seed that gives this answer again.
    seed: u64,
    /// What should be known about it.
    notes: Vec<String>,
}

impl Answer {
    fn new(plan: &Plan, written: Written, notes: Vec<String>) -> Answer {
        let Written { answer, prompt, evicted, .. } = written;
        Answer {
            text: answer.text,
            finish: answer.finish.name(),
            confidence: answer.confidence,
            read: prompt,
            written: answer.tokens.len(),
            distilled: evicted,
            outside: plan.outside,
            seed: plan.generate.sampling.seed,
            notes,
        }
    }
}

#[pymethods]
impl Answer {
    fn __str__(&self) -> &str {
        &self.text
    }

    fn __repr__(&self) -> String {
        format!("<crayon.Answer {:?}, {}>", self.text, self.finish)
    }
}

/// Pieces of an answer, each as soon as it is written. Nothing is written that is not asked for: a stream that is left
/// alone, closed or dropped stops.
#[pyclass(frozen, module = "crayon")]
pub(crate) struct Stream {
    talk: Arc<Mutex<Talk>>,
    turn: u64,
    answer: OnceLock<Answer>,
    closed: AtomicBool,
}

impl Stream {
    /// What is being written in `talk`.
    pub(crate) fn of(talk: &Arc<Mutex<Talk>>) -> Stream {
        let turn = lock(talk).turn;
        Stream { talk: talk.clone(), turn, answer: OnceLock::new(), closed: AtomicBool::new(false) }
    }

    fn next(&self) -> Result<Option<String>> {
        let mut talk = lock(&self.talk);
        if self.closed.load(Ordering::Relaxed) || self.answer.get().is_some() {
            return Ok(None);
        }
        if talk.turn != self.turn {
            let hint = "read a stream to its end, or close it, before the session goes on";
            return Err(Failure::mistake("the session has gone on without this answer", hint));
        }
        let (text, answer) = talk.next()?;
        if let Some(answer) = answer {
            self.answer.get_or_init(|| answer);
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// The whole answer.
    pub(crate) fn finish(self) -> Result<Answer> {
        while self.next()?.is_some() {}
        self.answer.into_inner().ok_or_else(|| AnswerError::Cancelled.into())
    }
}

#[pymethods]
impl Stream {
    fn __iter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    fn __next__(&self, py: Python<'_>) -> Result<Option<String>> {
        py.detach(|| self.next())
    }

    /// Stops the answer. What a session has said of it stays said.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            let mut talk = lock(&self.talk);
            if !self.closed.swap(true, Ordering::Relaxed) && talk.turn == self.turn {
                talk.leave();
            }
        });
    }

    fn __enter__(this: PyRef<'_, Self>) -> PyRef<'_, Self> {
        this
    }

    #[pyo3(signature = (*_raised))]
    fn __exit__(&self, py: Python<'_>, _raised: &Bound<'_, PyTuple>) {
        self.close(py);
    }

    /// The whole answer; None before its end.
    #[getter]
    fn answer(&self) -> Option<Answer> {
        self.answer.get().cloned()
    }
}
