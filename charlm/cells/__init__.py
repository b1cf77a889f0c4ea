"""All recurrent cells by name. Each equation is written once and runs on torch and on NumPy; see `cell.py`."""

from charlm.cells.cell import Cell
from charlm.cells.gru import GRU, GRU_RESET_BEFORE, GRU_SIMPLE
from charlm.cells.lstm import (
    LSTM,
    LSTM_COUPLED,
    LSTM_LAYERNORM,
    LSTM_MOGRIFIER,
    LSTM_PEEPHOLE,
    LSTM_PEEPHOLE_PREVIOUS,
    LSTM_PROJECTED,
)
from charlm.cells.minimal import MINGRU, MINLSTM
from charlm.cells.rnn import INDRNN, RNN_RELU, RNN_TANH

CELLS: dict[str, Cell] = {
    "rnn_tanh": RNN_TANH,
    "rnn_relu": RNN_RELU,
    "indrnn": INDRNN,
    "gru_simple": GRU_SIMPLE,
    "gru_reset_before": GRU_RESET_BEFORE,
    "gru": GRU,
    "lstm": LSTM,
    "lstm_peephole": LSTM_PEEPHOLE,
    "lstm_peephole_previous": LSTM_PEEPHOLE_PREVIOUS,
    "lstm_coupled": LSTM_COUPLED,
    "lstm_mogrifier": LSTM_MOGRIFIER,
    "lstm_layernorm": LSTM_LAYERNORM,
    "lstm_projected": LSTM_PROJECTED,
    "mingru": MINGRU,
    "minlstm": MINLSTM,
}
