"""`lig mcp`, as the SDK's own client starts it and calls its tools."""

import subprocess
import sys

import anyio
import pytest
from mcp import Client, StdioServerParameters

from lig_core.result.saved import read_result
from lig_core.serving.queue import names
from tests.running.waiting import PATIENCE, wait_until
from tests.support.made_results import made_result

TEXT = "The cat sat."


class Session:
    """Calls tools: an answer, or the text of an error."""

    def __init__(self, client):
        self._client = client

    async def __call__(self, tool, **arguments):
        answer = await self._client.call_tool(tool, arguments)
        if answer.is_error:
            return answer.content[0].text
        return answer.structured_content


def in_a_session(folder, talk, *options):
    async def main():
        command = ["-m", "lig_core.cli", "mcp", "--folder", str(folder), *options]
        server = StdioServerParameters(command=sys.executable, args=command, env={"HF_HUB_OFFLINE": "1"})
        with anyio.fail_after(PATIENCE):
            async with Client(server) as client:
                return await talk(Session(client), client)

    return anyio.run(main)


def test_a_text_is_explained_traced_and_compared(tmp_path):
    async def talk(call, client):
        assert {tool.name for tool in (await client.list_tools()).tools} == {"explain", "trace", "compare"}
        zero = await call("explain", text=TEXT, options={"baseline_layer": "zero"}, layers=[0, 1], top=3)
        one = await call("explain", text=TEXT, layers=[0, 1], top=3, file="result.json")
        traced = await call("trace", result="result.json", target=3, top=2)
        compared = await call("compare", a=zero["result"], b=one["result"], top=1, layers="1")
        refused = await call("explain", text=TEXT, layers=[40])
        outside = await call("explain", text=TEXT, file="../result.json")
        absent = await call("trace", result="result-9")
        return zero, one, traced, compared, refused, outside, absent

    zero, one, traced, compared, refused, outside, absent = in_a_session(tmp_path, talk)
    assert "not a ranking" in zero["note"] and "itself is 0" in one["note"]
    assert one["tokens"] == ["[CLS] (0)", "the (1)", "cat (2)", "sat (3)", ". (4)", "[SEP] (5)"]
    assert one["converged"] and "within rtol 0.001" in one["certificate"]
    matrix = read_result(tmp_path / "result.json").load(1)["z2z"]
    entries = one["layers"]["1"]["z2z"]
    assert [entry["value"] for entry in entries] == pytest.approx(sorted(matrix.ravel(), reverse=True)[:3], rel=1e-3)
    first = entries[0]
    assert matrix[one["tokens"].index(first["source"]), one["tokens"].index(first["target"])] == matrix.max()
    assert [path["tokens"][-1] for path in traced["paths"]] == ["sat (3)", "sat (3)"]
    assert all(len(path["tokens"]) == 3 for path in traced["paths"])
    assert "never is" in traced["certified"]
    assert compared["settings"]["baseline_layer"] == ["zero", "self_input_token"]
    (change,) = compared["layers"]["1"]["z2z"]["top"]
    assert change["difference"] == pytest.approx(change["b"] - change["a"], rel=1e-2)
    assert "explain: invalid_request: " in refused and "minilm has layers 0 to 5" in refused
    assert "outside" in outside and not (tmp_path.parent / "result.json").exists()
    assert "invalid_request: there is no result 'result-9'" in absent


def test_a_service_computes_where_one_is_named(start_api, by_hand, redis, tmp_path):
    b, url = by_hand(), start_api()

    async def talk(call, client):
        async def work():
            await anyio.to_thread.run_sync(lambda: wait_until(lambda: redis.zcard(names.key("waiting", "lig"))))
            await anyio.to_thread.run_sync(lambda: b.finish_with(b.start(), made_result()))

        async with anyio.create_task_group() as group:
            group.start_soon(work)
            one = await call("explain", text=TEXT)
        return one, await call("trace", result="0" * 32)

    one, absent = in_a_session(tmp_path, talk, "--server", url)
    assert one["tokens"] and one["layers"]
    assert "job_not_found: no job " in absent


def test_without_its_extra_the_command_says_which():
    script = "import sys; sys.modules['mcp.server'] = None; sys.modules['mcp'] = None; sys.argv = ['lig', 'mcp']\n"
    script += "from lig_core.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.endswith("run: pip install 'lig-service[mcp]'\n")
