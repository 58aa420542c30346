"""An index as ColBERTv2 writes it, under its file and key names, becomes a collection with its scores."""

import itertools
import json
from pathlib import Path

import numpy as np
import oracle
import pytest

pytest.importorskip("torch")

import torch
from plait.index.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from plait.index.tokens import from_matrices
from plait.retrieval.offline.colbert_index import import_colbert
from plait.service.cli.main import app
from typer.testing import CliRunner

DIM, CENTROIDS = 16, 12
LENGTHS = [[3, 0, 7, 1], [4, 9, 2]]


def written(folder: Path, bits: int, plan: str = "metadata.json") -> tuple[np.ndarray, list[int]]:
    """Writes an index of two chunks; returns what its vectors stand for, and the documents' lengths."""
    folder.mkdir()
    rng = np.random.default_rng(bits)
    config = {"dim": DIM, "nbits": bits, "checkpoint": "somewhere/colbertv2.0", "doc_maxlen": 220}
    (folder / plan).write_text(json.dumps({"config": config, "num_chunks": 2, "num_partitions": CENTROIDS}))
    centroids = torch.nn.functional.normalize(torch.tensor(rng.standard_normal((CENTROIDS, DIM))), dim=-1).half()
    weights = torch.tensor(np.sort(rng.standard_normal(2**bits)) / 8, dtype=torch.float32)
    cutoffs = (weights[1:] + weights[:-1]) / 2
    torch.save(centroids, folder / "centroids.pt")
    torch.save(torch.tensor([0.03]), folder / "avg_residual.pt")
    torch.save((cutoffs, weights), folder / "buckets.pt")
    stand_for = []
    for chunk, lengths in enumerate(LENGTHS):
        codes = torch.tensor(rng.integers(0, CENTROIDS, sum(lengths)), dtype=torch.int32)
        buckets = torch.tensor(rng.integers(0, 2**bits, (sum(lengths), DIM)), dtype=torch.uint8)
        # ColBERT's binarize: a bucket's bits from the lowest, all of a row one after the other, packed from the
        # highest.
        stream = (buckets.unsqueeze(-1) >> torch.arange(bits, dtype=torch.uint8)) & 1
        torch.save(codes, folder / f"{chunk}.codes.pt")
        torch.save(
            torch.tensor(np.packbits(stream.reshape(len(codes), -1).numpy(), axis=1)), folder / f"{chunk}.residuals.pt"
        )
        (folder / f"doclens.{chunk}.json").write_text(json.dumps(lengths))
        (folder / f"{chunk}.metadata.json").write_text(json.dumps({"num_passages": len(lengths)}))
        sums = centroids[codes.long()].float() + weights[buckets.long()]
        stand_for.append(torch.nn.functional.normalize(sums, p=2, dim=-1).numpy())
    return np.concatenate(stand_for), [n for lengths in LENGTHS for n in lengths]


def texts(path: Path, count: int) -> str:
    path.write_text("".join(f"{pid}\tpassage {pid}\n" for pid in range(count)))
    return str(path)


@pytest.mark.parametrize(("bits", "plan"), [(1, "metadata.json"), (2, "plan.json"), (4, "metadata.json")])
@pytest.mark.parametrize("store", ["exact", "flat:8"])
def test_scores_are_colberts_own(tmp_path: Path, bits: int, plan: str, store: str) -> None:
    vectors, lengths = written(tmp_path / "index", bits, plan)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    query = np.random.default_rng(9).standard_normal((5, DIM)).astype(np.float32)
    with import_colbert(
        tmp_path / "index", tmp_path / "c", texts=texts(tmp_path / "collection.tsv", len(lengths)), store=store
    ) as index:
        (hits,) = index.search(from_matrices([query]), k=10)
        wanted = {
            str(d): float(oracle.maxsim(query, vectors[a:b]))
            for d, (a, b) in enumerate(itertools.pairwise(offsets))
            if a < b
        }
        assert [h.id for h in hits] == sorted(wanted, key=lambda d: -wanted[d])
        for hit in hits:
            assert abs(hit.score - wanted[hit.id]) < 1e-5
            assert hit.payload == {"text": f"passage {hit.id}"}
            assert abs(hit.explain().score - wanted[hit.id]) < 1e-5
        assert index.collection.schema.precision == f"residual:{bits}"
        with index.collection.snapshot() as snapshot:
            got = snapshot.tokens(snapshot.view.by_id("2").number).vectors
        np.testing.assert_allclose(got, vectors[offsets[2] : offsets[3]], atol=1e-6)


def test_the_command(tmp_path: Path) -> None:
    _, lengths = written(tmp_path / "index", 2)
    done = CliRunner().invoke(app, ["import-colbert", str(tmp_path / "index"), str(tmp_path / "c"), "--json", "-q"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["documents"], said["tokens"], said["precision"]) == (len(lengths), sum(lengths), "residual:2")


def test_what_is_no_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"has no metadata.json and no plan.json"):
        import_colbert(tmp_path, tmp_path / "c")
    written(tmp_path / "index", 2)
    for number, count in enumerate((5, 9)):
        with pytest.raises(FailedPrecondition, match=r"the index has '5'|has '7', the index ends at 6"):
            import_colbert(tmp_path / "index", tmp_path / f"t{number}", texts=texts(tmp_path / "t.tsv", count))
    for name, content, error in (
        ("1.codes.pt", torch.full((15,), CENTROIDS, dtype=torch.int32), "centroid beyond the 12"),
        ("1.codes.pt", torch.zeros(14, dtype=torch.int32), "chunk 1 has codes"),
        ("1.residuals.pt", torch.zeros((15, 3), dtype=torch.uint8), "chunk 1 has codes"),
        ("1.codes.pt", {"not": "a tensor"}, "plain tensors"),
        ("centroids.pt", torch.zeros(3, 4), "do not fit 16 dimensions of 2 bits"),
        ("buckets.pt", (torch.zeros(3),), "plain tensors"),
    ):
        kept = (tmp_path / "index" / name).read_bytes()
        torch.save(content, tmp_path / "index" / name)
        with pytest.raises(DataLoss, match=error):
            import_colbert(tmp_path / "index", tmp_path / f"d{error[:9]}{name}{len(kept)}")
        (tmp_path / "index" / name).write_bytes(kept)
    (tmp_path / "index" / "doclens.0.json").unlink()
    with pytest.raises(DataLoss, match="holds no lengths"):
        import_colbert(tmp_path / "index", tmp_path / "l")
    plan = tmp_path / "index" / "metadata.json"
    plan.write_text(plan.read_text().replace('"nbits": 2', '"nbits": 3'))
    with pytest.raises(InvalidArgument, match="nbits is 3"):
        import_colbert(tmp_path / "index", tmp_path / "n")
