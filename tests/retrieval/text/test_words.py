"""Words as people of many scripts write them: what is searched is found, however it was typed."""

from __future__ import annotations

import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import plait

pytest.importorskip("bm25s", reason="the extra `lexical` is not installed")
from plait.retrieval.sparse.analyzer import LANGUAGES, VERSION, Analyzer, version_of, words
from plait.retrieval.sparse.words import spelled, words_of


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_cut_as_before(text: str) -> None:
    assert words([text], version=1) == words([text])


@given(st.text(st.sampled_from("aé 北京ーカはกเ็ा्हि서울1_-.\u200c\u00ad\u0301"), max_size=12))
def test_words_do_not_depend_on_how_they_are_composed(text: str) -> None:
    cut = words_of(text, "english")
    assert cut == words_of(unicodedata.normalize("NFD", text), "english") == words_of(text.upper().lower(), "english")
    assert all(len(word) > 1 or len(spelled(word)) == 1 for word in cut) and not any(" " in word for word in cut)
    # What stands between two spaces is cut by itself.
    assert words_of(f"{text} moon", "english") == [*cut, "moon"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("北京是中国的首都", ["北京", "京是", "是中", "中国", "国的", "的首", "首都"]),
        ("東京タワー", ["東京", "京タ", "タワ", "ワー"]),
        ("ﾀﾜｰ", ["タワ", "ワー"]),
        ("買iPhone15手机", ["買", "iphone15", "手机"]),
        ("水 と 火", ["水", "と", "火"]),
        ("𠮷野家", ["𠮷野", "野家"]),
        ("서울은", ["서울", "울은"]),
        ("กรุงเทพ", ["กรุ", "รุง", "งเ", "เท", "ทพ"]),
        ("ພາສາ", ["ພາ", "າສ", "ສາ"]),
        ("ភាសា", ["ភាសា"]),
        ("မြန်မာ", ["မြန်", "န်မာ"]),
        ("दिल्ली है", ["दिल्ली", "है"]),
        ("தமிழ் மொழி", ["தமிழ்", "மொழி"]),
        ("co\u00adoperate", ["cooperate"]),
        ("co\u2060operate \ufeffend", ["cooperate", "end"]),
        ("ﬁne ＡＢＣ x²", ["fine", "abc", "x2"]),
        ("zero\u200bwidth", ["zero", "width"]),
        ("می\u200cخواهم", ["می", "خواهم"]),
        ("क\u200dष क\u200cष", ["कष", "कष"]),
        ("كِتَاب كـتاب", ["كتاب", "كتاب"]),
        ("İstanbul", ["istanbul"]),
        ("don't go_on a 3D x", ["don", "go_on", "3d"]),
    ],
)
def test_scripts_are_cut_as_they_are_written(text: str, expected: list[str]) -> None:
    assert words_of(text, "english") == expected


def test_turkish_has_its_own_capitals() -> None:
    assert words_of("İSTANBUL IŞIK Isparta ISPARTA", "turkish") == ["istanbul", "ışık", "ısparta", "ısparta"]
    assert words_of("I\u0307stanbul ILIK", "turkish") == ["istanbul", "ılık"]
    for language in set(LANGUAGES) - {"turkish"}:
        assert words_of("ISPARTA", language) == ["isparta"]


FOUND = [
    ("english", "北京是中国的首都", "首都"),
    ("english", "東京は日本の首都です", "日本"),
    ("english", "กรุงเทพเป็นเมืองหลวงของประเทศไทย", "เมืองหลวง"),
    ("english", "ນະຄອນຫຼວງວຽງຈັນ", "ວຽງຈັນ"),
    ("english", "រាជធានីភ្នំពេញ", "ភ្នំពេញ"),
    ("english", "မြန်မာနိုင်ငံ", "နိုင်ငံ"),
    ("english", "서울은 한국의 수도입니다", "수도"),
    ("english", "भारत की राजधानी दिल्ली है", "दिल्ली"),
    ("english", "the co\u00adopera\u00adtion of states", "cooperation"),
    ("english", "ＢＲＥＡＤ rises", "bread"),
    ("german", "Die STRAẞE ist lang", "straße"),
    ("turkish", "İstanbul güzel bir şehirdir", "istanbul"),
    ("turkish", "IŞIK hızı sabittir", "ışık"),
    ("turkish", "Isparta ılıman bir yerdir", "ISPARTA"),
]


@pytest.mark.parametrize(("language", "text", "query"), FOUND, ids=[query for _, _, query in FOUND])
def test_a_search_finds_what_was_written(tmp_path: Path, language: str, text: str, query: str) -> None:
    with plait.create(tmp_path / "c", encoder=None, terms=f"bm25:{language}") as index:
        index.add([{"id": "a", "text": text}, {"id": "b", "text": "something else altogether"}])
        assert [hit.id for hit in index.search(query)] == ["a"]
        why = index.explain(query, "a")
        assert why.terms and not any(term.term.startswith("key ") for term in why.terms)


def test_a_collection_keeps_how_its_texts_were_cut(tmp_path: Path) -> None:
    """One of before has no version in its settings: its words stay those of before, in what is
    written and in what is asked."""
    with plait.create(tmp_path / "c", encoder=None, terms={"en": "bm25", "tr": "bm25:turkish"}) as index:
        kept = index.settings["term_fields"]
        assert [version_of(field["fingerprint"]) for field in kept.values()] == [VERSION, VERSION]
        before = {name: {**field, "fingerprint": ""} for name, field in kept.items()}
        with index.collection.builder() as writer:
            writer.put({"retrieval": {**index.settings, "term_fields": before}})
    with plait.open(tmp_path / "c") as index:
        index.add([{"id": "a", "text": "北京是中国的首都 İstanbul"}])
        assert [side.encoder for side in index.term_sides.values()] == [Analyzer("english", 1), Analyzer("turkish", 1)]
        assert not index.search("首都", field="en") and index.search("北京是中国的首都", field="en")
        assert not index.search("istanbul", field="tr") and index.search("İstanbul", field="tr")


def test_a_later_version_is_refused() -> None:
    with pytest.raises(plait.FailedPrecondition, match="upgrade plait"):
        Analyzer(version=version_of("words 3"))
    assert version_of(Analyzer().fingerprint) == VERSION and Analyzer(version=1).fingerprint == ""


def test_every_combining_sign_stays_with_its_word() -> None:
    """But for those that are taken for no part of a word; and a sign alone is no word."""
    apart = []
    for i in range(0x300, sys.maxunicode + 1):
        sign = chr(i)
        if unicodedata.category(sign).startswith("M") and len(words_of(f"xy{sign}yx", "english")) != 1:
            apart.append(f"U+{i:04X}")
    assert apart == []
