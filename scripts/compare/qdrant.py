#!/usr/bin/env python3
"""Checks `--index qdrant://…` of the program: what it sends and asks, what comes back, and that searches find what they find in a local index.

    cargo build --release --features qdrant
    .venv/bin/python scripts/compare/qdrant.py

Needs qdrant-client and qdrant-edge-py. The server here is made of two parts of Qdrant's own: the protocol as its Python client has it generated,
and its engine (qdrant-edge-py: segments, payload indexes, filters). What lies between them is this file, so this is not a whole Qdrant server;
`--server HOST:PORT` runs the same checks against one. Besides, the server here refuses calls without its key, messages that would be too large
for a real one, and fields that it does not know how to answer.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent import futures
from pathlib import Path

import grpc
import qdrant_edge as edge
from google.protobuf.json_format import MessageToDict
from qdrant_client import grpc as messages
from qdrant_client.conversions.conversion import json_to_value, value_to_json
from qdrant_client.grpc import collections_service_pb2_grpc as collections_grpc
from qdrant_client.grpc import points_service_pb2_grpc as points_grpc

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/crayon"
FIXTURES = ROOT / "crates/vision/tests/fixtures"
KEY = "a key for tests"
# What a real server takes at most by default (its max_request_size_mb, 32).
LARGEST = 32 << 20


class Collections(collections_grpc.CollectionsServicer):
    def __init__(self, folder):
        self.folder, self.shards, self.configs, self.calls = folder, {}, {}, []

    def called(self, context, request, name):
        self.calls.append((name, MessageToDict(request)))
        keys = {key: value for key, value in context.invocation_metadata()}
        if keys.get("api-key") != KEY:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")

    def shard(self, name, context):
        if name not in self.shards:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")
        return self.shards[name]

    def Get(self, request, context):
        self.called(context, request, "collections.Get")
        self.shard(request.collection_name, context)
        create = self.configs[request.collection_name]
        config = messages.CollectionConfig(metadata=create.metadata, params=messages.CollectionParams(vectors_config=create.vectors_config))
        return messages.GetCollectionInfoResponse(result=messages.CollectionInfo(config=config))

    def Create(self, request, context):
        self.called(context, request, "collections.Create")
        params = request.vectors_config.params
        assert params.distance == messages.Distance.Cosine
        vectors = edge.EdgeVectorParams(size=params.size, distance=edge.Distance.Cosine)
        path = self.folder / request.collection_name
        path.mkdir()
        self.shards[request.collection_name] = edge.EdgeShard.create(str(path), edge.EdgeConfig(vectors={"": vectors}))
        self.configs[request.collection_name] = request
        return messages.CollectionOperationResponse(result=True)

    def Update(self, request, context):
        self.called(context, request, "collections.Update")
        self.shard(request.collection_name, context)
        for name, value in request.metadata.items():
            self.configs[request.collection_name].metadata[name].CopyFrom(value)
        return messages.CollectionOperationResponse(result=True)


class Points(points_grpc.PointsServicer):
    def __init__(self, collections):
        self.collections = collections

    def begin(self, request, context, name):
        self.collections.called(context, request, name)
        return self.collections.shard(request.collection_name, context)

    def CreateFieldIndex(self, request, context):
        shard = self.begin(request, context, "points.CreateFieldIndex")
        kinds = {messages.FieldType.FieldTypeKeyword: "Keyword", messages.FieldType.FieldTypeInteger: "Integer"}
        schema = getattr(edge.PayloadSchemaType, kinds[request.field_type])
        shard.update(edge.UpdateOperation.create_field_index(request.field_name, schema))
        return messages.PointsOperationResponse()

    def Upsert(self, request, context):
        shard = self.begin(request, context, "points.Upsert")
        points = []
        for point in request.points:
            vector = point.vectors.vector
            numbers = list(vector.dense.data) or list(vector.data)
            points.append(edge.Point(point.id.uuid, numbers, {key: value_to_json(value) for key, value in point.payload.items()}))
        shard.update(edge.UpdateOperation.upsert_points(points))
        return messages.PointsOperationResponse()

    def Delete(self, request, context):
        shard = self.begin(request, context, "points.Delete")
        shard.update(edge.UpdateOperation.delete_points([id.uuid for id in request.points.points.ids]))
        return messages.PointsOperationResponse()

    def Scroll(self, request, context):
        shard = self.begin(request, context, "points.Scroll")
        offset = request.offset.uuid if request.HasField("offset") else None
        found, after = shard.scroll(edge.ScrollRequest(
            offset=offset, limit=request.limit, filter=conditions(request.filter),
            with_payload=request.with_payload.enable or bool(request.with_payload.include.fields),
            with_vector=request.with_vectors.enable))
        wanted = set(request.with_payload.include.fields)
        answer = messages.ScrollResponse()
        for one in found:
            point = answer.result.add()
            fill(point, one, wanted)
        if after is not None:
            answer.next_page_offset.uuid = str(after)
        return answer

    def Query(self, request, context):
        shard = self.begin(request, context, "points.Query")
        vector = list(request.query.nearest.dense.data)
        found = shard.query(edge.QueryRequest(
            limit=request.limit, query=edge.Query.Nearest(vector), filter=conditions(request.filter),
            with_vector=request.with_vectors.enable, with_payload=request.with_payload.enable))
        answer = messages.QueryResponse()
        for one in found:
            point = answer.result.add()
            fill(point, one, set())
            point.score = one.score
        return answer

    def Count(self, request, context):
        shard = self.begin(request, context, "points.Count")
        count = shard.count(edge.CountRequest(exact=request.exact, filter=conditions(request.filter)))
        return messages.CountResponse(result=messages.CountResult(count=count))


def fill(point, one, wanted):
    point.id.uuid = str(one.id)
    payload = {key: value for key, value in (one.payload or {}).items() if not wanted or key in wanted}
    for key, value in payload.items():
        point.payload[key].CopyFrom(json_to_value(value))
    if one.vector is not None:
        vector = one.vector[""] if isinstance(one.vector, dict) else one.vector
        point.vectors.vector.dense.data.extend(vector)


def conditions(filter):
    """The filters that the program sends, for the engine; anything else is an error."""
    assert not filter.must_not
    both = [[condition(one) for one in some] for some in (filter.must, filter.should)]
    return edge.Filter(must=both[0] or None, should=both[1] or None) if any(both) else None


def condition(one):
    kind = one.WhichOneof("condition_one_of")
    if kind == "filter":
        return conditions(one.filter)
    assert kind == "field", kind
    field = one.field
    if field.HasField("match"):
        return edge.FieldCondition(field.key, match=edge.MatchValue(field.match.keyword))
    limits = {name: getattr(field.range, name) for name in ("gte", "lt") if field.range.HasField(name)}
    return edge.FieldCondition(field.key, range=edge.RangeFloat(**limits))


class Check:
    def __init__(self, place, address, key):
        self.place, self.address, self.done = place, address, 0
        self.environment = {**os.environ, "CRAYON_HOME": str(place / "home"), "CRAYON_OFFLINE": "0", "QDRANT_API_KEY": key}

    def run(self, *arguments, **environment):
        command = [PROGRAM, *map(str, arguments)]
        return subprocess.run(command, cwd=self.place, env={**self.environment, **environment}, capture_output=True, text=True)

    def json(self, *arguments):
        run = self.run(*arguments, "--json")
        assert run.returncode == 0, f"{arguments}: {run.stderr}"
        return json.loads(run.stdout)

    def refused(self, words, *arguments, **environment):
        run = self.run(*arguments, **environment)
        assert run.returncode == 2 and words in run.stderr and "hint:" in run.stderr, f"{arguments}: {run.returncode} {run.stderr}"
        self.done += 1

    def same(self, what, found, wanted):
        assert found == wanted, f"{what}: {found} is not {wanted}"
        self.done += 1


def results(found):
    """What was found, with scores as a server and a file agree on them: one keeps vectors in single precision, the other in half."""
    return [(Path(one["path"]).name, Score(one["score"]), one["keyword"], len(one["duplicates"])) for one in found["results"]]


class Score(float):
    def __eq__(self, other):
        return abs(float(self) - float(other)) < 2e-3


def checks(check, calls):
    place, model = check.place, FIXTURES / "clip"
    pictures = place / "pictures"
    (pictures / "sub").mkdir(parents=True)
    for name in ["colour.jpg", "alpha.png", "rgb.bmp", "frames.gif", "turned.jpg", "gray16.tiff", "alpha.webp", "cmyk.jpg"]:
        shutil.copy(FIXTURES / "pictures" / name, pictures / name)
    shutil.copy(pictures / "colour.jpg", pictures / "sub/copy.jpg")
    for at, name in enumerate(sorted(pictures.glob("*.*"))):
        os.utime(name, (1_600_000_000 + at * 30_000_000,) * 2)
    index = ("images", "index", "pictures", "-o", "index", "--index", check.address)
    check.refused("CRAYON_OFFLINE forbids the network", *index, "-m", model, CRAYON_OFFLINE="1")
    check.refused("refuses", *index, "-m", model, QDRANT_API_KEY="another")
    report = check.json(*index, "-m", model)
    check.same("first", report["remote"], {"sent": report["pictures"], "unchanged": 0, "gone": 0})
    report = check.json(*index)
    check.same("again", report["remote"], {"sent": 0, "unchanged": report["pictures"], "gone": 0})

    remote = ("images", "search", "--index", check.address, "-m", model)
    local = ("images", "search", "index")
    for words in [
        ("heart", "--all"), ("a (red:3) heart", "--all"), ("a (red:0.2) heart", "--all"), ("a red heart", "--weight", "red=2", "--all"),
        ("heart", "--min-score", "0.05"), ("heart",), ("heart", "-k", "2", "--all"), ("heart -dog", "--all"), ("heart -(a dog:2)", "--all"),
        ("--like", "pictures/rgb.bmp", "--all"), ("heart", "--like", "pictures/rgb.bmp", "--all"), ("heart", "--all", "--duplicates"),
        ("heart", "--all", "--after", "2021"), ("heart", "--all", "--before", "2022-07"), ("heart", "--all", "--after", "2021", "--before", "2023-01-01"),
        ("heart", "--all", "--folder", "pictures/sub"), ("heart", "--all", "--keyword", "nothing"),
    ]:
        there, here = check.json(*remote, *words), check.json(*local, *words)
        check.same(words, results(there), results(here))
        check.same(words, there["considered"], here["considered"])

    # What moves, changes and goes away here does so there.
    (pictures / "rgb.bmp").rename(pictures / "sub/moved.bmp")
    (pictures / "frames.gif").unlink()
    report = check.json(*index)
    check.same("after a change", (report["remote"]["sent"], report["remote"]["gone"]), (1, 1))
    check.same("moved", results(check.json(*remote, "heart", "--all")), results(check.json(*local, "heart", "--all")))
    # Another index fills its own part of the same collection.
    (place / "other").mkdir()
    shutil.copy(FIXTURES / "pictures/gray.jpg", place / "other/gray.jpg")
    before = len(check.json(*remote, "heart", "--all", "-k", "50")["results"])
    check.json("images", "index", "other", "-o", "other.index", "-m", model, "--index", check.address)
    check.same("both", len(check.json(*remote, "heart", "--all", "-k", "50", "--duplicates")["results"]) > before, True)
    check.same("the first again", check.json(*index)["remote"]["gone"], 0)

    check.refused("was made with", *remote[:-1], FIXTURES / "clip-gelu", "heart")
    check.refused("was made with", "images", "index", "other", "-o", "third.index", "-m", FIXTURES / "clip-gelu", "--index", check.address)
    check.refused("no such collection", "images", "search", "--index", check.address + "-2", "-m", model, "heart")
    check.refused("never closed", *remote, "a (heart")
    check.refused("the model has room for", *remote, "heart " * 100)
    check.refused("CRAYON_OFFLINE forbids the network", *remote, "heart", CRAYON_OFFLINE="1")
    check.refused("qdrants://", "images", "search", "--index", "qdrant://192.0.2.1/x", "-m", model, "heart")
    check.refused("does not begin with", "images", "search", "--index", "http://localhost", "-m", model, "heart")
    check.refused("127.0.0.1:1", "images", "search", "--index", "qdrant://127.0.0.1:1/x", "-m", model, "heart")
    if calls is not None:
        fields = {call["fieldName"]: call["fieldType"] for name, call in calls if name == "points.CreateFieldIndex"}
        check.same("fields", sorted(fields), ["folders", "keywords", "seconds", "source", "words"])
        created = next(call for name, call in calls if name == "collections.Create")
        check.same("notes", sorted(created["metadata"]), ["crayon", "fingerprint", "model"])
        sent = next(call for name, call in calls if name == "points.Upsert")["points"][0]["payload"]
        check.same("payload", sorted(sent), ["changed", "date", "details", "folders", "keywords", "paths", "seconds", "source", "state", "words"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", help="a Qdrant server's HOST:PORT for gRPC; its key in QDRANT_API_KEY")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        if arguments.server:
            check, calls = Check(place, f"qdrant://{arguments.server}/crayon-test", os.environ.get("QDRANT_API_KEY", "")), None
        else:
            (place / "shards").mkdir()
            collections = Collections(place / "shards")
            server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.max_receive_message_length", LARGEST)])
            collections_grpc.add_CollectionsServicer_to_server(collections, server)
            points_grpc.add_PointsServicer_to_server(Points(collections), server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            check, calls = Check(place, f"qdrant://127.0.0.1:{port}/crayon-test", KEY), collections.calls
        checks(check, calls)
        print(f"{check.done} checks passed, 0 failed")
        if not arguments.server:
            server.stop(None)


if __name__ == "__main__":
    sys.exit(main())
