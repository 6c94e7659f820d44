"""Words of BM25 in any language: by hand, beside PyStemmer and bm25s used by hand, and on real collections where a machine has them."""

from __future__ import annotations

import json
import re

import bm25s
import numpy as np
import pandas as pd
import pydantic
import pytest
import Stemmer
import stopwordsiso

from rd_utils.mining import bm25, words
from rd_utils.mining.sampling import SamplingError
from rd_utils.store import Store
from rd_utils.study import params
from rd_utils.study.params import BM25
from rd_utils.workflow.pipeline import Pipeline
from rd_utils.workflow.progress import untracked

PAIRS = BM25(words="character_pairs", stemmer="none", stopwords="none")


# --- names ------------------------------------------------------------------------------------------------------------------------


def test_every_algorithm_of_pystemmer_is_a_choice():
    assert words.STEMMERS == tuple(Stemmer.algorithms())


def test_every_list_of_stop_words_is_a_choice_and_holds_words():
    assert set(words.STOPWORDS) == words._OF_BM25S.keys() | words._OF_STOPWORDS_ISO.keys() and sorted(words.STOPWORDS) == [*words.STOPWORDS]
    assert set(words._OF_STOPWORDS_ISO.values()) <= stopwordsiso.langs()
    for name in words.STOPWORDS:
        assert len(words.stop_words(BM25(stopwords=name))) >= 25, name


@pytest.mark.parametrize(("name", "value", "nearest"), [("stemmer", "arabik", "arabic"), ("stopwords", "germen", "german")])
def test_other_names_are_refused_with_the_choices(name, value, nearest):
    with pytest.raises(pydantic.ValidationError) as found:
        BM25(**{name: value})
    said = params.explain(found.value, BM25, "here")
    assert f"{value!r} is not a valid value; did you mean {nearest!r}? (choices: " in said and "norwegian, persian, polish" in said


def test_the_default_is_written_as_before_there_was_a_choice():
    assert BM25().model_dump() == {"kind": "bm25", "k1": 1.2, "b": 0.75, "form": "lucene", "stemmer": "english", "stopwords": "english"}
    assert PAIRS.model_dump()["words"] == "character_pairs"


# --- words of texts ---------------------------------------------------------------------------------------------------------------

CUT = {
    "a run of Chinese becomes overlapping pairs": ("自然人从事", "自然 然人 人从 从事"),
    "marks end a run, and a character alone is itself": ("猫，狗在家。", "猫 狗在 在家"),
    "other scripts stay words, of two letters or more": ("我用Python 3写a程序", "我用 python 写 程序"),
    "digits are no characters of a run": ("第14条", "第 14 条"),
    "Japanese scripts pair with each other": ("お茶をカップ", "お茶 茶を をカ カッ ップ"),
    "full and half width are one": ("ｶﾒﾗ ２０２４", "カメ メラ 2024"),
    "Hangul": ("한국어 말", "한국 국어 말"),
    "beyond the first plane": ("𠮷野家", "𠮷野 野家"),
    "nothing": ("。！ \u200b", ""),
}


@pytest.mark.parametrize("what", CUT)
def test_pairs_of_characters(what):
    text, expected = CUT[what]
    assert words.splitter(PAIRS)(text) == expected.split()


def test_marks_stay_with_their_character_among_pairs():
    """Thai: ก with its vowel, น, น with its tone: two pairs."""
    assert words.splitter(PAIRS)("ก\u0e34นน\u0e49") == ["ก\u0e34น", "นน\u0e49"]


def test_texts_of_ascii_have_the_same_words_whether_in_pairs_or_not():
    text = "The cat_1 sat on 3.14 mats; a B!"
    assert words.splitter(PAIRS)(text) == words.splitter(BM25())(text) == re.findall(r"\w\w+", text.lower())


def test_words_of_other_languages_hold_the_marks_that_combine_with_letters():
    hindi, plain = BM25(stemmer="hindi", stopwords="hindi"), BM25(stemmer="none", stopwords="none")
    assert words.splitter(hindi)("हिन्दी किताब") == ["हिन्दी", "किताब"]
    assert words.splitter(plain)("हिन्दी किताब") == re.findall(r"\w\w+", "हिन्दी किताब")  # as bm25s
    assert words.splitter(BM25(stemmer="french"))("cafe\u0301") == words.splitter(BM25(stemmer="french"))("caf\u00e9") == ["caf\u00e9"]


def test_turkish_has_two_letters_i():
    index_words, ids, lengths = bm25._tokenised(["ISPARTA", "ısparta", "İzmir izmir"], BM25(stemmer="turkish", stopwords="turkish"))
    assert [index_words[place] for place in ids] == ["ıspar", "ıspar", "izmir", "izmir"] and lengths.tolist() == [1, 1, 2]


