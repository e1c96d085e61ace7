"""The wheel as a program uses it, on the built-in models."""

from __future__ import annotations

import math
import os
import re
import signal
import tempfile
import threading
import time
import unittest
from pathlib import Path

import crayon

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples" / "home.jsonl"
PICTURES = ROOT / "examples" / "pictures"
DAY = "Anna saw a dog. Tom went home. The rain fell.\n"
SECRET = DAY * 120 + "The secret number is 4812.\n" + DAY * 120
CAT = "A cat is a small furry animal that often lives with people and says meow."

model = crayon.Model("mini")


class Asking(unittest.TestCase):
    def test_an_answer_says_what_it_is(self) -> None:
        answer = model.ask("What is a cat?")
        self.assertEqual(answer.text, CAT)
        self.assertEqual(str(answer), CAT)
        self.assertEqual(answer.finish, "end")
        self.assertGreater(answer.confidence or 0.0, 0.5)
        self.assertGreater(answer.read, 4)
        self.assertGreater(answer.written, 10)
        self.assertEqual((answer.distilled, answer.outside, answer.notes), (0, False, []))

    def test_messages_are_a_conversation(self) -> None:
        turns = [{"role": "user", "content": "What is a dog?"}, {"role": "assistant", "content": "An animal."}]
        asked = {"role": "user", "content": "What is a cat?"}
        self.assertEqual(model.ask([asked]).text, CAT)
        self.assertGreater(model.ask([*turns, asked]).read, model.ask([asked]).read)
        system = model.ask("What is a cat?", system="Answer in one word.")
        same = model.ask([{"role": "system", "content": "Answer in one word."}, asked])
        self.assertEqual((system.read, system.text), (same.read, same.text))

    def test_options_bound_the_answer(self) -> None:
        short = model.ask("What is a cat?", max_tokens=3)
        self.assertEqual((short.finish, short.written), ("length", 3))
        self.assertTrue(CAT.startswith(short.text))
        stopped = model.ask("What is a cat?", stop=" furry")
        self.assertEqual((stopped.finish, stopped.text), ("stop", "A cat is a small"))

    def test_a_seed_gives_an_answer_again(self) -> None:
        def drawn(seed: int | None) -> crayon.Answer:
            return model.ask("Tell me a story.", temperature=1.0, seed=seed, max_tokens=30)

        self.assertEqual(drawn(1).text, drawn(1).text)
        self.assertNotEqual(drawn(1).text, drawn(2).text)
        unknown = drawn(None)
        self.assertEqual(drawn(unknown.seed).text, unknown.text)

    def test_documents_of_any_length_go_through_a_pot(self) -> None:
        small = crayon.Model("mini", pot=256)
        answer = small.ask("What is the secret number?", documents=[SECRET])
        self.assertEqual(answer.text, "4812")
        self.assertGreater(answer.distilled, 2500)
        self.assertLessEqual(answer.read - answer.distilled, 256)

    def test_a_path_opens_a_file(self) -> None:
        opened = crayon.Model(ROOT / "models" / "mini.gguf", threads=1)
        self.assertEqual(opened.ask("What is a cat?").text, CAT)
        self.assertEqual(opened.context, model.context)


