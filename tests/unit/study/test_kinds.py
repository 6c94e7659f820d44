"""Families and kinds: a class is all that a new kind needs."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Literal

import pytest

from rd_utils.study import kinds, params
from rd_utils.study.bounds import Count
from rd_utils.study.params import ParameterError

EMBEDDED = {"source": "embedded"}


@pytest.fixture
def nearest_first() -> Iterator[type[kinds.Strategy]]:
    """A strategy that the package does not have, for as long as a test lasts."""

    class NearestFirst(kinds.Strategy):
        kind: Literal["nearest_first"] = "nearest_first"
        at_most: Count = 3

    yield NearestFirst
    del kinds.Strategy.kinds["nearest_first"]
    kinds.Strategy._union = None


def test_a_new_kind_may_stand_wherever_its_family_is_asked_for(nearest_first):
    values = {"collection": EMBEDDED, "strategy": {"kind": "nearest_first", "at_most": 2}, "shortage": {"kind": "nearest_first"}}
    groups = params.parse(params.GroupsSpec, values, "parameters")
    assert (groups.strategy, groups.shortage) == (nearest_first(at_most=2), nearest_first())
    assert groups.model_dump(mode="json")["strategy"] == {"kind": "nearest_first", "at_most": 2}
    assert params.GroupsSpec.model_validate_json(groups.model_dump_json()) == groups and hash(groups)


def test_what_is_wrong_with_a_new_kind_is_said_like_the_rest(nearest_first):
    with pytest.raises(ParameterError, match="unknown parameter 'at_mots'; did you mean 'at_most'"):
        params.parse(params.GroupsSpec, {"collection": EMBEDDED, "strategy": {"kind": "nearest_first", "at_mots": 2}}, "parameters")
    with pytest.raises(ParameterError, match="unknown kind 'nearest_frist'; did you mean 'nearest_first'"):
        params.parse(params.GroupsSpec, {"collection": EMBEDDED, "strategy": {"kind": "nearest_frist"}}, "parameters")


def test_two_kinds_of_one_family_have_two_tags():
    with pytest.raises(TypeError, match="Retriever has a kind 'bm25' already, BM25"):

        class Other(kinds.Retriever):
            kind: Literal["bm25"] = "bm25"


def test_a_tag_means_one_kind_in_each_family():
    assert (kinds.Retriever.kinds["bm25"], kinds.Teacher.kinds["bm25"]) == (params.BM25, params.BM25Teacher)
    assert set(kinds.Encoder.kinds) < set(kinds.System.kinds)
    assert set(kinds.BiArchitecture.kinds) == {"static_bi", "tiny_bert_bi", "bi_encoder"}


@pytest.mark.parametrize("family", kinds.Kind.__subclasses__())
def test_every_family_has_kinds_and_each_is_frozen_and_can_be_sent_to_another_process(family):
    assert len(family.kinds) > 1
    for kind in family.kinds.values():
        assert kind.model_config["frozen"] and kind.model_config["extra"] == "forbid" and kind.__doc__
        if not any(field.is_required() for field in kind.model_fields.values()):
            assert pickle.loads(pickle.dumps(kind())) == kind() and hash(kind())
