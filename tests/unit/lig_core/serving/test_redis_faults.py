"""What Redis says, and what that means: the server as a whole, or what lies in it."""

import pytest
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    DataError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError as RedisFull
from redis.exceptions import TimeoutError as RedisTimeoutError

from lig_core.serving.queue.redis_faults import RedisFault, damaged, fault_of, queue_damaged

OLD = "Error running script (call to f_ab): @user_script:1: "
SAID = [
    (RedisConnectionError("Error 111 connecting to /x/s. Connection refused."), RedisFault.AWAY),
    (RedisTimeoutError("Timeout reading from socket"), RedisFault.AWAY),
    (RedisConnectionError("max number of clients reached"), RedisFault.CROWDED),
    (BusyLoadingError("Redis is loading the dataset in memory", status_code="LOADING"), RedisFault.LOADING),
    (RedisFull("command not allowed when used memory > 'maxmemory'.", status_code="OOM"), RedisFault.FULL),
    (ResponseError(f"{OLD}@user_script: 1: -OOM command not allowed", status_code="ERR"), RedisFault.FULL),
    (
        ResponseError("Command # 1 (HSET h a 1) of pipeline caused error: NOREPLICAS Not enough"),
        RedisFault.FEW_REPLICAS,
    ),
    (
        ResponseError("NOREPLICAS Not enough good replicas to write. script: ab, on @user_script:1."),
        RedisFault.FEW_REPLICAS,
    ),
    (ReadOnlyError("You can't write against a read only replica.", status_code="READONLY"), RedisFault.READ_ONLY),
    (ResponseError(f"{OLD}@user_script: 1: -READONLY You can't write", status_code="ERR"), RedisFault.READ_ONLY),
    (ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), RedisFault.DISK),
    (ResponseError("DENIED Redis is running in protected mode"), RedisFault.REFUSING),
    (
        AuthenticationError("invalid username-password pair or user is disabled.", status_code="WRONGPASS"),
        RedisFault.REFUSING,
    ),
    (ResponseError("BUSY Redis is busy running a script."), RedisFault.BUSY),
    (ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), RedisFault.DAMAGED),
    (
        ResponseError("user_script:12: attempt to compare nil with number script: ab", status_code="ERR"),
        RedisFault.DAMAGED,
    ),
    (ResponseError(f"{OLD}ERR hash value is not an integer", status_code="ERR"), RedisFault.DAMAGED),
    (ResponseError("ERR upstream failure"), RedisFault.OTHER),  # a proxy's words are no fault of a job
    (DataError("Invalid input"), RedisFault.OTHER),
]


@pytest.mark.parametrize(("error", "fault"), SAID)
def test_every_answer_means_one_fault(error, fault):
    assert fault_of(error) is fault
    assert damaged(error) is (fault is RedisFault.DAMAGED)
    assert not queue_damaged(error)


def test_a_script_that_refused_to_begin_is_known():
    error = ResponseError("user_script:9: WRONGTYPE of the queue: lig:flows:lig script: ab, on @user_script:9.")
    assert damaged(error) and queue_damaged(error)
