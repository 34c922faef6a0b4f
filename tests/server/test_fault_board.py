"""Which faults a new connection meets."""

from pipeline.server.fault_board import FaultBoard
from pipeline.server.faults.catalogue import parse_fault


def test_connections_are_counted_since_the_faults_were_chosen() -> None:
    board = FaultBoard([parse_fault("refuse_upgrade connections=2")], seed=1)
    refused = [board.connect(0.0).upgrade().answer is not None for _ in range(3)]
    assert (refused, board.connections) == ([True, True, False], 3)
    board.choose([parse_fault("auth_failure connections=1")])
    refused = [board.connect(0.0).upgrade().answer is not None for _ in range(2)]
    assert (refused, board.connections) == ([True, False], 2)
    board.choose(())
    assert not board.connect(0.0).at_work


def test_the_nth_connection_throws_the_same_dice_in_every_run() -> None:
    def run(seed: int) -> list[bool]:
        board = FaultBoard([parse_fault("refuse_upgrade probability=0.5")], seed)
        return [board.connect(0.0).upgrade().answer is not None for _ in range(64)]

    assert run(1) == run(1) != run(2)
    assert 16 < sum(run(1)) < 48
