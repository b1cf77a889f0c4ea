"""`charlm cells`: what it lists is what a network of that cell is."""

import pytest

from charlm.cells import CELLS
from charlm.model.network import TorchNetwork
from charlm.network.architecture import Architecture, cell_sizes
from tests.test_cli import Charlm, charlm, records

__all__ = ["charlm"]


def test_every_cell_is_listed_with_equation_and_source(charlm: Charlm) -> None:
    outcome = charlm("cells")
    assert outcome.code == 0
    for name, cell in CELLS.items():
        assert f"{name}  " in outcome.out
        for line in (*cell.equation, cell.source):
            assert f"    {line}\n" in outcome.out
    assert "[a, b]: concatenation" in outcome.out


@pytest.mark.parametrize("name", list(CELLS))
def test_its_parameters_are_those_of_a_layer(charlm: Charlm, name: str) -> None:
    (record,) = records(charlm("cells", name, "--hidden-size", "10", "--input-size", "7", "--json"))
    network = TorchNetwork(Architecture(name, 1, 10, 7, False, "zero", 5, **cell_sizes(name, 10, {})))
    assert record["layer_params"] == sum(weight.numel() for weight in network.get_submodule("layers.0").parameters())
    assert record["equation"] == list(CELLS[name].equation)


def test_the_cells_that_are_named_come_in_that_order(charlm: Charlm) -> None:
    assert [record["cell"] for record in records(charlm("cells", "minlstm", "gru", "--json"))] == ["minlstm", "gru"]


def test_an_unknown_cell_is_refused_with_the_known_ones(charlm: Charlm) -> None:
    outcome = charlm("cells", "transformer")
    assert outcome.code == 2
    assert "unknown cell 'transformer'" in outcome.err
    assert "lstm_peephole_previous" in outcome.err


def test_a_part_of_the_network_that_is_not_plain_is_shown_by_info(charlm: Charlm) -> None:
    quick = ("--steps", "2", "--hidden-size", "9", "--embedding-size", "7", "-q", "--precision", "float32")
    parts = ("--cell", "lstm_projected", "--num-layers", "2", "--residual", "--head-layers", "2", "--head-size", "11")
    assert charlm("train", "corpus.txt", *parts, *quick).code == 0
    whole = "lstm_projected 2 x 9, projected to 4, residual, feed-forward 2 x 11, embeddings of 7"
    assert whole in " ".join(charlm("info", "corpus").out.split())
    assert whole in charlm("train", "corpus.txt", *parts, *quick, "--dry-run").out
    assert "lstm_projected 2 x 9  " in charlm("info").out