class Errors(unittest.TestCase):
    def test_what_and_what_to_do(self) -> None:
        with self.assertRaises(crayon.Mistake) as caught:
            crayon.Model("nonsense")
        self.assertEqual(caught.exception.message, 'no model called "nonsense" is built in')
        self.assertIn("mini", caught.exception.hint or "")
        self.assertEqual(str(caught.exception), f"{caught.exception.message}\nhint: {caught.exception.hint}")
        self.assertIsInstance(caught.exception, crayon.Error)
        with self.assertRaisesRegex(crayon.Mistake, "no model at .*missing.gguf"):
            crayon.Model(Path("missing.gguf"))

    def test_settings_are_called_as_in_python(self) -> None:
        with self.assertRaisesRegex(crayon.Mistake, "^`temperature` must be 0 or more, not -1$"):
            model.ask("What?", temperature=-1)
        with self.assertRaisesRegex(crayon.Mistake, "a pot of 3 entries is too small"):
            crayon.Model("mini", pot=3).ask("What?", documents=[SECRET])
        with self.assertRaisesRegex(crayon.Mistake, "is not a size"):
            crayon.Model("mini", pot="much")
        with self.assertRaisesRegex(crayon.Mistake, "the prompt is empty"):
            model.ask("")

    def test_wrong_arguments_are_named(self) -> None:
        with self.assertRaisesRegex(TypeError, "unexpected keyword argument 'tokens'"):
            model.ask("What?", tokens=3)  # type: ignore[call-arg]
        with self.assertRaisesRegex(TypeError, "argument 'seed'"):
            model.ask("What?", seed="x")  # type: ignore[arg-type]
        with self.assertRaisesRegex(TypeError, "unexpected keyword argument 'system'"):
            model.session().ask("What?", system="x")  # type: ignore[call-arg]
        with self.assertRaisesRegex(crayon.Mistake, "unknown variant `robot`"):
            model.ask([{"role": "robot", "content": "What?"}])


class Streams(unittest.TestCase):
    def test_pieces_are_the_answer(self) -> None:
        stream = model.stream("What is a cat?")
        self.assertIsNone(stream.answer)
        pieces = list(stream)
        self.assertGreater(len(pieces), 5)
        self.assertEqual("".join(pieces), CAT)
        self.assertEqual(stream.answer and stream.answer.text, CAT)
        self.assertEqual(list(stream), [])

    def test_a_closed_stream_stops(self) -> None:
        with model.stream("What is a cat?") as stream:
            first = next(stream)
        self.assertTrue(CAT.startswith(first))
        self.assertEqual(list(stream), [])
        self.assertIsNone(stream.answer)

    def test_streams_take_turns(self) -> None:
        streams = [model.stream("What is a cat?"), model.stream("Why is the sky blue?")]
        texts = ["", ""]
        while any(stream.answer is None for stream in streams):
            for at, stream in enumerate(streams):
                texts[at] += next(stream, "")
        self.assertEqual(texts, [CAT, model.ask("Why is the sky blue?").text])


class Sessions(unittest.TestCase):
    def test_a_conversation_is_remembered(self) -> None:
        session = model.session(system="Be kind.")
        answer = session.ask("What is a cat?")
        read = session.tokens
        list(session.stream("And a dog?"))
        self.assertGreater(session.tokens, read)
        messages = session.messages
        self.assertEqual([message["role"] for message in messages], ["system", "user", "assistant", "user", "assistant"])
        self.assertEqual(messages[2]["content"], answer.text)
        self.assertEqual(model.ask(messages[:-1]).text, messages[-1]["content"])

    def test_a_text_is_read_once_and_asked_about_often(self) -> None:
        session = model.session(pot=256)
        session.feed(SECRET, about="What is the secret number?")
        read = session.tokens
        self.assertGreater(read, 3000)
        self.assertLessEqual(session.kept, 256)
        self.assertEqual(session.ask("What is the secret number?").text, "4812")
        session.ask("What did Anna see?")
        self.assertLess(session.tokens, read + 80)

    def test_what_is_fed_is_the_document_of_the_question(self) -> None:
        document = "The number of Anna is 340. The number of Tom is 512."
        session = model.session()
        session.feed(document)
        asked = session.ask("What is the number of Tom?")
        self.assertEqual(asked.text, model.ask("What is the number of Tom?", documents=document).text)
        self.assertIn(document, session.messages[0]["content"])

    def test_a_session_goes_on_from_its_file(self) -> None:
        session = model.session(pot=256)
        session.feed(SECRET)
        session.ask("What is the secret number?")
        with tempfile.TemporaryDirectory() as folder:
            session.save(Path(folder, "kept.pot"))
            resumed = model.resume(Path(folder, "kept.pot"))
            with self.assertRaises(crayon.Mistake):
                crayon.Model("mini-gpt2").resume(Path(folder, "kept.pot"))
        self.assertEqual((resumed.messages, resumed.tokens), (session.messages, session.tokens))
        self.assertEqual(resumed.ask("What did Anna see?").text, session.ask("What did Anna see?").text)

    def test_what_was_said_stays_said(self) -> None:
        session = model.session()
        with session.stream("What is a cat?") as stream:
            piece = next(stream)
        self.assertEqual(session.messages[-1], {"role": "assistant", "content": piece.strip()})
        left = session.stream("What is a dog?")
        self.assertEqual(session.ask("What is a cat?").text, session.messages[-1]["content"])
        self.assertEqual(len(session.messages), 4)
        with self.assertRaisesRegex(crayon.Mistake, "gone on without"):
            next(left)


