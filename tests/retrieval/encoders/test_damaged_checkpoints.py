"""A checkpoint that is not whole is refused when it is loaded, by folder, file and names, whatever its family."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="extra encoders is not installed")
pytest.importorskip("sentence_transformers", reason="extra encoders is not installed")

import sparse_checkpoints as tiny  # noqa: E402
from plait.index.errors import FailedPrecondition, InvalidArgument  # noqa: E402
from plait.retrieval.encoders.encoder import EncoderOptions  # noqa: E402
from plait.retrieval.encoders.load import load_encoder  # noqa: E402
from plait.retrieval.models.folder import fingerprint  # noqa: E402
from plait.retrieval.sparse.load import load_sparse_encoder  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from transformers import T5Config, T5EncoderModel  # noqa: E402

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 437955512\n"


Make = Callable[[Path], None]


def dense(folder: Path, width: int = 16) -> None:
    identity = "torch.nn.modules.linear.Identity"
    sizes = {"in_features": 32, "out_features": width, "bias": False, "activation_function": identity}
    tiny.write(folder / "config.json", sizes)
    save_file({"linear.weight": tiny.random(3, width, 32)}, folder / "model.safetensors")


def plain(folder: Path) -> None:
    tiny.save(folder, tiny.plain().state_dict(), ["BertModel"])


def stanford(folder: Path) -> None:
    weights = {**tiny.under("bert.", tiny.plain()), "linear.weight": tiny.random(2, 16, 32)}
    tiny.save(folder, weights, ["HF_ColBERT"])
    marks = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_maxlen": 32, "doc_maxlen": 24}
    tiny.write(folder / "artifact.metadata", {**marks, "mask_punctuation": True, "attend_to_mask_tokens": False})


def pylate(folder: Path) -> None:
    plain(folder)
    tiny.write(folder / "sentence_bert_config.json", {"max_seq_length": 60, "do_lower_case": False})
    said = {"model_type": "ColBERT", "query_prefix": "[unused0]", "document_prefix": "[unused1]", "query_length": 12}
    more = {"document_length": 20, "do_query_expansion": False, "attend_to_expansion_tokens": False, "prompts": {}}
    names = {"skiplist_words": [], "default_prompt_name": None, "similarity_fn_name": "MaxSim"}
    tiny.write(folder / "config_sentence_transformers.json", {**said, **more, **names})
    modules = [("", "sentence_transformers.models.Transformer"), ("1_Dense", "pylate.models.Dense.Dense")]
    tiny.write(
        folder / "modules.json", [{"idx": i, "name": str(i), "path": p, "type": t} for i, (p, t) in enumerate(modules)]
    )
    dense(folder / "1_Dense")


def xtr(folder: Path) -> None:
    tiny.tokenizer(folder)
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    T5EncoderModel(T5Config(vocab_size=tiny.KEYS, **sizes)).eval().save_pretrained(folder)
    dense(folder / "2_Dense")


def coil(folder: Path) -> None:
    tiny.save(folder, tiny.under("bert.", tiny.plain()), ["BertForMaskedLM"])
    torch.save({"tok_proj.weight": tiny.random(1, 8, 32), "tok_proj.bias": torch.zeros(8)}, folder / "model.pt")


def splade(folder: Path) -> None:
    tiny.save_masked(folder, tiny.masked())


def unicoil(folder: Path) -> None:
    weights = {**tiny.under("coil_encoder.bert.", tiny.plain()), "tok_proj.weight": tiny.random(1, 1, 32)}
    tiny.save(folder, weights, ["UniCoilEncoder"])


def svdr(folder: Path) -> None:
    norm = {"encoder_p.ln.weight": torch.ones(32), "encoder_p.ln.bias": torch.zeros(32)}
    sizes = {**tiny.SIZES, "shift_vocab_num": 5, "model_type": "bert"}
    tiny.save(folder, {**tiny.under("encoder_p.bert_model.", tiny.plain()), **norm}, [], encoder_p=sizes)


def modules(folder: Path) -> None:
    """sentence-transformers' sparse layout."""
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    splade(folder / "base")
    first = Transformer(str(folder / "base"), transformer_task="fill-mask")
    SparseEncoder(modules=[first, SpladePooling()], device="cpu").save(str(folder / "st"), create_model_card=False)
    for file in (folder / "st").iterdir():
        file.rename(folder / file.name)
    for file in (folder / "base").iterdir():
        file.unlink()
    (folder / "base").rmdir()


def load_dense(folder: Path) -> Any:
    return load_encoder(str(folder), EncoderOptions(), threads=1)


def load_sparse(folder: Path) -> Any:
    return load_sparse_encoder(str(folder), threads=1)


FAMILIES: dict[Make, Callable[[Path], Any]] = {make: load_dense for make in (plain, stanford, pylate, xtr, coil)}
FAMILIES.update({make: load_sparse for make in (splade, unicoil, svdr, modules)})
every_family = pytest.mark.parametrize("make", FAMILIES, ids=lambda make: make.__name__)


def rename(folder: Path, new: Callable[[str], str | None], **more: Any) -> None:
    """The weights under other keys; those that become None are left out."""
    file = folder / "model.safetensors"
    kept = {key: value for old, value in load_file(file).items() if (key := new(old))}
    save_file({**kept, **more}, file, {"format": "pt"})


