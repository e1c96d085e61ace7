"""A model without a chat template, asked about ten small documents in every frame, greedily.

    python3 scripts/eval/frame.py --model gemma-3-270m.gguf [--binary target/release/crayon] [--show] > docs/results/frame.md.new

Prints the tables of docs/results/frame.md. An answer is right when its first line holds what the document says, and clean when it is
that line alone and came to an end by itself.
"""

import argparse
import re
import tempfile
from pathlib import Path

from program import crayon, table

FRAMES = ["plain", "qa", "dialogue", "alpaca"]
TOKENS = 32

# Two lines, a question, and what the answer has to hold.
DOCUMENTS = [
    ("The library in Molde opens at nine and closes at six on weekdays.\nOn Saturdays it is open from ten to two.",
     "When does the library open on Saturdays?", r"\bten\b|\b10\b"),
    ("Mira bought a red bicycle from her neighbour Tomas.\nShe paid him forty crowns for it.",
     "From whom did Mira buy the bicycle?", r"\bTomas\b"),
    ("The ferry to Hitra leaves from pier four.\nTickets are sold on board and cost twelve crowns.",
     "From which pier does the ferry leave?", r"\bfour\b|\b4\b"),
    ("Ingrid keeps bees behind the old mill.\nLast year they gave her thirty jars of honey.",
     "What does Ingrid keep behind the mill?", r"\bbees\b"),
    ("The printer on the second floor is out of order.\nUntil Thursday everybody uses the one beside the kitchen.",
     "On which floor is the broken printer?", r"\bsecond\b"),
    ("Our meeting with the architect was moved from Monday to Wednesday.\nIt takes place in her office on Canal Street.",
     "On which day is the meeting now?", r"\bWednesday\b"),
    ("The dog that was found in the park is called Bruno.\nHis owner lives in Lindau and is on the way.",
     "What is the dog called?", r"\bBruno\b"),
    ("Professor Adeyemi will speak about coral reefs tonight.\nThe talk begins at eight in the green hall.",
     "What will Professor Adeyemi speak about?", r"\bcoral\b"),
    ("The soup needs two onions, a carrot and a litre of water.\nLet it boil for twenty minutes.",
     "How long does the soup boil?", r"\btwenty\b|\b20\b"),
    ("Karl lost his passport in Lisbon.\nThe embassy sent him a new one after five days.",
     "Where did Karl lose his passport?", r"\bLisbon\b"),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--binary", default="target/release/crayon")
    parser.add_argument("--show", action="store_true", help="the answers of every frame, too")
    args = parser.parse_args()
    rows, answers = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for frame in FRAMES:
            right = clean = generated = 0
            for number, (document, question, expected) in enumerate(DOCUMENTS):
                path = Path(folder) / f"{number}.txt"
                path.write_text(document, encoding="utf-8")
                told = crayon(args.binary, "ask", "-m", args.model, "--frame", frame, "-c", path, "--temperature", 0,
                              "--max-tokens", TOKENS, question)
                lines = told["text"].strip().splitlines() or [""]
                good = re.search(expected, lines[0], re.IGNORECASE) is not None
                right += good
                clean += good and len(lines) == 1 and told["finish"] == "end"
                generated += told["tokens"]["generated"]
                answers[frame, number] = told["text"]
            rows.append([frame, f"{right} of {len(DOCUMENTS)}", str(clean), f"{generated / len(DOCUMENTS):.0f}"])
    print(table(["frame", "right", "of these clean", "tokens written, mean"], rows))
    if args.show:
        for number, (_, question, _) in enumerate(DOCUMENTS):
            cells = [[frame, repr(answers[frame, number])] for frame in FRAMES]
            print(f"\n{question}\n\n{table(['frame', 'answer'], cells)}")


if __name__ == "__main__":
    main()