class Customizing(unittest.TestCase):
    def test_examples_make_a_model(self) -> None:
        home = model.customize(EXAMPLES, effort="instant")
        self.assertEqual([one.name for one in home.tried], ["base", "blend", "nearest", "prompt"])
        by_name = {one.name: one for one in home.tried}
        self.assertGreater(by_name["blend"].right, by_name["base"].right)
        self.assertEqual((home.chosen, by_name["blend"].of), ("blend", 20))
        self.assertRegex(str(home), r"blend +17 of 20 +loss 0\.\d\d +\d+\.\d\d s  chosen")
        answer = home.ask("turn off the lamp in the living room")
        self.assertEqual((answer.text, answer.outside), ("smart home", False))
        self.assertEqual("".join(home.stream("turn off the lamp in the living room")), "smart home")
        sky = home.ask("Why is the sky blue?")
        self.assertEqual((sky.text, sky.outside), (model.ask("Why is the sky blue?").text, True))
        self.assertIsInstance(home, crayon.Model)

    def test_what_is_saved_is_loaded(self) -> None:
        home = model.customize(EXAMPLES, effort="instant")
        questions = ["turn off the lamp in the living room", "Why is the sky blue?", "buy two apples"]
        with tempfile.TemporaryDirectory() as folder:
            home.save(folder)
            self.assertTrue(Path(folder, "adapter_config.json").is_file())
            loaded, forced = model.load(folder), model.load(folder, force=True)
            with self.assertRaises(crayon.Mistake):
                crayon.Model("mini-gpt2").load(folder)
        for question in questions:
            self.assertEqual(loaded.ask(question).text, home.ask(question).text)
        self.assertFalse(forced.ask("Why is the sky blue?").outside)
        self.assertEqual((loaded.chosen, loaded.tried), (None, []))

    def test_examples_are_pairs_dicts_or_lines(self) -> None:
        pairs = [(f"say {word}", word) for word in ("one", "two", "three", "four")]
        dicts = [{"prompt": prompt, "answer": answer} for prompt, answer in pairs]
        one, other = (model.customize(given, effort="instant") for given in (pairs, dicts))
        figures = [[(tried.name, tried.right, tried.loss) for tried in found.tried] for found in (one, other)]
        self.assertEqual(figures[0], figures[1])
        self.assertTrue(figures[0])

    def test_an_adapter_is_trained(self) -> None:
        names = ["Tom", "Anna", "Ben", "Lily", "Max", "Sue", "Tim", "Mia"]
        trained = model.customize([(f"greet {name}", f"ahoy {name}") for name in names], effort="train", budget=300)
        self.assertEqual(trained.tried[-1].name, "trained")
        self.assertEqual(trained.chosen, "trained")
        self.assertEqual(trained.ask("greet Jack").text[:4], "ahoy")

    def test_mistakes_are_told(self) -> None:
        with self.assertRaisesRegex(crayon.Mistake, "known are instant, fit, train and auto"):
            model.customize(EXAMPLES, effort="much")  # type: ignore[arg-type]
        with self.assertRaisesRegex(crayon.Mistake, "example 2 has no prompt"):
            model.customize([("a", "b"), {"answer": "c"}])
        with self.assertRaisesRegex(crayon.Mistake, "no examples"):
            model.customize([])
        base = model.customize([("say a", "a")], effort="instant")
        self.assertEqual(base.chosen, "base")
        with self.assertRaisesRegex(crayon.Mistake, "nothing to save"):
            base.save("nowhere")
        self.assertTrue(any("too few" in note for note in base.notes), base.notes)