def refused(make: Make, folder: Path, *words: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        FAMILIES[make](folder)
    for word in (str(folder), *words):
        assert word in str(error.value)


@every_family
def test_a_whole_checkpoint_loads(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    FAMILIES[make](tmp_path).encode_documents(["venus"])


@every_family
def test_a_missing_layer_is_named(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    rename(tmp_path, lambda key: None if ".1." in key else key)
    refused(make, tmp_path, ".1.", "lacks")


@every_family
@pytest.mark.parametrize(("prefix", "by"), [("_orig_mod.", "torch.compile"), ("module.", "DistributedDataParallel")])
def test_prefixes_of_wrapped_models_are_named(tmp_path: Path, make: Make, prefix: str, by: str) -> None:
    make(tmp_path)
    rename(tmp_path, lambda key: prefix + key)
    refused(make, tmp_path, prefix, by)


@every_family
def test_a_layer_more_than_the_configuration_has_is_named(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    file = tmp_path / "model.safetensors"
    more = {key.replace(".1.", ".2.", 1): value for key, value in load_file(file).items() if ".1." in key}
    rename(tmp_path, lambda key: key, **more)
    refused(make, tmp_path, ".2.", "configuration")


@every_family
def test_weights_that_are_no_numbers_are_named(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    key = next(key for key in sorted(weights) if ".1." in key and weights[key].ndim == 2)
    weights[key][0, 0] = torch.nan
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    refused(make, tmp_path, "NaN", key.removeprefix("bert."))


@every_family
def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    for file in [*tmp_path.glob("tokenizer*"), *tmp_path.glob("special*"), *tmp_path.glob("vocab*")]:
        file.unlink()
    refused(make, tmp_path, "tokenizer.json", "vocab.txt")


@every_family
def test_ids_beyond_the_embeddings_are_refused(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    file = tmp_path / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["vocab"]["far"] = tiny.KEYS + 4
    file.write_text(json.dumps(content))
    refused(make, tmp_path, str(tiny.KEYS + 4), "tokenizer")


@every_family
def test_pointers_and_cut_files_are_named(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    for file in (tmp_path / "model.safetensors", tmp_path / "tokenizer.json"):
        whole = file.read_bytes()
        file.write_text(POINTER)
        refused(make, tmp_path, file.name, "git lfs pull")
        file.write_bytes(whole)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    for size in (0, 5, 1000, len(whole) - 1):
        file.write_bytes(whole[:size])
        refused(make, tmp_path, file.name, "cut off")


@every_family
def test_own_code_is_neither_run_nor_replaced(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    tiny.write(tmp_path / "config.json", {**config, "auto_map": {"AutoModel": "owner/code--modeling.OwnBert"}})
    refused(make, tmp_path, "config.json", "modeling.OwnBert")


@every_family
def test_half_of_the_shards_is_named(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    (tmp_path / "model.safetensors").rename(tmp_path / shards[0])
    tiny.write(tmp_path / "model.safetensors.index.json", {"weight_map": dict(zip("ab", shards, strict=True))})
    refused(make, tmp_path, shards[1])


@pytest.mark.parametrize(("make", "part"), [(pylate, "1_Dense"), (xtr, "2_Dense")])
@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_projection_is_named(tmp_path: Path, make: Make, part: str, file: str) -> None:
    make(tmp_path)
    (tmp_path / part / file).unlink()
    refused(make, tmp_path, f"{part}/{file}")


def test_a_colbert_without_its_projection_is_refused(tmp_path: Path) -> None:
    stanford(tmp_path)
    rename(tmp_path, lambda key: None if key == "linear.weight" else key)
    refused(stanford, tmp_path, "linear.weight")


def test_a_projection_that_is_no_number_is_refused(tmp_path: Path) -> None:
    coil(tmp_path)
    torch.save({"tok_proj.weight": torch.full((8, 32), torch.nan)}, tmp_path / "model.pt")
    refused(coil, tmp_path, "tok_proj.weight", "NaN")


def test_an_adapter_without_its_model_is_refused(tmp_path: Path) -> None:
    plain(tmp_path)
    tiny.write(tmp_path / "adapter_config.json", {"base_model_name_or_path": "somewhere/else"})
    refused(plain, tmp_path, "adapter_config.json")


def test_the_fingerprint_covers_what_is_loaded_beside_other_tensors(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    (tmp_path / "other.safetensors").write_bytes(b"not a model")
    first = fingerprint(tmp_path, EncoderOptions())
    (tmp_path / "pytorch_model.bin").write_bytes(b"changed")
    assert fingerprint(tmp_path, EncoderOptions()) != first


@pytest.mark.parametrize("make", [pylate, splade, modules, coil], ids=lambda make: make.__name__)
def test_a_forked_child_is_refused_and_does_not_hang(tmp_path: Path, make: Make) -> None:
    make(tmp_path)
    encoder = FAMILIES[make](tmp_path)
    encoder.encode_documents(["venus"])
    for act in (lambda: encoder.encode_documents(["venus"]), lambda: FAMILIES[make](tmp_path)):
        if (child := os.fork()) == 0:
            signal.alarm(120)
            try:
                act()
                os._exit(1)
            except FailedPrecondition as error:
                os._exit(0 if "spawn" in str(error) and "forked" in str(error) else 2)
            except BaseException:
                os._exit(3)
        assert os.waitpid(child, 0)[1] == 0
