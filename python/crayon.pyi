"""A language model of your own, on your own device."""

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal, final, overload

from typing_extensions import Self, disjoint_base

__all__ = [
    "Answer",
    "Clip",
    "Customized",
    "Error",
    "Fault",
    "Hit",
    "Mistake",
    "Model",
    "Pictures",
    "Session",
    "Stream",
    "Tried",
    "__version__",
]

__version__: str

_Path = str | PathLike[str]
_Question = str | Sequence[Mapping[str, str]]
_Texts = str | list[str] | tuple[str, ...]
_Pot = int | str
_Examples = _Path | Sequence[tuple[str, str] | Mapping[str, Any]]
_Effort = Literal["instant", "fit", "train", "auto"]

class Error(Exception):
    """What went wrong (`message`), and what can be done about it (`hint`, or None)."""

    message: str
    hint: str | None

class Mistake(Error):
    """Another input or setting would have worked."""

class Fault(Error):
    """The library or the machine failed."""

@final
class Answer:
    """An answer: `str(answer)` is its text."""

    @property
    def text(self) -> str:
        """Its text."""
    @property
    def finish(self) -> Literal["end", "stop", "length", "full"]:
        """Why it ended."""
    @property
    def confidence(self) -> float | None:
        """How sure the model is of it, 0 to 1; None for an empty answer."""
    @property
    def read(self) -> int:
        """Tokens of the prompt."""
    @property
    def written(self) -> int:
        """Tokens of the answer."""
    @property
    def distilled(self) -> int:
        """Tokens of the prompt that a pot distilled away."""
    @property
    def outside(self) -> bool:
        """Whether the question lay outside what the model was customized for, so that it answered as it is."""
    @property
    def seed(self) -> int:
        """The seed that gives this answer again."""
    @property
    def notes(self) -> list[str]:
        """What should be known about it."""

@final
class Stream:
    """Pieces of an answer, each as soon as it is written.

    Nothing is written that is not asked for: a stream that is left alone, closed or dropped stops.
    """

    def __iter__(self) -> Self: ...
    def __next__(self) -> str: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_raised: object) -> None: ...
    def close(self) -> None:
        """Stops the answer. What a session has said of it stays said."""
    @property
    def answer(self) -> Answer | None:
        """The whole answer; None before its end."""

@disjoint_base
class Model:
    """An open model.

    `name` is "mini", "mini-gpt2", or the path of a GGUF file, a folder in Hugging Face's layout or a llama2.c file. `threads` are
    those it runs on, all cores where it is None. `exact` keeps activations in 32 bits. `pot` is the memory that texts are read
    through: a number of entries, or bytes such as "64MiB"; the model's window where it is None. A longer text is distilled.
    """

    def __new__(
        cls, name: _Path = ..., *, threads: int | None = None, exact: bool = False, pot: _Pot | None = None
    ) -> Self: ...
    @property
    def name(self) -> str:
        """The name it was opened by."""
    @property
    def context(self) -> int:
        """Tokens of its window."""
    def ask(
        self,
        question: _Question,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: _Texts = (),
        system: str | None = None,
        documents: _Texts = (),
    ) -> Answer:
        """The answer to a question, or to a list of messages with `role` and `content`.

        `max_tokens` bounds the answer (256). `temperature` and `top_p` say how freely tokens are drawn, as the model's makers
        suggest where they are None; `seed` fixes what is drawn. The answer ends before any of `stop`. `system` are instructions in
        front of everything, `documents` texts in front of the question, of any length.
        """
    def stream(
        self,
        question: _Question,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: _Texts = (),
        system: str | None = None,
        documents: _Texts = (),
    ) -> Stream:
        """The same, piece by piece while it is written."""
    def session(self, *, system: str | None = None, pot: _Pot | None = None) -> Session:
        """A conversation, with instructions in front of it. `pot` is its memory, where it is another than the model's."""
    def resume(self, path: _Path) -> Session:
        """Goes on with a session that was saved to `path`."""
    def customize(
        self,
        examples: _Examples,
        *,
        effort: _Effort = "auto",
        budget: float = 60.0,
        pool: _Path | None = None,
        seed: int = 0,
        force: bool = False,
    ) -> Customized:
        """The best that a person's examples make of the model: it answers questions like them so, and others as before.

        `examples` are dicts with `prompt` and `answer`, pairs of them, or the path of a file with a JSON object a line. `effort`
        says what is tried: "instant" learns nothing, "fit" weighs the pool's adapters by the answers, "train" trains an adapter,
        "auto" ends where every example is answered right. `budget` is the time for it in seconds. `pool` is the path of a pool of
        adapters; None is the one built in for this model, if there is one. `seed` fixes everything random. With `force` every
        question is answered through it.
        """
    def load(self, folder: _Path, *, force: bool = False) -> Customized:
        """The model with what `Customized.save` wrote, or with any adapter of PEFT for it.

        An adapter that does not know what it was made for answers every question, and so do all with `force`.
        """
    @overload
    def embed(self, text: str) -> list[float]: ...
    @overload
    def embed(self, text: list[str] | tuple[str, ...]) -> list[list[float]]:
        """A text as a vector of length 1, or a list of them for a list: the mean of the model's last states, as it is."""

