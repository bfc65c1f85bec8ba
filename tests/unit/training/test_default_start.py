"""How images are read in a run that isn't told which network to start from."""

from __future__ import annotations

from pathlib import Path

from model.images.contract import DEFAULT_CONTRACT
from training.config import Environment, TrainConfig
from training.default_start import MIN_SCRATCH_IMAGES, default_contract
from training.loop.setup import choose_contract
from training.loop.start_network import choose_initial_network


def test_it_is_the_contract_of_such_a_run(tmp_path: Path) -> None:
    config = TrainConfig.create(environment=Environment(home=tmp_path))
    config = choose_initial_network(config, 5)[0]
    assert choose_contract(config.run, config.recipe.detail) == default_contract(5) != DEFAULT_CONTRACT
    assert default_contract(MIN_SCRATCH_IMAGES) == DEFAULT_CONTRACT