TEXTS = {
    "german": ["Die Häuser der Stadt waren größer als das Haus", "Des Hauses Größe", "über Straßen und über Strassen"],
    "arabic": ["قرأ الطلاب الكتب في المكتبة", "كتاب الطالب على المكتب", "والكتاب"],
    "russian": ["Книги лежат на столах", "книга на столе", "я не знаю"],
    "french": ["Les chevaux couraient dans les prés", "un cheval court", "l'école"],
}


@pytest.mark.parametrize("language", TEXTS)
def test_scores_are_those_of_bm25s_and_pystemmer_by_hand(tmp_path, language):
    retriever = BM25(stemmer=language, stopwords=language)
    texts = TEXTS[language]
    stemmer = Stemmer.Stemmer(language)
    iso = {"arabic": "ar"}
    listed = stopwordsiso.stopwords(iso[language]) if language in iso else getattr(bm25s.stopwords, f"STOPWORDS_{language.upper()}")
    tokens = bm25s.tokenize(texts, stopwords=sorted(listed), stemmer=stemmer, return_ids=False, show_progress=False)
    index = bm25s.BM25(k1=1.2, b=0.75, method="lucene", backend="numpy")
    index.index(tokens, show_progress=False)
    ours = bm25.build(pd.Series(texts), retriever, tmp_path)
    assert ours.words.to_pylist() == sorted({token for text in tokens for token in text}, key=str.encode)
    grid = np.repeat(np.arange(len(texts)), len(texts)), np.tile(np.arange(len(texts)), len(texts))
    found = bm25.score_pairs(ours, bm25.words_of(pd.Series(texts), ours, retriever), *grid).reshape(len(texts), -1)
    expected = np.array([index.get_scores(own) for own in tokens])
    assert (found == expected).all() and (expected[0] > 0).any()


def test_german_stems_by_hand():
    stems, ids, lengths = bm25._tokenised(["Die Häuser", "des Hauses", "Haus"], BM25(stemmer="german", stopwords="german"))
    assert stems == ["haus"] and lengths.tolist() == [1, 1, 1]


def test_a_word_without_a_stem_is_no_word(tmp_path):
    """Arabic's stretching sign alone is a letter to Unicode and nothing to its stemmer."""
    texts = pd.Series(["\u0640\u0640 كتاب", "\u0640\u0640", "كتاب"])
    index = bm25.build(texts, BM25(stemmer="arabic", stopwords="none"), tmp_path)
    assert index.n_docs == 3 and len(index.words) == 1 and index.docs.tolist() == [0, 2]


def test_pairs_by_hand(tmp_path):
    """N = 3 documents of 2, 2 and 1 pairs; 猫在 stands in two: idf = log(1 + 1.5 / 2.5), avgdl = 5 / 3."""
    texts = pd.Series(["猫在家", "猫在外", "狗家"])
    index = bm25.build(texts, PAIRS, tmp_path)
    asked = bm25.words_of(pd.Series(["猫在"]), index, PAIRS)
    scores = bm25.score_pairs(index, asked, np.zeros(3, dtype=int), np.arange(3))
    expected = np.log(1 + 1.5 / 2.5) / (1 + 1.2 * (0.25 + 0.75 * 2 / (5 / 3)))
    assert scores.tolist() == pytest.approx([expected, expected, 0.0])


@pytest.mark.parametrize(
    ("retriever", "workers"), [(PAIRS, 2), (BM25(stemmer="arabic", stopwords="arabic"), 1), (BM25(stemmer="turkish"), 1)]
)
def test_neither_shards_nor_processes_change_the_index(tmp_path, retriever, workers):
    texts = pd.Series([text for own in TEXTS.values() for text in own] + ["自然人从事工商业", "IĞDIR"] * 3)
    whole = bm25.build(texts, retriever, tmp_path / "whole")
    parts = bm25.build(texts, retriever, tmp_path / "parts", shard_size=5, workers=workers)
    assert whole.words.equals(parts.words) and (whole.docs == parts.docs).all() and (whole.scores == parts.scores).all()


def test_shards_of_another_analysis_are_not_taken_for_these():
    analyses = [BM25(), PAIRS, BM25(stemmer="german"), BM25(stopwords="german"), BM25(words="character_pairs")]
    assert len({bm25._digest(["猫在家"], retriever) for retriever in analyses}) == len(analyses)


# --- what does not fit ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("retriever", "text", "said"),
    [
        (BM25(), "猫在垫子上", "words: character_pairs"),
        (BM25(), "กินข้าวแล้ว", "words: character_pairs"),
        (BM25(), "تخلى عنها دفاع", "stemmer: arabic or persian"),
        (BM25(stemmer="german"), "Привет, мир", "stemmer: russian or serbian"),
        (BM25(stemmer="arabic"), "Wie viele Punkte", "stemmer: that of the language"),
        (PAIRS, "猫在垫子上", ""),
        (BM25(words="character_pairs"), "猫在垫子上", ""),
        (BM25(stemmer="none"), "Привет", ""),
        (BM25(stemmer="serbian"), "Zdravo", ""),
        (BM25(), "Wie viele Punkte", ""),
        (BM25(), "the name of Tokyo is 東京, a very large city of Japan", ""),
        (BM25(), "123 !?", ""),
    ],
)
def test_what_does_not_fit_the_script_is_said_with_what_does(retriever, text, said):
    found = words.misfit(retriever, [text])
    assert bool(found) == bool(said) and said in found