class Vectors(unittest.TestCase):
    @staticmethod
    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b))

    def test_texts_that_are_alike_lie_near(self) -> None:
        cat, mat, sums = model.embed(
            ["The cat sat on the mat.", "A cat was lying on the mat.", "12 + 30 = 42, 5 * 7 = 35"]
        )
        self.assertAlmostEqual(math.hypot(*cat), 1.0, places=5)
        self.assertGreater(self.cosine(cat, mat), self.cosine(cat, sums))
        self.assertEqual(model.embed("The cat sat on the mat."), cat)

    def test_words_find_pictures(self) -> None:
        clip = crayon.Clip("mini-clip")
        heart, star = PICTURES / "red-heart.png", PICTURES / "blue-star.png"
        picture, other = clip.embed_picture(heart), clip.embed_picture(star.read_bytes())
        text = clip.embed_text("a red heart")
        self.assertEqual(len(text), clip.dim)
        self.assertEqual(clip.embed_picture(heart.read_bytes()), picture)
        self.assertGreater(self.cosine(text, picture), self.cosine(text, other))
        self.assertNotEqual(clip.embed_text("a (red:0) heart"), text)
        with self.assertRaisesRegex(crayon.Mistake, "missing.png"):
            clip.embed_picture("missing.png")

    def test_a_folder_is_searched(self) -> None:
        clip = crayon.Clip()
        with tempfile.TemporaryDirectory() as folder:
            pictures = clip.index(PICTURES, Path(folder, "pictures.index"))
            self.assertEqual((len(pictures), pictures.broken), (48, []))
            hits = pictures.search("a red heart", count=2)
            self.assertEqual(hits[0].path.name, "red-heart.png")
            self.assertEqual(len(hits), 2)
            self.assertGreater(hits[0].score, hits[1].score)
            del pictures


class Company(unittest.TestCase):
    def test_others_run_while_it_works(self) -> None:
        counts = 0
        thread = threading.Thread(target=lambda: model.ask("What is this?", documents=SECRET * 3))
        thread.start()
        while thread.is_alive():
            time.sleep(0.001)
            counts += 1
        self.assertGreater(counts, 20)

    def test_threads_get_the_same_answers(self) -> None:
        answers: list[str] = []
        threads = [threading.Thread(target=lambda: answers.append(str(model.ask("What is a cat?")))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, [CAT] * 4)

    @unittest.skipIf(os.name == "nt", "a process cannot send itself Ctrl-C there")
    def test_ctrl_c_stops_it(self) -> None:
        pairs = [(f"say {word}", word) for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
        session = model.session(pot=256)
        for work in (
            lambda: model.ask("What is this?", documents=SECRET * 1000),
            lambda: session.feed(SECRET * 1000),
            lambda: model.customize(pairs * 20, effort="train"),
        ):
            timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            began = time.monotonic()
            with self.assertRaises(KeyboardInterrupt):
                work()
            self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(session.ask("What is a cat?").finish, "end")


class Package(unittest.TestCase):
    def test_the_version_is_the_workspaces(self) -> None:
        manifest = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
        self.assertEqual(re.findall(r'^version = "(.*)"$', manifest, re.MULTILINE), [crayon.__version__])