@final
class Tried:
    """A candidate, judged by the examples."""

    @property
    def name(self) -> Literal["base", "blend", "nearest", "fitted", "prompt", "trained"]:
        """What it is."""
    @property
    def right(self) -> int:
        """Examples it answers right."""
    @property
    def of(self) -> int:
        """Examples it was judged by."""
    @property
    def loss(self) -> float:
        """Mean loss of the answers, in nats a token."""
    @property
    def seconds(self) -> float:
        """Time it took to make and to judge it."""

@final
class Customized(Model):
    """A model with what examples made of it, made by `Model.customize` and `Model.load`. `print` shows what was tried."""

    @property
    def tried(self) -> list[Tried]:
        """What was tried, the simplest first."""
    @property
    def chosen(self) -> Literal["base", "blend", "nearest", "fitted", "prompt", "trained"] | None:
        """What was taken; None for what was loaded."""
    @property
    def notes(self) -> list[str]:
        """What should be known about it."""
    def save(self, folder: _Path) -> None:
        """Writes an adapter as PEFT has them into a folder, or the examples for the prompt, and what it is for."""

@final
class Session:
    """A conversation with a model, made by `Model.session`. What it has read it does not read again."""

    def feed(self, text: str, *, about: str | None = None) -> None:
        """Reads a text of any length, which the next question is about. It is read now, so that the answer comes sooner.

        What a pot keeps of it is what matters in general, or for the question `about`.
        """
    def ask(
        self,
        question: str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: _Texts = (),
    ) -> Answer:
        """The answer to a question. The keywords are those of `Model.ask`, without `system` and `documents`."""
    def stream(
        self,
        question: str,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        seed: int | None = None,
        stop: _Texts = (),
    ) -> Stream:
        """The same, piece by piece while it is written."""
    @property
    def messages(self) -> list[dict[str, str]]:
        """What was said: dicts with `role` and `content`."""
    @property
    def tokens(self) -> int:
        """Tokens read and written so far."""
    @property
    def kept(self) -> int:
        """Those of them that are in memory: a pot distils the others away."""
    def save(self, path: _Path) -> None:
        """Keeps the conversation and its memory in a file, for `Model.resume` and `crayon chat --session`."""

@final
class Clip:
    """An open model of texts and pictures (CLIP, SigLIP).

    `name` is "mini-clip", or the path of a folder in Hugging Face's layout. `threads` are those it runs on, all cores where it is None.
    """

    def __new__(cls, name: _Path = ..., *, threads: int | None = None) -> Self: ...
    @property
    def name(self) -> str:
        """The name it was opened by."""
    @property
    def dim(self) -> int:
        """Numbers of a vector."""
    @overload
    def embed_text(self, text: str) -> list[float]: ...
    @overload
    def embed_text(self, text: list[str] | tuple[str, ...]) -> list[list[float]]:
        """A text as a vector of length 1, or a list of them for a list. `"a (red:2) heart"` makes a word count more."""
    def embed_picture(self, picture: _Path | bytes) -> list[float]:
        """A picture as a vector of length 1: the path of its file, or the file's bytes."""
    def index(self, folder: _Path, path: _Path) -> Pictures:
        """A folder of pictures, ready to be searched. Its index is the file at `path`, made where it is not there, else brought up to date."""

@final
class Hit:
    """A picture that was found."""

    @property
    def path(self) -> Path:
        """A file that holds it."""
    @property
    def score(self) -> float:
        """Its likeness with the text, the cosine of both vectors."""

@final
class Pictures:
    """An index of pictures, made by `Clip.index`."""

    @property
    def broken(self) -> list[tuple[Path, str]]:
        """Files that could not be read, and why."""
    def __len__(self) -> int:
        """Pictures of the index."""
    def search(self, text: str, count: int = 10) -> list[Hit]:
        """The pictures that a text describes, the likeliest first.

        `"a (red:2) heart -arrow"` makes a word count more, and another speak against a picture.
        """