@pytest.fixture
def chinese(tmp_path):
    """Thirty clauses without spaces, each asked for by a part of itself."""
    folder = tmp_path / "chinese"
    (folder / "qrels").mkdir(parents=True)
    signs = "天地玄黄宇宙洪荒日月盈昃辰宿列张寒来暑往秋收冬藏闰余成岁律吕调阳"
    texts = {f"d{n:02}": "甲乙" + signs[n % 30 : n % 30 + 3] + "丙丁" for n in range(30)}
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()))
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": f"q{n}", "text": f"甲乙{signs[n]}"}) + "\n" for n in range(5)))
    lines = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n:02}\t1" for n in range(5))]
    (folder / "qrels" / "train.tsv").write_text("\n".join(lines) + "\n")
    return params.FolderCollection(path=str(folder))


def test_queries_that_find_little_are_counted_and_the_reason_is_said(tmp_path, chinese, caplog):
    pipeline = Pipeline(Store(tmp_path / "store"), track=untracked)
    candidates = params.CandidatesSpec(collection=chinese, retriever=BM25(), depth=10)
    with caplog.at_level("WARNING", logger="rd_utils"):
        assert pipeline.manifest(candidates)["counts"]["queries_below_depth"] == 5
    (said,) = [record.getMessage() for record in caplog.records]
    assert "5 of 5 queries find fewer than 10 documents by BM25 (words: words, stemmer: english, stopwords: english): 100 %" in said
    assert "set the retriever's words: character_pairs" in said
    caplog.clear()
    with caplog.at_level("WARNING", logger="rd_utils"):
        fitting = candidates.model_copy(update={"retriever": PAIRS})
        assert pipeline.manifest(fitting)["counts"]["queries_below_depth"] == 0
    assert not caplog.records and (pipeline.run(fitting).lengths() == 10).all()


@pytest.mark.parametrize("nested", [False, True])
def test_where_no_group_can_be_drawn_the_remedy_is_the_analysis(tmp_path, chinese, nested):
    pipeline = Pipeline(Store(tmp_path / "store"), track=untracked)
    retriever = params.Pooled(retrievers=(BM25(), BM25(b=0.5))) if nested else BM25()
    spec = params.GroupsSpec(collection=chinese, strategy=params.FromCandidates(retriever=retriever), group_size=4)
    with pytest.raises(SamplingError, match="no group could be drawn: 5 were short of 3 candidates.*; 100 % .* words: character_pairs$"):
        pipeline.groups(spec)
    assert len(pipeline.groups(spec.model_copy(update={"strategy": params.FromCandidates(retriever=PAIRS)}))) == 5


# --- real collections -------------------------------------------------------------------------------------------------------------


def without_spaces(text: str) -> str:
    """Join what is given as overlapping pairs: 中华 华人 is 中华人."""
    found = [""]
    for piece in text.split(" "):
        overlaps = len(piece) == 2 and len(found[-1]) > 1 and found[-1][-1] == piece[0]
        found[-1:] = [found[-1] + piece[1:]] if overlaps else [found[-1], piece]
    return "".join(found)


@pytest.mark.parametrize(
    ("name", "english", "fitting", "retriever"),
    [
        ("stard", 0.030, 0.522, PAIRS),
        ("xquadr-de", 0.732, 0.775, BM25(stemmer="german", stopwords="german")),
        ("xquadr-ar", 0.673, 0.773, BM25(stemmer="arabic", stopwords="arabic")),
    ],
)
def test_the_right_analysis_is_worth_this_on_real_collections(tmp_path, collections_in_folders, name, english, fitting, retriever):
    folder = tmp_path / name
    (folder / "qrels").mkdir(parents=True)
    (folder / "qrels" / "test.tsv").write_text((collections_in_folders / name / "qrels" / "test.tsv").read_text())
    for part in ("corpus", "queries"):
        rows = [json.loads(line) for line in (collections_in_folders / name / f"{part}.jsonl").read_text().splitlines()]
        for row in rows if name == "stard" else ():
            row |= {key: without_spaces(row[key]) for key in ("title", "text") if key in row}
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pipeline, collection = Pipeline(Store(tmp_path / "store"), track=untracked), params.FolderCollection(path=str(folder), split="test")
    for own, expected in ((BM25(), english), (retriever, fitting)):
        spec = params.EvaluationSpec(
            system=params.FirstStageSystem(retriever=own), collection=collection, measures=("nDCG@10",),
            first_stage=params.FirstStage(kind="full", retriever=own, depth=100),
        )  # fmt: skip
        assert pipeline.frame(spec, "per_query")["value"].mean() == pytest.approx(expected, abs=0.002)
